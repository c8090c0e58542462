"""Tickets on a running gateway: answered once, by whoever may, in time; and seen by nobody but their askers."""

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.end_to_end.caller import Row, Said, ask, chat, eventually, mint
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

POLICIES = """
@id("everybody") permit (principal, action == Action::"model.call", resource);

@id("dear-models") @remedy("approval:finops") @reason("the large model needs finops")
forbid (principal in Team::"blue", action, resource == Model::"sandbox-large");

@id("hasty-models") @remedy("approval:hasty") @reason("the large model needs a quick word")
forbid (principal in Team::"red", action, resource == Model::"sandbox-large");
"""
BLUE, RED = ("agent/ant", "agent/bee"), ("agent/fox", "agent/gnu")
IDENTITIES = {name: identity("blue") for name in BLUE} | {name: identity("red") for name in RED}
ROLES = {
    "finops": {"approvers": ["otto", "olga"], "four_eyes_above_usd": "5.00"},
    "hasty": {"approvers": ["otto"], "answer_within_s": 600, "escalate_to": "late"},
    "late": {"approvers": ["zoe"], "answer_within_s": 600},
}
ADMINS = {"ada": "admin", "otto": "approver", "olga": "approver", "zoe": "approver", "vera": "viewer"}
PATH = "/comptroller/v1/approvals"


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("tickets")
    (folder / "policies").mkdir()
    (folder / "policies" / "one.cedar").write_text(POLICIES)
    known = registry([budget("all", "50.00 USD")], IDENTITIES, approvals=ROLES)
    with GatewayProcess(folder, process(sandbox_process.url), known) as running:
        for name, role in ADMINS.items():
            running.env[name] = running.admin("POST", "/admins", {"name": name, "role": role})["credential"]
            running.named = running.env["ada"]
        yield running
        assert "Traceback" not in running.log()


def act(gateway: GatewayProcess, who: str, *line: str, fails: bool = False) -> str:
    """What the command prints for this admin; its error, where it fails."""
    gateway.named = gateway.env[who]
    try:
        done = gateway.command(*line, check=False)
    finally:
        gateway.named = gateway.env["ada"]
    assert (done.returncode == 1) is fails, (done.stdout, done.stderr)
    return (done.stderr if fails else done.stdout).strip()


def call(gateway: GatewayProcess, credential: str, seed: int = 0) -> Said:
    return ask(gateway, credential, chat(max_tokens=50, seed=seed))


def asked(gateway: GatewayProcess, credential: str) -> str:
    """The ticket of a call that needs somebody."""
    return call(gateway, credential).error["comptroller"]["approval"]["ticket"]


def let_pass(gateway: GatewayProcess, ticket: str) -> None:
    """The time in which somebody had to answer goes by while no gateway runs."""
    gateway.sigterm()
    with closing(sqlite3.connect(gateway.state / "comptroller.db")) as store, store:
        (body,) = store.execute("SELECT body FROM tickets WHERE id = ?", [ticket]).fetchone()
        past = json.dumps(json.loads(body) | {"due_at_ns": 1})
        store.execute("UPDATE tickets SET body = ? WHERE id = ?", [past, ticket])
    gateway.start()


def own(gateway: GatewayProcess, credential: str, ticket: str, verb: str = "") -> tuple[int, Row]:
    """What a caller is told of a ticket."""
    method = "POST" if verb else "GET"
    said = ask(gateway, credential, b"", path=f"{PATH}/{ticket}{verb}", method=method)
    return said.status, json.loads(said.body)


def told(gateway: GatewayProcess, ticket: str) -> list[tuple[str, str]]:
    return [
        (each["actor"], each["verb"]) for each in gateway.admin("GET", "/changes?limit=1000") if each["key"] == ticket
    ][::-1]


def test_a_person_finds_a_ticket_and_answers_it_from_the_command_line(gateway: GatewayProcess) -> None:
    minted = mint(gateway, "agent/ant")
    ticket = asked(gateway, minted["credential"])
    listed = act(gateway, "vera", "approvals")
    assert all(each in listed for each in (ticket, "requested", "finops", "agent/ant", "sandbox-large"))
    shown = act(gateway, "vera", "approvals", "show", ticket)
    assert all(each in shown for each in ("forbids: dear-models", "the large model needs finops", minted["session"]))
    assert "suspends all that is marked approval:finops" in shown
    assert "vera is viewer" in act(gateway, "vera", "approvals", "approve", ticket, "--reason", "x", fails=True)
    said = act(gateway, "otto", "approvals", "approve", ticket, "--reason", "INC-9")
    assert f"is given to session {minted['session']}, 1 call, up to" in said
    assert call(gateway, minted["credential"]).status == 200
    assert call(gateway, minted["credential"], seed=1).code == "approval_required", "for one call"
    assert ticket not in act(gateway, "vera", "approvals")
    assert "approved by otto" in act(gateway, "vera", "approvals", "list", "--all")
    eventually(lambda: "used up" in act(gateway, "vera", "approvals", "show", ticket))
    assert told(gateway, ticket) == [("agent/ant", "ask"), ("otto", "approve")]


