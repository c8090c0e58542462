"""`comptroller policy check` and `policy test`: without a gateway, with exit codes that CI can use."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.configuration import process, registry
from tests.harness.toml import to_toml

PERMIT = '@id("reds") permit (principal in Team::"red", action, resource);'
FORBID = (
    '@id("dear") @remedy("approval:finops") forbid (principal, action, resource) when { context.estimate_nanos > 5 };'
)
GOLDEN = """
[[request]]
identity = "agent/ant"
model = "sandbox-large"
expect = "allow"
policies = ["reds"]

[[request]]
name = "too dear"
identity = "agent/ant"
model = "sandbox-large"
context = { estimate_nanos = 6 }
expect = "deny"
remedy = "approval:finops"

[[request]]
identity = "agent/bee"
model = "sandbox-large"
expect = "deny"
policies = []
remedy = ""
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "one.cedar").write_text(f"{PERMIT}\n{FORBID}\n")
    (tmp_path / "policies" / "golden.toml").write_text(GOLDEN)
    (tmp_path / "comptroller.toml").write_text(to_toml(process("http://127.0.0.1:1")))
    (tmp_path / "registry.toml").write_text(to_toml(registry()))
    return tmp_path


def policy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "comptroller", "policy", *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_right_is_said(folder: Path) -> None:
    done = policy(folder, "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2 policies in 1 file, version ")
    found = json.loads(policy(folder, "check", "policies/one.cedar", "--json").stdout)
    assert (found["policies"], found["problems"], found["names_checked"]) == (2, [], True)


def test_every_fault_is_said_and_the_exit_code_is_one(folder: Path) -> None:
    (folder / "policies" / "two.cedar").write_text(
        '// faulty\n@id("reds") forbid (principal in Team::"rad", action, resource);'
    )
    done = policy(folder, "check")
    assert done.returncode == 1
    assert "two.cedar:2: There is no team 'rad' in the registry. Did you mean 'red'?" in done.stdout
    assert "two.cedar:2: The id 'reds' stands at one.cedar:1 already." in done.stdout
    found = json.loads(policy(folder, "check", "--json").stdout)
    assert {problem["where"] for problem in found["problems"]} == {"two.cedar:2"}
    assert policy(folder, "test", "policies/golden.toml").returncode == 1


def test_without_a_registry_names_are_not_checked(tmp_path: Path) -> None:
    (tmp_path / "one.cedar").write_text('@id("a") permit (principal in Team::"anything", action, resource);')
    done = policy(tmp_path, "check", "one.cedar")
    assert done.returncode == 0
    assert "Names were not checked" in done.stdout
    assert policy(tmp_path, "check").returncode == 1
    assert "There is no two.cedar" in policy(tmp_path, "check", "two.cedar").stderr


def test_requests_that_come_out_as_expected(folder: Path) -> None:
    done = policy(folder, "test", "policies/golden.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 as expected, 0 not." in done.stdout
    rows = json.loads(policy(folder, "test", "policies/golden.toml", "--json").stdout)
    assert [(row["came"], row["policies"], row["remedy"]) for row in rows] == [
        ("allow", ["reds"], None),
        ("deny", ["dear"], "approval:finops"),
        ("deny", [], None),
    ]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('expect = "allow"', 'expect = "deny"', "deny was expected"),
        ('policies = ["reds"]', 'policies = ["blues"]', "by blues was expected"),
        (
            'remedy = "approval:finops"',
            'remedy = "route:small"',
            "the remedy route:small was expected, not approval:finops",
        ),
    ],
)
def test_one_that_comes_out_otherwise(folder: Path, before: str, after: str, said: str) -> None:
    (folder / "policies" / "golden.toml").write_text(GOLDEN.replace(before, after))
    done = policy(folder, "test", "policies/golden.toml")
    assert done.returncode == 1
    assert f"WRONG: {said}" in done.stdout
    assert "2 as expected, 1 not." in done.stdout


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("agent/bee", "agent/be", "there is no identity 'agent/be'"),
        ("sandbox-large", "gpt", "no entry of the registry serves the model 'gpt'"),
        ("estimate_nanos", "estimate_usd", "there is no `context.estimate_usd`"),
        ("estimate_nanos = 6", 'estimate_nanos = "6"', "Expected `int`, got `str`"),
        ("expect", "expects", "unknown field `expects`"),
        ("[[request]]", "[[request]", "is no file of requests"),
    ],
)
def test_a_file_of_requests_that_is_wrong(folder: Path, before: str, after: str, said: str) -> None:
    (folder / "policies" / "golden.toml").write_text(GOLDEN.replace(before, after))
    done = policy(folder, "test", "policies/golden.toml")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


