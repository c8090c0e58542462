"""The examples as a user runs them, in their own environment, and the books as the judge of what they show."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import mint, nanos
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SRC, SandboxProcess, charged

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PYTHON = ROOT / ".venv-examples" / "bin" / "python"

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not PYTHON.exists() and not os.environ.get("CI"), reason="not installed: `make test` does it"),
]


def run(gateway: GatewayProcess, name: str, credential: str) -> subprocess.CompletedProcess[str]:
    variables = {"PYTHONPATH": str(SRC), "COMPTROLLER_URL": gateway.url, "COMPTROLLER_CREDENTIAL": credential}
    return subprocess.run(
        [PYTHON, EXAMPLES / name], env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("name", "children", "surface", "calls"),
    [
        ("openai_agents_team.py", ["researcher", "writer"], "chat", {"researcher": 1, "writer": 1, "": 4}),
        ("pydantic_ai_team.py", ["against", "for"], "messages", {"against": 1, "for": 1, "": 1}),
    ],
)
def test_an_example_is_a_tree_in_the_books_with_the_spend_of_each(
    gateway: GatewayProcess,
    sandbox: SandboxProcess,
    name: str,
    children: list[str],
    surface: str,
    calls: dict[str, int],
) -> None:
    minted = mint(gateway)
    done = run(gateway, name, minted["credential"])
    assert done.returncode == 0, done.stderr
    tree: dict[str, Any] = gateway.admin("GET", f"/sessions/{minted['session']}/tree")
    below = sorted(tree["children"], key=lambda node: node["name"])
    assert [node["name"] for node in below] == [f"agent/ant/~{child}" for child in children]
    assert [(node["state"], node["outcome"], node["children"]) for node in below] == [("ended", "succeeded", [])] * 2
    assert {node["name"].partition("~")[2]: node["own"]["model_calls"] for node in (tree, *below)} == calls

    lines = sandbox.settled(sum(calls.values()))
    assert {line["surface"] for line in lines} == {surface}
    assert nanos(tree["spent"]["usd"]) == charged(lines)
    models = {line["client_request_id"]: line for line in lines}
    for node in (tree, *below):
        own = [row for row in gateway.admin("GET", "/calls?limit=1000") if row["session"] == node["id"]]
        assert nanos(node["own"]["usd"]) == charged(models[f"{row['id']}.1"] for row in own) > 0
        assert f"{node['name']}: {node['spent']['usd']} USD" in done.stdout


@pytest.mark.parametrize("name", ["openai_agents_team.py", "pydantic_ai_team.py"])
def test_an_example_says_what_a_refusal_says(gateway: GatewayProcess, name: str) -> None:
    minted = mint(gateway)
    gateway.admin("POST", f"/sessions/{minted['session']}/end", {"reason": "loops"})
    done = run(gateway, name, minted["credential"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("session_ended: ")


def test_every_example_is_told_of() -> None:
    told = set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert told == {path.name for path in EXAMPLES.glob("*.py")}
