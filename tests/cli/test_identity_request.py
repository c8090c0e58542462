"""`comptroller identities request` and `comptroller requests`, against a real issuer that people log in at."""

import json
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.world import Typed, chat
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.issuer import AUDIENCE, IssuerProcess, LoginProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

CLIENT_ID = "comptroller-cli"
BROWSER = f'{sys.executable} -c "import sys, urllib.request as u; u.urlopen(sys.argv[1]).read()" %s'
OWNER, VISITOR = "red-lead@acme.example", "human/visitor"
ASK = ("identities", "request", "--owner", OWNER, "--purpose", "tries prompts", "--environment", "testing")
Issuers = tuple[LoginProcess, IssuerProcess]


@pytest.fixture(scope="module")
def issuers() -> Iterator[Issuers]:
    with LoginProcess() as people, IssuerProcess() as machines:
        people.tell(interval=1)
        yield people, machines


@pytest.fixture
def opening(
    issuers: Issuers, sandbox: SandboxProcess, tmp_path: Path
) -> Iterator[Callable[..., tuple[GatewayProcess, dict[str, Any]]]]:
    """A gateway whose people have this when they are unregistered, and where such a person is."""
    running: list[GatewayProcess] = []

    def open_gateway(**unregistered: str) -> tuple[GatewayProcess, dict[str, Any]]:
        trusted = {
            "people": {"kind": "oidc", "url": issuers[0].url, "audience": AUDIENCE, "client_id": CLIENT_ID},
            "machines": {"kind": "oidc", "url": issuers[1].url, "audience": AUDIENCE},
        }
        trusted = {name: entry | unregistered for name, entry in trusted.items()}
        visitor = identity("red", "human", environment="experimentation")
        scope = {"scope": {"identity": VISITOR}}
        budgets = [budget("each", "1.00 USD", per="subject", **scope), budget("both", "5.00 USD", **scope)]
        known = registry(budgets, {VISITOR: visitor}, issuers=trusted)
        gateway = GatewayProcess(tmp_path / "gateway", process(sandbox.url), known)
        gateway.start()
        running.append(gateway)
        away = {"folder": tmp_path, "COMPTROLLER_ADDR": gateway.url, "BROWSER": BROWSER}
        places = {name: str(tmp_path) for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME")}
        return gateway, away | places

    yield open_gateway
    for gateway in running:
        assert "Traceback" not in gateway.log()
        gateway.close()


def said(done: Any) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def beside(gateway: GatewayProcess, typed: Typed, *arguments: str) -> Any:
    """An operator, on the gateway's machine."""
    return typed(*arguments, "--config", str(gateway.config), folder=gateway.folder)


def test_a_person_asks_is_approved_and_logs_in(opening: Any, issuers: Issuers, typed: Typed) -> None:
    gateway, away = opening(unregistered="request")
    done = typed("login", "--browser", **away)
    assert (done.returncode, "comptroller identities request --owner" in done.stderr) == (1, True), done.stderr

    done = typed(*ASK, "--browser", **away)
    assert (done.returncode, "of people:ada waits for an approver" in done.stdout) == (0, True), done.stderr
    row = said(typed(*ASK, "--browser", "--json", **away))
    assert row.items() >= {"subject": "ada", "kind": "human", "state": "open"}.items()
    assert f"requests approve {row['id']}" in typed("identities", "request", "--status", "--browser", **away).stderr

    shown = beside(gateway, typed, "requests")
    assert all(word in shown.stdout for word in (row["id"], "people:ada", OWNER, "tries prompts"))
    assert "1 for an identity" in beside(gateway, typed, "status").stdout
    done = beside(gateway, typed, "requests", "approve", row["id"], "--name", "human/ada", "--reason", "welcome")
    assert done.returncode == 0, done.stderr
    assert "people:ada is human/ada from now on" in done.stderr
    assert "No hard budget in USD is for this identity" in done.stderr
    (lines,) = tomllib.loads(done.stdout).values()
    assert lines["human/ada"]["federated"] == [{"issuer": "people", "subject": "ada"}]
    assert beside(gateway, typed, "requests").stdout == "Nobody asks for an identity.\n"
    assert "approved by bootstrap" in beside(gateway, typed, "requests", "list", "--all").stdout
    assert row["id"] in json.dumps(said(beside(gateway, typed, "requests", "--all", "--json")))

    done = typed("identities", "request", "--status", "--browser", **away)
    assert "was approved by bootstrap" in done.stdout
    assert "You are human/ada" in done.stderr
    assert said(typed("login", "--browser", "--json", **away))["identity"] == "human/ada"
    done = typed(*ASK, "--browser", **away)
    assert (done.returncode, "You are human/ada" in done.stderr) == (1, True), done.stderr

    plan = beside(gateway, typed, "plan")
    assert plan.returncode == 2
    assert "bootstrap approved it at run time" in plan.stdout
    assert '[identities."human/ada"]\nkind = "human"\n' in plan.stdout


def test_in_a_sandbox_the_login_that_there_is_asks(opening: Any, issuers: Issuers, typed: Typed) -> None:
    people, _ = issuers
    gateway, away = opening(unregistered="sandbox", sandbox=VISITOR)
    done = typed("login", "--browser", **away)
    assert (done.returncode, f"You are {VISITOR}" in done.stdout) == (0, True), done.stderr
    assert "This is a sandbox" in done.stderr
    assert chat(gateway, typed("token", **away).stdout.strip())[0] == 200
    people.grants_asked()
    row = said(typed(*ASK, "--name", "human/ada", "--json", **away))
    assert row["subject"] == "ada"
    assert people.grants_asked() == [], "whoever is logged in logged in again"
    done = beside(gateway, typed, "requests", "deny", row["id"], "--reason", "ask your own lead")
    assert f"{row['id']} of people:ada is denied" in done.stdout
    assert chat(gateway, typed("token", **away).stdout.strip())[1]["error"]["code"] == "session_ended"


def test_a_workload_asks_with_its_token_and_takes_its_new_identity(
    opening: Any, issuers: Issuers, typed: Typed, tmp_path: Path
) -> None:
    gateway, away = opening(unregistered="request")
    path = tmp_path / "token"
    path.write_text(issuers[1].token(sub="job-1"))
    proof = ("--token-file", str(path))
    assert "identities request" in typed("token", *proof, **away).stderr
    row = said(typed(*ASK, *proof, "--name", "service/job", "--kind", "service", "--json", **away))
    assert row["kind"] == "service"
    assert (
        said(typed("identities", "request", "--status", "--json", "--token-env", "T", T=path.read_text(), **away))
        == row
    )
    approved = said(beside(gateway, typed, "requests", "approve", row["id"], "--reason", "agreed", "--json"))
    assert approved["request"]["identity"] == "service/job"
    assert chat(gateway, typed("token", *proof, **away).stdout.strip())[0] == 200


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("identities", "request"), 2, "--owner"),
        (ASK[:-2], 2, "--environment"),
        ((*ASK[:-1], "test"), 2, "'test' is not one of production, testing, experimentation"),
        ((*ASK, "--kind", "robot"), 2, "'robot' is not one of agent, service, human, tool"),
        ((*ASK, "--token-file", "a", "--token-env", "B"), 2, "no second one"),
        ((*ASK, "--device", "--browser"), 2, "not both"),
        ((*ASK, "--token-env", "NOTHING"), 1, "NOTHING is empty"),
        ((*ASK, "--token-env", "TOKEN"), 1, "no signed JWT"),
        (
            ("identities", "request", "--status", "--token-env", "TOKEN", "--gateway", "http://127.0.0.1:9"),
            1,
            "127.0.0.1:9",
        ),
    ],
)
def test_what_cannot_be_is_said_with_a_way_on(
    gateway: GatewayProcess, typed: Typed, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    places = {"COMPTROLLER_ADDR": gateway.url, "XDG_STATE_HOME": str(tmp_path), "TOKEN": "hello"}
    done = typed(*arguments, folder=tmp_path, **places)
    assert (done.returncode, words in " ".join(done.stderr.split())) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_identities_alone_lists_them_as_ever(gateway: GatewayProcess, typed: Typed) -> None:
    alone = beside(gateway, typed, "identities")
    assert "agent/ant" in alone.stdout
    assert alone == beside(gateway, typed, "identities", "list")
    assert said(beside(gateway, typed, "identities", "--json")) == said(
        beside(gateway, typed, "identities", "list", "--json")
    )