def test_a_no_is_told_to_whoever_asked(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/bee")["credential"]
    ticket = asked(gateway, credential)
    assert "is denied" in act(gateway, "olga", "approvals", "deny", ticket, "--reason", "use the small model")
    status, row = own(gateway, credential, ticket)
    assert (status, row["state"], row["said"]) == (200, "denied", "use the small model")
    assert "is denied by olga" in act(gateway, "otto", "approvals", "approve", ticket, "--reason", "x", fails=True)
    assert call(gateway, credential).code == "approval_required"


def test_of_approvers_at_once_one_answers(gateway: GatewayProcess) -> None:
    """And whoever has answered and says it again is told what stands: a repeat of a request that got lost."""
    credential = mint(gateway, "agent/ant")["credential"]
    ticket = asked(gateway, credential)

    def approve(who: str) -> tuple[int, Row]:
        headers = {"Authorization": f"Bearer {gateway.env[who]}", "Content-Type": "application/json"}
        target = f"http://127.0.0.1:{gateway.admin_port}/api/v1/approvals/{ticket}/approve"
        try:
            with urlopen(Request(target, b'{"reason": "INC-9"}', headers)) as answer:
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            return error.code, json.loads(error.read())

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(approve, ["otto", "olga"] * 4))
    assert sorted(status for status, _ in said) == [200] * 4 + [409] * 4, "of one person, and of the other"
    assert len({body["grant"]["id"] for status, body in said if status == 200}) == 1
    assert {body["code"] for status, body in said if status == 409} == {"not_open"}
    assert [verb for _, verb in told(gateway, ticket)] == ["ask", "approve"]
    assert call(gateway, credential).status == 200
    assert call(gateway, credential, seed=1).status == 402


def test_what_nobody_answers_goes_up_and_is_a_no_in_the_end(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/fox")["credential"]
    ticket = asked(gateway, credential)

    def state() -> tuple[str, str]:
        _, row = own(gateway, credential, ticket)
        return row["state"], row["role"]

    for wanted in (("escalated", "late"), ("expired", "late")):
        let_pass(gateway, ticket)
        eventually(lambda wanted=wanted: state() == wanted)
    assert told(gateway, ticket) == [("agent/fox", "ask"), ("gateway", "escalate"), ("gateway", "expire")]
    assert "is expired by gateway" in act(gateway, "zoe", "approvals", "approve", ticket, "--reason", "x", fails=True)


def test_two_people_agree_from_the_command_line(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/bee", lifetime_s=600)["credential"]
    ticket = asked(gateway, credential)
    terms = ("--amount", "6 USD", "--uses", "2", "--for", "10m", "--bound", "identity", "--reason", "INC-9")
    assert act(gateway, "otto", "approvals", "approve", ticket, *terms) == ""
    assert "otto agrees to 6.00 USD for 10 min" in act(gateway, "vera", "approvals", "show", ticket)
    assert (
        "it takes somebody else"
        in act(gateway, "otto", "approvals", "approve", ticket, "--reason", "me again", fails=True).lower()
    )
    assert call(gateway, credential).code == "approval_required"
    said = act(gateway, "olga", "approvals", "approve", ticket, "--reason", "agreed")
    assert "is given to identity agent/bee, 2 calls, up to 6.00 USD" in said
    assert [call(gateway, credential, seed=n).status for n in range(3)] == [200, 200, 402]


def test_a_ticket_is_seen_by_its_asker_and_by_nobody_else(gateway: GatewayProcess) -> None:
    above = mint(gateway, "agent/gnu")
    child = json.loads(ask(gateway, above["credential"], b'{"name": "k1"}', path="/comptroller/v1/sessions").body)
    ticket = asked(gateway, child["credential"])
    assert own(gateway, child["credential"], ticket)[0] == 200
    assert own(gateway, above["credential"], ticket)[0] == 200, "whoever started it sees what it waits for"
    other, same = mint(gateway, "agent/fox")["credential"], mint(gateway, "agent/gnu")["credential"]
    tenant = gateway.admin("POST", "/sessions/open", {"identity": "agent/gnu", "tenant": "t1"})["credential"]
    for stranger in (other, same, tenant):
        for verb in ("", "/withdraw"):
            status, body = own(gateway, stranger, ticket, verb)
            assert (status, body["code"]) == (404, "not_found")
    assert own(gateway, child["credential"], "apr_nope")[0] == 404
    status, row = own(gateway, child["credential"], ticket, "/withdraw")
    assert (status, row["state"]) == (200, "withdrawn")
    assert own(gateway, child["credential"], ticket, "/withdraw")[0] == 200
    assert told(gateway, ticket)[-1][1] == "withdraw"


def test_the_same_identity_finds_its_ticket_with_another_credential(gateway: GatewayProcess) -> None:
    """Somebody answers an hour later: the credential that asked has ended by then."""
    ticket = asked(gateway, mint(gateway, "agent/ant")["credential"])
    act(gateway, "otto", "approvals", "approve", ticket, "--bound", "identity", "--reason", "INC-9")
    status, row = own(gateway, mint(gateway, "agent/ant")["credential"], ticket)
    assert (status, row["state"], row["grant"]["uses_left"]) == (200, "approved", 1)
    assert row["grant"]["bound"] == "identity"


@pytest.mark.parametrize("credential", [None, "cptr_guess"])
def test_who_is_nobody_is_told_nothing(gateway: GatewayProcess, credential: str | None) -> None:
    said = ask(gateway, credential, b"", path=f"{PATH}/apr_1", method="GET")
    assert said.status == 401
