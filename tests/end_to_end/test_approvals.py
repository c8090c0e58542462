"""A call that needs a person: it is refused with a ticket, or waits, and goes on by the grant that somebody gave."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.end_to_end.caller import (
    Row,
    Said,
    allowance,
    ask,
    chat,
    eventually,
    mint,
    nanos,
    settled_row,
    stream,
    unanswered,
)
from tests.harness.configuration import budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayFailed, GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

POLICIES = """
@id("everybody") permit (principal, action == Action::"model.call", resource);

@id("dear-models") @remedy("approval:finops") @reason("the large model needs finops")
forbid (principal in Team::"blue", action, resource == Model::"sandbox-large");

@id("thinkers") @remedy("approval:finops")
forbid (principal, action, resource == Model::"sandbox-reasoner");

@id("public-thinkers") @remedy("approval:safety")
forbid (principal in Team::"red", action, resource == Model::"sandbox-reasoner");
"""
BLUE = ("agent/ant", "agent/bee", "agent/cat", "agent/dog", "agent/eel")
IDENTITIES = {name: identity("blue") for name in BLUE} | {
    name: identity("red") for name in ("agent/fox", "agent/gnu", "agent/hen")
}
BUDGETS = [
    budget("all", "50.00 USD"),
    budget("fox", "0.01 USD", scope={"identity": "agent/fox"}, owner_role="finops"),
    budget("gnu", "1000 calls", scope={"identity": "agent/gnu"}, soft=["0.1% approval:finops"]),
]
MODELS = {"sandbox-*": model("sandbox"), "sandbox-reasoner": model("gone", "sandbox")}
ROLES = {"finops": {"approvers": ["otto", "olga", "blue-lead@acme.example"], "four_eyes_above_usd": "5.00"}}
ADMINS = {
    "ada": "admin",
    "otto": "approver",
    "olga": "approver",
    "blue-lead@acme.example": "approver",
    "zoe": "approver",
}
CALL: Row = {"max_tokens": 100, "sandbox": {"output_tokens": 100}}
ASKED: list[Any] = [{"role": "user", "content": "Tell me about holds."}]
PATIENT = {"Prefer": "wait=60"}


@pytest.fixture(scope="module")
def house(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Streams that wait are answered early here: their headers are what a test can wait for."""
    with _started(tmp_path_factory.mktemp("approvals"), sandbox_process) as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture
def gateway(house: GatewayProcess, sandbox: SandboxProcess) -> GatewayProcess:
    return house


