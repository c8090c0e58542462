"""People and workloads that nobody has registered: refused, asked to ask, or in a sandbox, as their issuer says.

With real OpenID providers, one for each setting.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any
from urllib.parse import urlencode

import pytest

from comptroller.control.exchange import CLIENT_CREDENTIALS, JWT, JWT_BEARER, TOKEN_EXCHANGE
from comptroller.control.identity_requests import MOST_ASKED
from tests.end_to_end.caller import Row, Said, ask, budget_of, chat, eventually, nanos, settled_row
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import CommandFailed, GatewayFailed, GatewayProcess
from tests.harness.issuer import AUDIENCE, IssuerProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

PATH = "/comptroller/v1/identity-requests"
FORM = {"content-type": "application/x-www-form-urlencoded"}
VISITOR, OWNER = "agent/visitor", "blue-lead@acme.example"
WANTED = {"owner": OWNER, "purpose": "answers tickets", "environment": "testing", "kind": "agent"}
Issuers = Mapping[str, IssuerProcess]

_numbers = count(1)


@pytest.fixture(scope="module")
def issuers() -> Iterator[Issuers]:
    with IssuerProcess() as shut, IssuerProcess() as asking, IssuerProcess() as open_:
        yield {"shut": shut, "asking": asking, "open": open_}


def known(issuers: Issuers, **changes: Any) -> Row:
    settings: dict[str, Row] = {
        "shut": {},
        "asking": {"unregistered": "request"},
        "open": {"unregistered": "sandbox", "sandbox": VISITOR},
    }
    trusted = {
        name: {"kind": "oidc", "url": issuers[name].url, "audience": AUDIENCE} | more for name, more in settings.items()
    }
    members = {
        "agent/ant": identity("red", federated=[{"issuer": "asking", "subject": "ant"}]),
        "agent/bee": identity("red", federated=[{"issuer": "asking", "subject": ["two"], "stage": "live"}]),
        "agent/cat": identity("red", federated=[{"issuer": "asking", "subject": ["two"], "region": "eu"}]),
        "agent/dog": identity("red", environment="experimentation", federated=[{"issuer": "asking", "subject": "dog"}]),
        VISITOR: identity("blue", environment="experimentation"),
    }
    budgets = [
        budget("all", "100.00 USD"),
        budget("visitors", "0.30 USD", scope={"identity": VISITOR}),
        budget("each-visitor", "0.05 USD", scope={"identity": VISITOR}, per="subject"),
    ]
    return registry(budgets, members, issuers=trusted, **changes)


@pytest.fixture(scope="module")
def gateway(
    issuers: Issuers, sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("requests")
    with GatewayProcess(folder, process(sandbox_process.url), known(issuers)) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def somebody() -> str:
    """A subject that nobody else has."""
    return f"somebody-{next(_numbers)}"


def exchange(gateway: GatewayProcess, token: str, **more: str) -> Said:
    body = urlencode({"grant_type": JWT_BEARER, "assertion": token, **more}).encode()
    return ask(gateway, None, body, path="/oauth/token", headers=FORM)


def opened(said: Said) -> Row:
    assert said.status == 200, said
    return json.loads(said.body)


def refused(said: Said, status: int, code: str) -> Row:
    found = json.loads(said.body)
    assert (said.status, found["code"]) == (status, code), found
    assert found["hint"], found
    return found


def request(gateway: GatewayProcess, token: str, **changes: Any) -> Said:
    body = {name: value for name, value in {**WANTED, **changes}.items() if value is not None}
    return ask(gateway, token, json.dumps(body).encode(), path=PATH, headers={"content-type": "application/json"})


def asked(gateway: GatewayProcess, token: str, **changes: Any) -> Row:
    said = request(gateway, token, **changes)
    assert said.status == 201, said
    return json.loads(said.body)


def own(gateway: GatewayProcess, token: str) -> Row:
    """What whoever asked can read."""
    return opened(ask(gateway, token, b"", path=f"{PATH}/self", method="GET"))


def decide(gateway: GatewayProcess, request_id: str, verb: str, **sent: Any) -> Row:
    return gateway.admin("POST", f"/identity-requests/{request_id}/{verb}", {"reason": "as agreed", **sent})


def refused_admin(act: Callable[[], Any], status: int, words: str) -> None:
    with pytest.raises(GatewayFailed) as failed:
        act()
    assert f": {status} " in str(failed.value)
    assert words in str(failed.value)


# The three settings.


def test_without_the_setting_nobody_is_asked_to_ask(gateway: GatewayProcess, issuers: Issuers, somebody: str) -> None:
    token = issuers["shut"].token(sub=somebody)
    assert "operator" in refused(exchange(gateway, token), 400, "identity_unmatched")["hint"]
    refused(request(gateway, token), 403, "identity_unmatched")


def test_asked_for_and_approved_it_is_the_identity_from_the_next_exchange_on(
    gateway: GatewayProcess, issuers: Issuers, somebody: str
) -> None:
    token = issuers["asking"].token(sub=somebody)
    hint = refused(exchange(gateway, token), 400, "identity_request_needed")["hint"]
    assert "comptroller identities request --owner" in hint
    row = asked(gateway, token, name="agent/new")
    assert row.items() >= {"state": "open", "subject": somebody, "name": "agent/new"}.items()
    assert row["id"] in refused(exchange(gateway, token), 400, "identity_request_pending")["error_description"]
    assert own(gateway, token) == row
    waiting = gateway.admin("GET", "/identity-requests")
    assert row in waiting
    assert gateway.admin("GET", "/status")["open_requests"] == len(waiting)

    done = decide(gateway, row["id"], "approve")
    assert done["request"]["identity"] == "agent/new"
    assert own(gateway, token).items() >= {"state": "approved", "decided_by": "bootstrap"}.items()
    said = opened(exchange(gateway, token))
    assert said["identity"] == "agent/new"
    assert "note" not in said
    call = settled_row(gateway, ask(gateway, said["access_token"], chat()).call_id)
    assert call.items() >= {"identity": "agent/new", "owner": OWNER, "team": "blue", "environment": "testing"}.items()
    assert row["id"] not in [each["id"] for each in gateway.admin("GET", "/identity-requests")]
    refused(request(gateway, token), 409, "conflict")

    told = {(each["verb"], each["noun"]): each for each in gateway.admin("GET", "/changes?limit=20")}
    assert told["ask", "identity_request"]["actor"] == f"asking:{somebody}"
    assert told["approve", "identity_request"]["reason"] == "as agreed"
    assert told["add", "identity"]["key"] == "agent/new"
    eventually(lambda: f"asking:{somebody} asks for an identity" in gateway.log())


def test_the_file_does_not_have_it_and_a_plan_says_so_with_the_lines(
    gateway: GatewayProcess, issuers: Issuers, somebody: str
) -> None:
    path = gateway.folder / "registry.toml"
    written = path.read_text()
    row = asked(gateway, issuers["asking"].token(sub=f'{somebody} "quoted" \\ é'), purpose='reads "all" of C:\\temp')
    lines = decide(gateway, row["id"], "approve", name=f"agent/{somebody}", team="red")["lines"]
    try:
        with pytest.raises(CommandFailed) as differs:
            gateway.command("plan")
        assert differs.value.code == 2
        assert f"disable identity agent/{somebody}" in str(differs.value)
        assert "approved it at run time" in str(differs.value)
        assert lines in str(differs.value)
        missing = gateway.admin("POST", "/registry/plan", {"registry": written})["missing"]
        path.write_text(f"{written}\n{missing}")
        assert "Nothing to change" in gateway.command("plan").stdout
        path.write_text(written)
        gateway.command("apply", "--yes")
        token = issuers["asking"].token(sub=f'{somebody} "quoted" \\ é')
        refused(exchange(gateway, token), 400, "identity_request_needed")
        taken = asked(gateway, token)
        refused_admin(
            lambda: decide(gateway, taken["id"], "approve", name=f"agent/{somebody}"), 409, "disabled: the file can"
        )
    finally:
        path.write_text(written)


# The sandbox.


def test_one_subject_of_a_sandbox_is_barred_though_it_never_asked(
    gateway: GatewayProcess, issuers: Issuers, somebody: str
) -> None:
    token = issuers["open"].token(sub=somebody)
    sandboxed = opened(exchange(gateway, token))
    gateway.command("suspend", "subject", f"open:{somebody}", "--reason", "plays with it")
    answer = ask(gateway, sandboxed["access_token"], chat())
    assert (answer.status, answer.code) == (402, "identity_suspended")
    assert f"The subject open:{somebody} was suspended by" in answer.error["message"]
    barred = exchange(gateway, token)
    assert "was suspended by" in json.loads(barred.body)["error_description"], barred.body
    opened(exchange(gateway, issuers["open"].token(sub=f"{somebody}-2")))  # nobody else is
    gateway.command("resume", "subject", f"open:{somebody}", "--reason", "sorry")
    assert ask(gateway, sandboxed["access_token"], chat()).status == 200


def test_a_sandbox_is_bounded_for_each_person_and_for_all_and_says_whose_spend_it_is(
    gateway: GatewayProcess, issuers: Issuers, somebody: str
) -> None:
    token = issuers["open"].token(sub=somebody)
    said = opened(exchange(gateway, token))
    assert said["identity"] == VISITOR
    assert "comptroller identities request" in said["note"]
    first = ask(gateway, said["access_token"], chat(max_tokens=100))
    assert first.status == 200
    call = settled_row(gateway, first.call_id)
    (session,) = [each for each in gateway.admin("GET", "/sessions?limit=100") if each["id"] == said["session"]]
    assert session["subject"] == session["minted_by"] == f"open:{somebody}"

    # More sessions, and children of them, are no more money; all at once, too.
    tokens = [opened(exchange(gateway, token))["access_token"] for _ in range(3)]
    below = urlencode(
        {"grant_type": TOKEN_EXCHANGE, "subject_token": tokens[0], "subject_token_type": f"{JWT[:-3]}access_token"}
    )
    tokens.append(opened(ask(gateway, None, below.encode(), path="/oauth/token", headers=FORM))["access_token"])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: ask(gateway, tokens[n % 4], chat(f"{n}", max_tokens=1000)), range(24)))
    assert {each.status for each in answers} == {200, 402}
    for each in answers:
        if each.status == 200:
            settled_row(gateway, each.call_id)
    windows = [each for each in gateway.admin("GET", "/budgets") if each["name"] == "each-visitor"]
    (mine,) = [each for each in windows if each["instance"] == f"open:{somebody}"]
    assert 0 < nanos(call["charge_usd"]) < nanos(mine["posted"]) <= nanos("0.05")
    spent = gateway.admin("GET", "/spend?by=subject")["rows"]
    (line,) = [each for each in spent if each["key"] == f"open:{somebody}"]
    assert nanos(line["charge_usd"]) + nanos(line["presumed_usd"]) == nanos(mine["posted"])

    other = opened(exchange(gateway, issuers["open"].token(sub=f"{somebody}-b")))["access_token"]
    assert ask(gateway, other, chat(max_tokens=100)).status == 200, "one person's spend was another's"
    assert nanos(budget_of(gateway, "visitors")["posted"]) <= nanos("0.30")


def test_nobody_chooses_the_subject_or_the_identity_of_a_sandbox(
    gateway: GatewayProcess, issuers: Issuers, somebody: str
) -> None:
    token = issuers["open"].token(sub=somebody)
    for work in ({"subject": "open:another"}, {"identity": "agent/ant"}):
        assert exchange(gateway, token, work=json.dumps(work)).status == 400
    first = opened(exchange(gateway, token, work=json.dumps({"subject": f"open:{somebody}", "identity": VISITOR})))
    again = opened(exchange(gateway, token, session=first["session"]))
    assert again["session"] == first["session"]
    other = issuers["open"].token(sub=f"{somebody}-b")
    assert exchange(gateway, other, session=first["session"]).status == 400
    child = {"subject": "open:another"}
    said = ask(gateway, first["access_token"], json.dumps(child).encode(), path="/comptroller/v1/sessions")
    assert json.loads(said.body)["code"] == "delegation_widened"


def test_a_sandbox_is_no_proof_that_an_identity_takes_part(
    gateway: GatewayProcess, issuers: Issuers, somebody: str
) -> None:
    parent = opened(exchange(gateway, issuers["asking"].token(sub="ant")))["access_token"]
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": parent,
        "subject_token_type": f"{JWT[:-3]}access_token",
        "actor_token": issuers["open"].token(sub=somebody),
        "actor_token_type": JWT,
    }
    said = ask(gateway, None, urlencode(form).encode(), path="/oauth/token", headers=FORM)
    refused(said, 400, "identity_unmatched")


def test_no_other_way_leads_into_a_sandbox(gateway: GatewayProcess, issuers: Issuers, somebody: str) -> None:
    parent = opened(exchange(gateway, issuers["asking"].token(sub="dog")))["access_token"]
    sandboxed = opened(exchange(gateway, issuers["open"].token(sub=somebody)))["access_token"]
    body = {"identity": VISITOR, "actor_token": sandboxed}
    said = ask(gateway, parent, json.dumps(body).encode(), path="/comptroller/v1/sessions")
    assert refused(said, 409, "delegation_forbidden")["detail"].startswith(f"{VISITOR} is a sandbox")
    secret = gateway.admin("POST", "/secrets", {"identity": VISITOR, "expires_s": 60})["secret"]
    form = {"grant_type": CLIENT_CREDENTIALS, "client_id": VISITOR, "client_secret": secret}
    said = ask(gateway, None, urlencode(form).encode(), path="/oauth/token", headers=FORM)
    assert "is a sandbox" in refused(said, 400, "invalid_grant")["error_description"]


def test_an_approval_takes_over_from_the_sandbox(gateway: GatewayProcess, issuers: Issuers, somebody: str) -> None:
    token = issuers["open"].token(sub=somebody)
    sandboxed = opened(exchange(gateway, token))
    row = asked(gateway, sandboxed["access_token"])
    assert (row["issuer"], row["subject"]) == ("open", somebody)
    assert opened(exchange(gateway, token))["identity"] == VISITOR, "until somebody decides"
    decide(gateway, row["id"], "approve", name=f"agent/{somebody}")
    assert own(gateway, sandboxed["access_token"])["identity"] == f"agent/{somebody}"
    fresh = exchange(gateway, token, session=sandboxed["session"])
    assert fresh.status == 400, "its session is of another identity"
    assert opened(exchange(gateway, token))["identity"] == f"agent/{somebody}"


def test_a_denial_ends_the_sandbox_and_asking_again_does_not_bring_it_back(
    gateway: GatewayProcess, issuers: Issuers, somebody: str
) -> None:
    token = issuers["open"].token(sub=somebody)
    credential = opened(exchange(gateway, token))["access_token"]
    row = asked(gateway, token)
    why = f"who is that? {'a' * 487}"
    decide(gateway, row["id"], "deny", reason=why)
    said = ask(gateway, credential, chat())
    assert (said.status, said.code) == (402, "session_ended")
    assert "who is that?" in refused(exchange(gateway, token), 400, "identity_request_denied")["error_description"]
    assert own(gateway, token).items() >= {"state": "denied", "decided_reason": why}.items()
    again = asked(gateway, token, purpose="answers tickets of the blue team")
    assert again["id"] != row["id"]
    refused(exchange(gateway, token), 400, "identity_request_pending")
    decide(gateway, again["id"], "approve", name=f"agent/{somebody}")
    assert opened(exchange(gateway, token))["identity"] == f"agent/{somebody}"


# Asking.


BAD: dict[str, tuple[Row, int, str]] = {
    "unknown owner": ({"owner": "nobody@acme.example"}, 422, "invalid"),
    "no owner": ({"owner": None}, 400, "request_invalid"),
    "no purpose": ({"purpose": "  "}, 422, "invalid"),
    "purpose of many lines": ({"purpose": "a\nb"}, 422, "invalid"),
    "purpose that steers a terminal": ({"purpose": "a \x1b[2J"}, 422, "invalid"),
    "purpose too long": ({"purpose": "a" * 501}, 422, "invalid"),
    "no environment": ({"environment": None}, 400, "request_invalid"),
    "unknown environment": ({"environment": "prod"}, 400, "request_invalid"),
    "unknown kind": ({"kind": "robot"}, 400, "request_invalid"),
    "a name that is none": ({"name": "scout"}, 422, "invalid"),
    "the name of a child": ({"name": "agent/~scout"}, 422, "invalid"),
    "a name that is taken": ({"name": "agent/ant"}, 409, "conflict"),
    "a field that nobody reads": ({"team": "red"}, 400, "request_invalid"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_asked_for(gateway: GatewayProcess, issuers: Issuers, somebody: str, case: str) -> None:
    changes, status, code = BAD[case]
    said = request(gateway, issuers["asking"].token(sub=somebody), **changes)
    found = json.loads(said.body)
    assert (said.status, found["code"]) == (status, code), found
    assert ask(gateway, issuers["asking"].token(sub=somebody), b"", path=f"{PATH}/self", method="GET").status == 404


WHO: dict[str, tuple[Callable[[GatewayProcess, Issuers], str | None], int, str]] = {
    "nobody": (lambda g, i: None, 401, "credential_missing"),
    "no token": (lambda g, i: "hello", 401, "token_malformed"),
    "another audience": (lambda g, i: i["asking"].token(aud="https://x.example", sub="a"), 401, "token_invalid"),
    "expired": (lambda g, i: i["asking"].token(sub="a", iat=1_700_000_000), 401, "token_invalid"),
    "an identity": (lambda g, i: i["asking"].token(sub="ant"), 409, "conflict"),
    "two identities": (
        lambda g, i: i["asking"].token(sub="two", stage="live", region="eu"), 403, "identity_ambiguous"
    ),
    "a subject that no record can hold": (lambda g, i: i["asking"].token(sub="a" * 200), 403, "identity_unmatched"),
    "a subject of two lines": (lambda g, i: i["asking"].token(sub="a\nb"), 403, "identity_unmatched"),
    "a session of an identity": (
        lambda g, i: opened(exchange(g, i["asking"].token(sub="ant")))["access_token"], 409, "conflict"
    ),
    "a sandbox's session that an operator minted": (
        lambda g, i: g.admin("POST", "/sessions/open", {"identity": VISITOR, "subject": "open:x"})["credential"],
        409,
        "conflict",
    ),
    "an admin": (lambda g, i: g.admin_token(), 401, "token_malformed"),
}  # fmt: skip


@pytest.mark.parametrize("who", WHO)
def test_who_cannot_ask(gateway: GatewayProcess, issuers: Issuers, who: str) -> None:
    make, status, code = WHO[who]
    open_before = gateway.admin("GET", "/identity-requests")
    proof = make(gateway, issuers)
    body = json.dumps(WANTED).encode()
    found = json.loads(ask(gateway, proof, body, path=PATH).body)
    assert (found["status"], found["code"], bool(found["hint"])) == (status, code, True), found
    assert gateway.admin("GET", "/identity-requests") == open_before


def test_two_identities_for_one_token_stay_refused(gateway: GatewayProcess, issuers: Issuers) -> None:
    token = issuers["asking"].token(sub="two", stage="live", region="eu")
    refused(exchange(gateway, token), 400, "identity_ambiguous")


def test_one_request_at_a_time_and_the_same_twice_is_one(
    gateway: GatewayProcess, issuers: Issuers, somebody: str
) -> None:
    token = issuers["asking"].token(sub=somebody)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: request(gateway, token), range(4)))
    assert sorted(each.status for each in answers) == [200, 200, 200, 201]
    assert len({each.body for each in answers}) == 1
    refused(request(gateway, token, purpose="something else"), 409, "conflict")


def test_asking_ends_after_so_many_denials(gateway: GatewayProcess, issuers: Issuers, somebody: str) -> None:
    token = issuers["asking"].token(sub=somebody)
    for _ in range(MOST_ASKED):
        decide(gateway, asked(gateway, token)["id"], "deny")
    refused(request(gateway, token), 429, "requests_full")


# Deciding.


def test_a_request_is_decided_once(gateway: GatewayProcess, issuers: Issuers, somebody: str) -> None:
    row = asked(gateway, issuers["asking"].token(sub=somebody))
    version = decide(gateway, row["id"], "approve", name=f"agent/{somebody}")["version"]
    for verb in ("approve", "deny"):
        refused_admin(lambda verb=verb: decide(gateway, row["id"], verb), 409, "was approved by bootstrap")
    assert gateway.admin("GET", "/status")["registry_version"] == version
    refused_admin(lambda: decide(gateway, "req_nothing", "approve"), 404, "no request")


def test_what_cannot_be_approved_changes_nothing(gateway: GatewayProcess, issuers: Issuers, somebody: str) -> None:
    version = gateway.admin("GET", "/status")["registry_version"]
    nameless = asked(gateway, issuers["asking"].token(sub=somebody))
    starred = asked(gateway, issuers["asking"].token(sub=f"{somebody}*"))
    wider = asked(gateway, issuers["asking"].token(sub="two"))
    for row, sent, status, words in (
        (nameless, {}, 422, "--name"),
        (nameless, {"name": "scout"}, 422, "not an identity id"),
        (nameless, {"name": "agent/ant"}, 409, "agent/ant"),
        (nameless, {"name": "agent/x", "team": "green"}, 422, "no team 'green'"),
        (nameless, {"name": "agent/x", "reason": " "}, 422, "reason"),
        (starred, {"name": "agent/x"}, 422, "no patterns"),
        (wider, {"name": "agent/x"}, 422, "would be refused"),
    ):
        refused_admin(lambda row=row, sent=sent: decide(gateway, row["id"], "approve", **sent), status, words)
    assert gateway.admin("GET", "/status")["registry_version"] == version
    for row in (nameless, starred, wider):
        decide(gateway, row["id"], "deny")


@pytest.fixture
def approvers(gateway: GatewayProcess, issuers: Issuers, somebody: str) -> Iterator[Callable[[str], None]]:
    """Become an admin: one who logs in as this subject, or one who has a credential of its own."""

    def become(name: str, role: str = "approver", **more: str) -> None:
        gateway.named = None
        made = gateway.admin("POST", "/admins", {"name": name, "role": role, **more})
        login = {"token": issuers["asking"].token(sub=more["subject"])} if more else {}
        gateway.named = gateway.admin("POST", "/login", login)["credential"] if more else made["credential"]

    yield become
    gateway.named = None


def test_nobody_approves_for_themselves_or_for_what_they_answer_for(
    gateway: GatewayProcess, issuers: Issuers, somebody: str, approvers: Any
) -> None:
    row = asked(gateway, issuers["asking"].token(sub=somebody), name=f"agent/{somebody}")

    def approve() -> Row:
        return decide(gateway, row["id"], "approve")

    approvers(f"{somebody}@acme.example", issuer="asking", subject=somebody)
    refused_admin(approve, 403, "second_admin_needed")
    approvers(OWNER.upper())
    refused_admin(approve, 403, "second_admin_needed")
    approvers(f"operator-of-{somebody}", "operator")
    refused_admin(approve, 403, "role_forbidden")
    approvers(f"approver-of-{somebody}")
    assert approve()["request"]["decided_by"] == f"approver-of-{somebody}"
    gateway.named = None
    (entry,) = [each for each in gateway.admin("GET", "/changes?limit=5") if each["noun"] == "identity"]
    assert json.loads(entry["after"])["approved_by"] == f"approver-of-{somebody}"


def test_requests_and_what_was_decided_outlive_a_restart(
    gateway: GatewayProcess, issuers: Issuers, somebody: str
) -> None:
    waits, told_no = issuers["open"].token(sub=somebody), issuers["open"].token(sub=f"{somebody}-b")
    row = asked(gateway, waits)
    decide(gateway, asked(gateway, told_no)["id"], "deny")
    gateway.restart()
    assert own(gateway, waits) == row
    refused(exchange(gateway, told_no), 400, "identity_request_denied")
    decide(gateway, row["id"], "approve", name=f"agent/{somebody}")
    gateway.restart()
    assert opened(exchange(gateway, waits))["identity"] == f"agent/{somebody}"
