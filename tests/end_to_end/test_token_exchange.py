"""Sessions below sessions, and sessions that go on, by the token endpoint: RFC 8693 with credentials of our own."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from comptroller.control.exchange import ACCESS_TOKEN, JWT, JWT_BEARER, TOKEN_EXCHANGE
from tests.end_to_end.caller import Said, ask, mint, settled_row
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.issuer import AUDIENCE, IssuerProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[IssuerProcess]:
    with IssuerProcess() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    issuer: IssuerProcess, sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    def by(subject: str) -> dict[str, Any]:
        return {"federated": [{"issuer": "main", "subject": subject}]}

    identities = {
        "agent/ant": identity("red", **by("ant")),
        "agent/bee": identity("blue", **by("bee")),
        "agent/cat": identity("blue", may_act=["agent/ant"]),
    }
    issuers = {"main": {"kind": "oidc", "url": issuer.url, "audience": AUDIENCE}}
    known = registry([budget("all", "10.00 USD")], identities, issuers=issuers)
    with GatewayProcess(tmp_path_factory.mktemp("exchange"), process(sandbox_process.url), known) as running:
        yield running
        assert "Traceback" not in running.log()


def post(gateway: GatewayProcess, **fields: str) -> Said:
    return ask(gateway, None, urlencode(fields).encode(), path="/oauth/token", headers=FORM)


def below(gateway: GatewayProcess, credential: str, work: dict[str, Any] | None = None, **fields: str) -> Said:
    more = {} if work is None else {"work": json.dumps(work)}
    kinds = {"grant_type": TOKEN_EXCHANGE, "subject_token": credential, "subject_token_type": ACCESS_TOKEN}
    return post(gateway, **{**kinds, **more, **fields})


def opened(said: Said) -> dict[str, Any]:
    assert said.status == 200, said
    return json.loads(said.body)


def session_of(gateway: GatewayProcess, opened: dict[str, Any]) -> dict[str, Any]:
    (row,) = [row for row in gateway.admin("GET", "/sessions?limit=1000") if row["id"] == opened["session"]]
    return row


def test_a_session_credential_opens_an_ephemeral_child_with_less(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    parent = mint(gateway, "agent/ant")
    work = {"name": "reader", "task_type": "ticket", "task": "T-7", "bounds": {"usd": "0.50"}, "models": ["sandbox-s*"]}
    child = opened(below(gateway, parent["credential"], work))
    assert child["identity"] == "agent/ant/~reader"
    row = session_of(gateway, child)
    assert (row["parent"], row["depth"], row["minted_by"]) == (parent["session"], 1, "agent/ant")
    assert (row["task_type"], row["task"], row["bounds"]["usd"], row["models"]) == (
        "ticket",
        "T-7",
        "0.50",
        ["sandbox-s*"],
    )
    answer = ask(
        gateway, child["access_token"], {"model": "sandbox-small", "messages": [{"role": "user", "content": "?"}]}
    )
    assert answer.status == 200
    assert settled_row(gateway, answer.call_id)["session"] == child["session"]
    assert ask(gateway, child["access_token"]).status == 402, "a model that it was not handed"
    asked = urlencode({"token": child["access_token"]}).encode()
    said = json.loads(ask(gateway, parent["credential"], asked, path="/oauth/introspect", headers=FORM).body)
    assert (said["name"], said["client_id"], said["task"]) == ("agent/ant/~reader", "agent/ant", "T-7")
    assert said["chain"] == ["agent/ant/~reader", "agent/ant"]
    assert said["sub"] == "spiffe://acme.example/agent/ant"
    assert said["act"] == {"sub": "spiffe://acme.example/agent/ant", "name": "agent/ant/~reader"}
    grandchild = opened(below(gateway, child["access_token"], {"name": "deeper"}))
    assert grandchild["identity"] == "agent/ant/~reader/~deeper"


@pytest.mark.parametrize("kind", [ACCESS_TOKEN, JWT])
def test_a_registered_identity_takes_part_with_a_token_of_its_own(
    gateway: GatewayProcess, issuer: IssuerProcess, kind: str
) -> None:
    parent = mint(gateway, "agent/ant")
    actor = mint(gateway, "agent/bee")["credential"] if kind == ACCESS_TOKEN else issuer.token(sub="bee")
    child = opened(below(gateway, parent["credential"], actor_token=actor, actor_token_type=kind))
    row = session_of(gateway, child)
    assert (child["identity"], row["identity"], row["parent"]) == ("agent/bee", "agent/bee", parent["session"])


def test_or_by_its_entry_in_the_registry(gateway: GatewayProcess) -> None:
    child = opened(below(gateway, mint(gateway, "agent/ant")["credential"], {"identity": "agent/cat"}))
    assert child["identity"] == "agent/cat"


@pytest.mark.parametrize(
    ("make", "error", "code"),
    [
        (lambda g: below(g, mint(g)["credential"], {"identity": "agent/bee"}), "invalid_grant", "delegation_forbidden"),
        (lambda g: below(g, mint(g)["credential"], {"identity": "agent/ant"}), "invalid_grant", "delegation_forbidden"),
        (
            lambda g: below(g, mint(g, "agent/bee")["credential"], {"identity": "agent/cat"}),
            "invalid_grant",
            "delegation_forbidden",
        ),
        (
            lambda g: below(g, mint(g)["credential"], {"bounds": {"usd": "99999"}}),
            "invalid_grant",
            "delegation_widened",
        ),
        (lambda g: below(g, "cptr_a.b.c"), "invalid_request", "credential_invalid"),
        (lambda g: below(g, g.admin_token()), "invalid_request", "credential_invalid"),
        (lambda g: below(g, ended(g)), "invalid_request", "session_ended"),
        (
            lambda g: below(g, mint(g)["credential"], actor_token=ended(g), actor_token_type=ACCESS_TOKEN),
            "invalid_request",
            "session_ended",
        ),
        (
            lambda g: below(
                g,
                mint(g)["credential"],
                {"identity": "agent/cat"},
                actor_token=mint(g, "agent/bee")["credential"],
                actor_token_type=ACCESS_TOKEN,
            ),
            "invalid_request",
            "invalid_request",
        ),
        (lambda g: below(g, mint(g)["credential"], {"budget": 1}), "invalid_request", "invalid_request"),
        (lambda g: below(g, mint(g)["credential"], work="["), "invalid_request", "invalid_request"),
        (lambda g: below(g, mint(g)["credential"], session="ses_x", work="{}"), "invalid_request", "invalid_request"),
    ],
    ids=range(12),
)
def test_what_may_not_be_handed_on_is_refused(gateway: GatewayProcess, make: Any, error: str, code: str) -> None:
    said = make(gateway)
    told = json.loads(said.body)
    assert (said.status, told["error"], told.get("code", "")) == (400, error, code), told
    assert told["hint"]


def ended(gateway: GatewayProcess) -> str:
    minted = mint(gateway, "agent/bee")
    gateway.admin("POST", f"/sessions/{minted['session']}/end", {"reason": "test"})
    return minted["credential"]


# Sessions that go on.


def bearer(gateway: GatewayProcess, issuer: IssuerProcess, subject: str = "ant", **fields: str) -> Said:
    return post(gateway, grant_type=JWT_BEARER, assertion=issuer.token(sub=subject), **fields)


def test_a_workload_gets_another_credential_for_the_session_that_it_has(
    gateway: GatewayProcess, issuer: IssuerProcess, sandbox: SandboxProcess
) -> None:
    first = opened(bearer(gateway, issuer, work=json.dumps({"task_type": "ticket", "task": "T-1"}), lifetime_s="60"))
    second = opened(bearer(gateway, issuer, session=first["session"]))
    assert second["session"] == first["session"]
    assert second["access_token"] != first["access_token"]
    for each in (first, second):
        assert ask(gateway, each["access_token"]).status == 200
    assert session_of(gateway, first)["task"] == "T-1"
    changes = gateway.admin("GET", "/changes?limit=100")
    (change,) = [row for row in changes if row["noun"] == "credential" and first["session"] in json.dumps(row)]
    assert (change["verb"], change["actor"]) == ("mint", "main:ant")
    gateway.admin("POST", f"/sessions/{first['session']}/end", {"reason": "test"})
    for each in (first, second):
        assert ask(gateway, each["access_token"]).status == 402


def test_a_session_of_another_goes_on_for_nobody_else(gateway: GatewayProcess, issuer: IssuerProcess) -> None:
    own = opened(bearer(gateway, issuer))["session"]
    minted = mint(gateway, "agent/ant")
    child = opened(below(gateway, minted["credential"]))["session"]
    for subject, session in (("bee", own), ("ant", minted["session"]), ("ant", child), ("ant", "ses_nothing")):
        said = bearer(gateway, issuer, subject, session=session)
        assert (said.status, json.loads(said.body)["error"]) == (400, "invalid_grant")


def test_a_token_opens_no_session_for_another_identity(gateway: GatewayProcess, issuer: IssuerProcess) -> None:
    said = bearer(gateway, issuer, work=json.dumps({"identity": "agent/bee"}))
    assert (said.status, json.loads(said.body)["error"]) == (400, "invalid_request")