@pytest.fixture
def own(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    """One that a test may stop."""
    with _started(tmp_path, sandbox) as running:
        yield running
        assert "Traceback" not in running.log()


def _started(folder: Path, sandbox: SandboxProcess) -> "Opened":
    (folder / "policies").mkdir()
    (folder / "policies" / "one.cedar").write_text(POLICIES)
    providers = {"sandbox": provider(sandbox.url), "gone": provider("http://127.0.0.1:1")}
    files = process(sandbox.url, limits={"early_headers_s": 0.05}, providers=providers)
    return Opened(folder, files, registry(BUDGETS, IDENTITIES, MODELS) | {"approvals": ROLES})


class Opened(GatewayProcess):
    """With its admins."""

    def __enter__(self) -> "Opened":
        super().__enter__()
        for name, role in ADMINS.items():
            self.env[name] = self.admin("POST", "/admins", {"name": name, "role": role})["credential"]
            self.named = self.env["ada"]
        return self


def act(gateway: GatewayProcess, who: str, path: str, **sent: Any) -> Row:
    """What an admin does; raises what it is told if it may not."""
    gateway.named = gateway.env[who]
    try:
        return gateway.admin("POST", path, {"reason": "a test"} | sent)
    finally:
        gateway.named = gateway.env["ada"]


def approve(gateway: GatewayProcess, ticket: str, who: str = "otto", **terms: Any) -> Row:
    return act(gateway, who, f"/approvals/{ticket}/approve", **terms)


def deny(gateway: GatewayProcess, ticket: str, who: str = "otto") -> Row:
    return act(gateway, who, f"/approvals/{ticket}/deny", reason="not this month")


def call(gateway: GatewayProcess, credential: str, headers: dict[str, str] | None = None, **fields: Any) -> Said:
    return ask(gateway, credential, chat(**{**CALL, **fields}), headers=headers)


def asked(said: Said) -> Row:
    """What a refusal says of its ticket."""
    return said.error["comptroller"]["approval"]


def ticket_of(gateway: GatewayProcess, session: str) -> str:
    """The open ticket of a session, once there is one."""

    def found() -> str | None:
        return next((each["id"] for each in gateway.admin("GET", "/approvals") if each["session"] == session), None)

    return eventually(found)


@pytest.fixture
def beside() -> Iterator[Callable[..., Future[Any]]]:
    """Runs something that waits, beside the test."""
    with ThreadPoolExecutor(8) as pool:
        yield pool.submit


def chat_client(gateway: GatewayProcess, credential: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, timeout=90, default_headers=PATIENT)


def message_client(gateway: GatewayProcess, credential: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key=credential, timeout=90, default_headers=PATIENT)


def by_chat(gateway: GatewayProcess, credential: str) -> str:
    with chat_client(gateway, credential) as client:
        answer = client.chat.completions.create(model="sandbox-large", messages=ASKED, max_tokens=50)
        return answer.choices[0].message.content or ""


def by_messages(gateway: GatewayProcess, credential: str) -> str:
    with message_client(gateway, credential) as client:
        answer = client.messages.create(model="sandbox-large", messages=ASKED, max_tokens=50)
        return "".join(each.text for each in answer.content if each.type == "text")


def by_responses(gateway: GatewayProcess, credential: str) -> str:
    with chat_client(gateway, credential) as client:
        return client.responses.create(model="sandbox-large", input="Tell me", max_output_tokens=50).output_text


WAYS = [by_chat, by_messages, by_responses]


def test_a_call_is_refused_with_a_ticket_and_a_repeat_finds_the_same(gateway: GatewayProcess) -> None:
    minted = mint(gateway, "agent/ant")
    said = call(gateway, minted["credential"])
    assert (said.status, said.code, said.headers["x-should-retry"]) == (402, "approval_required", "false")
    told = asked(said)
    assert (told["role"], told["state"]) == ("finops", "requested")
    assert told["poll"] == f"/comptroller/v1/approvals/{told['ticket']}"
    assert told["ticket"] in said.error["message"]
    assert asked(call(gateway, minted["credential"])) == told
    (row,) = [each for each in gateway.admin("GET", "/approvals") if each["id"] == told["ticket"]]
    assert (row["identity"], row["session"], row["model"]) == ("agent/ant", minted["session"], "sandbox-large")
    assert row["policies"] == ["dear-models"]
    assert nanos(row["amount"]) >= nanos(row["estimate_usd"]) > 0
    other = mint(gateway, "agent/ant")["credential"]
    assert asked(call(gateway, other))["ticket"] != told["ticket"], "another session asks for itself"
    polled = ask(gateway, minted["credential"], path=told["poll"], method="GET", body=b"")
    assert polled.status == 200


def test_a_grant_is_for_one_call_of_its_session_and_stands_on_the_record(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/ant")["credential"]
    ticket = asked(call(gateway, credential))["ticket"]
    given = approve(gateway, ticket)["grant"]
    assert call(gateway, mint(gateway, "agent/ant")["credential"]).code == "approval_required"
    said = call(gateway, credential)
    assert said.status == 200
    assert said.headers["x-comptroller-effects"] == f'lifted;rule="{given["id"]}";detail="approval:finops"'
    row = settled_row(gateway, said.call_id)
    assert [(each["kind"], each["rule"]) for each in row["effects"]] == [("lifted", given["id"])]
    again = call(gateway, credential)
    assert again.code == "approval_required"
    assert asked(again)["ticket"] != ticket, "used up, so that it is asked anew"
    spent = next(each for each in gateway.admin("GET", "/grants?all=true") if each["id"] == given["id"])
    assert (spent["used"], nanos(spent["spent"])) == (1, nanos(row["charge_usd"]))


def test_the_allowance_shows_what_is_waited_for_and_what_was_given(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/ant")["credential"]
    ticket = asked(call(gateway, credential))["ticket"]
    assert [each["id"] for each in allowance(gateway, credential)["approvals"]] == [ticket]
    given = approve(gateway, ticket)
    said = allowance(gateway, credential)
    assert said["approvals"] == []
    assert [(each["bound"], each["uses_left"]) for each in said["grants"]] == [("session", 1)], given


@pytest.mark.parametrize("way", WAYS)
def test_a_patient_call_waits_and_is_answered_once_somebody_has_agreed(
    gateway: GatewayProcess, beside: Callable[..., Future[Any]], way: Callable[[GatewayProcess, str], str]
) -> None:
    minted = mint(gateway, "agent/bee")
    waiting = beside(way, gateway, minted["credential"])
    ticket = ticket_of(gateway, minted["session"])
    assert all(each["held"] == "0" or nanos(each["held"]) == 0 for each in gateway.budgets() if each["name"] == "all")
    approve(gateway, ticket)
    assert waiting.result(60)


def test_the_answer_says_that_it_has_waited(gateway: GatewayProcess, beside: Callable[..., Future[Any]]) -> None:
    minted = mint(gateway, "agent/bee")
    waiting = beside(call, gateway, minted["credential"], {"Prefer": "hold=full, wait=3000"})
    approve(gateway, ticket_of(gateway, minted["session"]))
    said = waiting.result(60)
    assert (said.status, said.headers["preference-applied"]) == (200, "hold=full, wait=300")


def test_streams_wait_behind_their_headers_and_go_on(gateway: GatewayProcess) -> None:
    minted = mint(gateway, "agent/cat")
    with chat_client(gateway, minted["credential"]) as client:
        chunks = client.chat.completions.create(model="sandbox-large", messages=ASKED, max_tokens=50, stream=True)
        approve(gateway, ticket_of(gateway, minted["session"]))  # the headers have come, and nothing was decided
        assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices)
    minted = mint(gateway, "agent/cat")
    with message_client(gateway, minted["credential"]) as client:
        events = client.messages.create(model="sandbox-large", messages=ASKED, max_tokens=50, stream=True)
        approve(gateway, ticket_of(gateway, minted["session"]))
        assert [each.type for each in events][-1] == "message_stop"
    minted = mint(gateway, "agent/cat")
    with chat_client(gateway, minted["credential"]) as client:
        told = client.responses.create(model="sandbox-large", input="Tell me", max_output_tokens=50, stream=True)
        approve(gateway, ticket_of(gateway, minted["session"]))
        assert [each.type for each in told][-1] in {"response.completed", "response.incomplete"}


def test_a_denial_behind_the_headers_is_an_error_in_the_stream(gateway: GatewayProcess) -> None:
    minted = mint(gateway, "agent/cat")
    with chat_client(gateway, minted["credential"]) as client:
        chunks = client.chat.completions.create(model="sandbox-large", messages=ASKED, stream=True)
        deny(gateway, ticket_of(gateway, minted["session"]))
        with pytest.raises(openai.APIError, match="otto has denied it: not this month"):
            list(chunks)
    minted = mint(gateway, "agent/cat")
    with message_client(gateway, minted["credential"]) as client:
        events = client.messages.create(model="sandbox-large", messages=ASKED, max_tokens=50, stream=True)
        deny(gateway, ticket_of(gateway, minted["session"]))
        with pytest.raises(anthropic.APIStatusError, match="otto has denied it: not this month"):
            list(events)


def test_a_provider_that_refuses_behind_the_headers_is_told_of_in_the_stream(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    minted = mint(gateway, "agent/cat")
    body = chat(**CALL)
    with stream(gateway, minted["credential"], body, headers=PATIENT) as response:
        sandbox.faults({"fault": "bad_request"})
        approve(gateway, ticket_of(gateway, minted["session"]))
        told = response.read()
    assert b"answered with HTTP 400 and no stream" in told


@pytest.mark.parametrize("way", WAYS)
def test_a_denial_ends_the_wait_and_stands(
    gateway: GatewayProcess, beside: Callable[..., Future[Any]], way: Callable[[GatewayProcess, str], str]
) -> None:
    minted = mint(gateway, "agent/dog")
    waiting = beside(way, gateway, minted["credential"])
    ticket = ticket_of(gateway, minted["session"])
    deny(gateway, ticket)
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError), match="otto has denied it: not this month"):
        waiting.result(60)
    fields = {"model": "sandbox-large", "messages": ASKED, "max_tokens": 50}
    if way is by_chat:
        again = ask(gateway, minted["credential"], fields)
        assert (asked(again)["ticket"], asked(again)["state"]) == (ticket, "denied")


def test_a_wait_ends_in_time_and_the_ticket_stays_open(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/dog")["credential"]
    said = call(gateway, credential, {"Prefer": "wait=1"})
    assert (said.code, said.headers["preference-applied"]) == ("approval_required", "wait=1")
    assert asked(said)["state"] == "requested"
    approve(gateway, asked(said)["ticket"])
    assert call(gateway, credential).status == 200


@pytest.mark.parametrize("who", ["zoe", "blue-lead@acme.example"])
def test_nobody_outside_of_the_role_and_nobody_who_asks_may_answer(gateway: GatewayProcess, who: str) -> None:
    """The lead answers for finops, and owns the agent that asks."""
    credential = mint(gateway, "agent/eel")["credential"]
    ticket = asked(call(gateway, credential))["ticket"]
    with pytest.raises(GatewayFailed, match="403"):
        approve(gateway, ticket, who)
    assert call(gateway, credential).code == "approval_required"


def test_above_the_amount_it_takes_two(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/eel")["credential"]
    ticket = asked(call(gateway, credential))["ticket"]
    first = approve(gateway, ticket, amount="6.00", uses=2)
    assert first["grant"] is None
    assert call(gateway, credential).code == "approval_required"
    with pytest.raises(GatewayFailed, match="second"):
        approve(gateway, ticket)
    assert approve(gateway, ticket, "olga")["grant"]["uses"] == 2
    assert [call(gateway, credential, seed=n).status for n in range(3)] == [200, 200, 402]


def test_of_callers_at_once_only_as_many_go_on_as_there_are_uses(gateway: GatewayProcess) -> None:
    act(gateway, "otto", "/grants", role="finops", bound="identity", value="agent/eel", lasts_s=600, amount="1", uses=2)
    credential = mint(gateway, "agent/eel")["credential"]
    with ThreadPoolExecutor(8) as pool:
        said = [each.result() for each in [pool.submit(call, gateway, credential, seed=n) for n in range(8)]]
    assert sorted(each.status for each in said) == [200] * 2 + [402] * 6


def test_a_use_that_cost_nothing_is_given_back(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    credential = mint(gateway, "agent/ant")["credential"]
    approve(gateway, asked(call(gateway, credential))["ticket"])
    sandbox.faults({"fault": "bad_request"})
    assert call(gateway, credential).status == 400, "the provider refused it, so its hold is void"
    sandbox.clear_faults()
    said = call(gateway, credential)
    assert said.status == 200


def test_one_use_is_enough_for_a_call_that_another_provider_mends(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/ant")["credential"]
    thinker = partial(call, gateway, credential, model="sandbox-reasoner", max_tokens=2000)
    approve(gateway, asked(thinker())["ticket"])
    said = thinker()
    assert (said.status, said.headers["x-comptroller-attempts"]) == (200, "2")
    assert thinker().code == "approval_required"


def test_each_role_that_has_a_say_is_asked(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/hen")["credential"]
    act(gateway, "otto", "/grants", role="finops", bound="identity", value="agent/hen", lasts_s=600, amount="1", uses=1)
    thinker = partial(call, gateway, credential, model="sandbox-reasoner", max_tokens=2000)
    said = thinker()
    assert (said.code, asked(said)["role"]) == ("approval_required", "safety")
    approve(gateway, asked(said)["ticket"], "zoe")  # no table says who answers for it: whoever may approve
    said = thinker()
    assert (said.status, said.headers["x-comptroller-effects"].count("lifted")) == (200, 2)


def test_a_stream_goes_on_when_its_grant_ends(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/ant")["credential"]
    said = call(gateway, credential, max_tokens=400)
    given = approve(gateway, asked(said)["ticket"])["grant"]
    body = chat(max_tokens=400, sandbox={"output_tokens": 400, "tokens_per_s": 400})
    with stream(gateway, credential, body) as response:
        act(gateway, "otto", f"/grants/{given['id']}/revoke")
        told = response.read()
    assert told.endswith(b"data: [DONE]\n\n")
    assert call(gateway, credential, max_tokens=400).code == "approval_required"


def test_what_ends_the_caller_ends_its_wait(gateway: GatewayProcess, beside: Callable[..., Future[Any]]) -> None:
    minted = mint(gateway, "agent/dog")
    waiting = beside(call, gateway, minted["credential"], PATIENT)
    ticket_of(gateway, minted["session"])
    gateway.admin("POST", "/stops", {"scope": "session", "value": minted["session"], "reason": "enough"})
    assert waiting.result(60).code == "session_suspended"


def test_a_caller_that_leaves_waits_no_more(gateway: GatewayProcess) -> None:
    minted = mint(gateway, "agent/dog")
    with unanswered(gateway, minted["credential"], chat(**CALL), headers=PATIENT):
        ticket_of(gateway, minted["session"])

    def refused() -> bool:
        rows = gateway.admin("GET", f"/calls?session={minted['session']}")
        return [each["refusal"] for each in rows] == ["approval_required"]

    assert eventually(refused)


def test_a_budget_is_lifted_by_the_role_that_owns_it(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/fox")["credential"]
    dear = partial(call, gateway, credential, max_tokens=800, sandbox={"output_tokens": 800})
    said = dear()
    assert (said.status, said.code) == (402, "budget_exhausted")
    ticket = asked(said)["ticket"]
    given = approve(gateway, ticket, amount="0.05")["grant"]
    assert given["budgets"] == ["fox"]
    said = dear()
    assert said.status == 200
    assert "budget fox" in said.headers["x-comptroller-effects"]
    row = settled_row(gateway, said.call_id)
    posted = next(each for each in gateway.budgets() if each["name"] == "fox")
    assert nanos(posted["posted"]) == nanos(row["charge_usd"]) > 10_000_000, "counted there, over its limit"
    spent = next(each for each in gateway.admin("GET", "/grants") if each["id"] == given["id"])
    assert nanos(spent["spent"]) == nanos(row["charge_usd"])


def test_a_soft_step_asks_from_its_share_on(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/gnu")["credential"]
    assert call(gateway, credential).status == 200
    said = call(gateway, credential, seed=1)
    assert said.code == "approval_required"
    assert "0.1% of its limit" in said.error["message"]
    approve(gateway, asked(said)["ticket"])
    assert [call(gateway, credential, seed=n).status for n in (2, 3)] == [200, 402]


def test_a_ticket_outlives_the_process_and_a_wait_ends_with_it(
    own: GatewayProcess, beside: Callable[..., Future[Any]]
) -> None:
    minted = mint(own, "agent/ant")
    ticket = asked(call(own, minted["credential"]))["ticket"]
    own.kill9()
    own.start()
    (row,) = own.admin("GET", "/approvals")
    assert (row["id"], row["state"]) == (ticket, "requested")
    assert asked(call(own, minted["credential"]))["ticket"] == ticket
    given = approve(own, ticket)["grant"]
    own.kill9()
    own.start()
    assert [each["id"] for each in own.admin("GET", "/grants")] == [given["id"]]
    assert call(own, minted["credential"]).status == 200
    own.kill9()
    own.start()
    assert call(own, minted["credential"]).code == "approval_required", "its one use is spent, restarts or not"
    waiting = beside(call, own, minted["credential"], PATIENT)
    eventually(lambda: len(own.calls()) >= 3)
    own.sigterm()
    said = waiting.result(60)
    assert (said.status, said.code) == (503, "draining")