TOOLS = {
    "tools": {"desk/*": {"risk": "read"}, "desk/pay": {"risk": "spends_money"}},
    "arguments": [
        {
            "name": "own-things",
            "scope": {"team": "red", "tool": "desk/read"},
            "schema": {"properties": {"path": {"under": ["/things"]}}, "required": ["path"]},
        }
    ],
}
TOOL_POLICIES = """
@id("reads") permit (principal in Team::"red", action == Action::"tool.call", resource in RiskClass::"read");
@id("pays") permit (principal in Team::"red", action == Action::"tool.call", resource == Tool::"desk/pay");
@id("dear") @remedy("approval:finops")
forbid (principal, action == Action::"tool.call", resource) when { context.arguments.contains("over_1000") };
@id("chain")
forbid (principal, action == Action::"tool.call", resource) when { context.tools_used.contains("desk/secret") };
"""
TOOL_REQUESTS = """
[[request]]
identity = "agent/ant"
tool = "desk/read"
arguments = { path = "/things/a" }
expect = "allow"
policies = ["reads"]
rule = ""

[[request]]
name = "elsewhere"
identity = "agent/ant"
tool = "desk/read"
arguments = { path = "/etc/passwd" }
expect = "deny"
rule = "own-things"

[[request]]
name = "too much"
identity = "agent/ant"
tool = "desk/pay"
arguments = { amount = "2,000" }
expect = "deny"
remedy = "approval:finops"

[[request]]
name = "after the secret"
identity = "agent/ant"
tool = "desk/read"
context = { tools_used = ["desk/secret"] }
expect = "deny"
policies = ["chain"]

[[request]]
name = "somebody else"
identity = "agent/bee"
tool = "desk/read"
expect = "deny"
policies = []
"""


def test_golden_requests_are_about_tools_too(folder: Path) -> None:
    (folder / "registry.toml").write_text(to_toml(registry(**TOOLS)))
    (folder / "policies" / "one.cedar").write_text(TOOL_POLICIES)
    (folder / "policies" / "golden.toml").write_text(TOOL_REQUESTS)
    done = policy(folder, "test", "policies/golden.toml")
    assert done.returncode == 0, done.stdout
    assert "5 as expected, 0 not." in done.stdout
    assert "rule own-things" in done.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('tool = "desk/read"\nmodel = "sandbox-large"', "name a `model` or a `tool`, and not both."),
        ("", "name a `model` or a `tool`, and not both."),
        ('tool = "disk/read"', "no entry of the registry is for the tool 'disk/read'"),
    ],
)
def test_a_request_is_about_one_thing_that_is_there(folder: Path, line: str, said: str) -> None:
    (folder / "registry.toml").write_text(to_toml(registry(**TOOLS)))
    (folder / "policies" / "one.cedar").write_text(TOOL_POLICIES)
    (folder / "policies" / "golden.toml").write_text(f'[[request]]\nidentity = "agent/ant"\nexpect = "allow"\n{line}\n')
    done = policy(folder, "test", "policies/golden.toml")
    assert done.returncode != 0
    assert said in done.stderr
