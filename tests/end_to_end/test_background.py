"""Responses in the background: held until the gateway's own poller has seen their end, whatever happens meanwhile."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.end_to_end.caller import Row, budget_of, eventually, mint, nanos, row_of
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

MODEL = "sandbox-large"
ASK = "Tell me about holds."
NEVER = {"sandbox": {"first_byte_delay_s": 3_600}}
SOON = {"sandbox": {"first_byte_delay_s": 1}}
FILES = registry([budget("all", "100.00 USD")])


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("background"), process(sandbox_process.url), FILES) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


Connect = Callable[[GatewayProcess], openai.OpenAI]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Clients of a gateway, each with a session of its own; all are closed in the end."""
    with ExitStack() as clients:

        def connect(gateway: GatewayProcess) -> openai.OpenAI:
            key = mint(gateway)["credential"]
            return clients.enter_context(openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0))

        yield connect


def begin(client: openai.OpenAI, body: Row | None = None, **given: Any) -> tuple[Any, str]:
    """A response in the background, and the call that it was begun by."""
    fields = {"model": MODEL, "input": ASK, "background": True, "extra_body": body or {}} | given
    raw = client.responses.with_raw_response.create(**fields)
    assert "x-comptroller-charge-usd" not in raw.headers
    return raw.parse(), raw.headers["x-comptroller-call-id"]


def ended(gateway: GatewayProcess, call_id: str) -> Row:
    return eventually(lambda: row if (row := row_of(gateway, call_id))["outcome"] != "open" else None)


def held(gateway: GatewayProcess) -> int:
    return nanos(budget_of(gateway, "all")["held"])


def test_its_hold_stands_until_its_end_is_seen_and_is_settled_by_its_own_usage(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    before = nanos(budget_of(gateway, "all")["posted"])
    made, call_id = begin(client, SOON)
    assert made.status in {"queued", "in_progress"}
    row = ended(gateway, call_id)
    assert (row["outcome"], row["presumed"], row["attempts"]) == ("completed", False, 1)
    lines = [line for line in sandbox.settled() if line["surface"] == "responses"]
    assert nanos(row["charge_usd"]) == charged(lines) > 0
    assert nanos(budget_of(gateway, "all")["posted"]) - before == charged(lines)
    assert held(gateway) == 0
    assert client.responses.retrieve(made.id).output_text
    further: Any = client.responses.create(model=MODEL, input="And budgets?", previous_response_id=made.id)
    assert further.output_text


def test_a_caller_who_asks_for_it_and_sees_its_end_has_it_settled(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    made, call_id = begin(client, {"sandbox": {"first_byte_delay_s": 0}})
    eventually(lambda: client.responses.retrieve(made.id).status == "completed")
    row = ended(gateway, call_id)
    assert nanos(row["charge_usd"]) == charged(sandbox.settled())


def test_what_the_maker_cancels_stays_held_until_the_provider_says_so_and_cannot_be_deleted_before(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    made, call_id = begin(client, NEVER)
    row = row_of(gateway, call_id)
    assert (row["outcome"], row["deferred"]) == ("open", True)
    assert held(gateway) == nanos(row["held_usd"]) > 0
    with pytest.raises(openai.ConflictError) as refused:
        client.responses.delete(made.id)
    assert refused.value.code == "object_busy"
    assert client.responses.cancel(made.id).status == "cancelled"
    row = ended(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("cancelled", True), "the provider does not say what it used"
    assert nanos(row["charge_usd"]) == nanos(row["held_usd"]) >= charged(sandbox.settled())
    assert held(gateway) == 0
    client.responses.delete(made.id)


def test_who_is_suspended_has_it_cancelled_at_the_provider(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    _, call_id = begin(client, NEVER)
    made = gateway.admin("POST", "/stops", {"scope": "identity", "value": "agent/ant", "reason": "a runaway"})
    assert made["cut_calls"] == 1
    try:
        row = ended(gateway, call_id)
        assert row["outcome"] == "stopped"
        assert [line["path_query"].rsplit("/", 1)[-1] for line in sandbox.settled()][1:2] == ["cancel"]
    finally:
        gateway.admin("POST", "/stops/resume", {"scope": "identity", "value": "agent/ant", "reason": "it is over"})


def test_a_stream_that_its_caller_leaves_goes_on_and_is_followed_from_where_it_was_left(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    body = {"sandbox": {"output_tokens": 60, "tokens_per_s": 30}}
    stream: Any = client.responses.create(model=MODEL, input=ASK, background=True, stream=True, extra_body=body)
    with stream:
        before = [next(stream) for _ in range(8)]
    made = before[0].response.id
    rest: Any = client.responses.retrieve(made, stream=True, starting_after=before[-1].sequence_number)
    with rest:
        after = list(rest)
    numbers = [event.sequence_number for event in (*before, *after)]
    assert numbers == list(range(len(numbers)))
    assert after[-1].type == "response.completed"
    said = "".join(event.delta for event in (*before, *after) if event.type == "response.output_text.delta")
    assert said == after[-1].response.output_text
    rows = gateway.admin("GET", "/calls?limit=3")
    call_id = next(each["id"] for each in rows if each["dialect"] == "openai_responses")
    row = ended(gateway, call_id)
    assert (row["outcome"], row["presumed"], row["output_tokens"]) == ("completed", False, 60)
    assert nanos(row["charge_usd"]) == charged(sandbox.settled())
    assert held(gateway) == 0


def test_a_stream_that_is_heard_to_its_end_is_settled_by_that(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    stream: Any = connect(gateway).responses.create(model=MODEL, input=ASK, background=True, stream=True)
    with stream:
        events = list(stream)
    assert events[-1].type == "response.completed"
    row = ended(gateway, gateway.admin("GET", "/calls?limit=1")[0]["id"])
    assert (row["outcome"], row["deferred"]) == ("completed", False)
    assert nanos(row["charge_usd"]) == charged(sandbox.settled())


@pytest.mark.parametrize(
    ("asked", "outcome", "presumed"),
    [
        ({"fault": "error_in_stream", "after_tokens": 5}, "provider_error", True),
        ({"fault": "no_usage"}, "completed", True),
        ({"output_tokens": 2_000}, "completed", False),
        ({"fault": "cut_before_headers"}, "provider_cut", True),
        ({"fault": "bad_request"}, "provider_refused", False),
    ],
)
def test_what_comes_of_it_is_charged_and_never_below_the_bill(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect, asked: Row, outcome: str, presumed: bool
) -> None:
    client = connect(gateway)
    fields: Any = {"model": MODEL, "input": ASK, "background": True, "extra_body": {"sandbox": asked}}
    with suppress(openai.APIError):
        client.responses.create(**fields, max_output_tokens=100)
    row = ended(gateway, gateway.admin("GET", "/calls?limit=1")[0]["id"])
    assert (row["outcome"], row["presumed"]) == (outcome, presumed)
    billed = charged(sandbox.settled())
    assert billed <= nanos(row["charge_usd"]) <= nanos(row["held_usd"])
    assert presumed or nanos(row["charge_usd"]) == billed
    assert held(gateway) == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ending", ["killed", "asked"])
def test_a_gateway_that_dies_goes_on_with_it_at_its_next_start(
    tmp_path: Path, sandbox: SandboxProcess, connect: Connect, ending: str, stream: bool
) -> None:
    with GatewayProcess(tmp_path, process(sandbox.url, drain_s=0.5), FILES) as gateway:
        client = connect(gateway)
        lasting, short = {"sandbox": {"first_byte_delay_s": 3_600}}, {"sandbox": {"first_byte_delay_s": 2}}
        if stream:
            events: Any = client.responses.create(
                model=MODEL, input=ASK, background=True, stream=True, extra_body=short
            )
            response_id = next(iter(events)).response.id
        else:
            response_id = begin(client, short)[0].id
        other, lasts = begin(client, lasting)
        before = held(gateway)
        if ending == "killed":
            gateway.kill9()
        else:
            assert gateway.sigterm() == 0
        sandbox.wait_for(lambda lines: any(line["state"] == "done" and line["output_tokens"] for line in lines))
        gateway.start()
        rows = {row["id"]: row for row in gateway.admin("GET", "/calls?limit=10")}
        assert (rows.pop(lasts)["outcome"]) == "open"
        assert held(gateway) <= before
        (call_id,) = [each for each, row in rows.items() if row["dialect"] == "openai_responses"]
        row = ended(gateway, call_id)
        assert (row["outcome"], row["presumed"]) == ("completed", False)
        (line,) = [line for line in sandbox.requests() if line["surface"] == "responses" and line["output_tokens"]]
        assert nanos(row["charge_usd"]) == int(line["charge_nanos"])
        assert held(gateway) == nanos(row_of(gateway, lasts)["held_usd"])
        assert client.responses.retrieve(response_id).status == "completed", "its maker still is"
        client.responses.cancel(other.id)
        ended(gateway, lasts)
        assert held(gateway) == 0
        assert not [each for each in gateway.admin("GET", "/findings") if each["code"] == "holds_presumed"]


def test_a_stop_that_the_provider_has_not_heard_is_told_to_it_after_a_restart(tmp_path: Path, connect: Connect) -> None:
    with SandboxProcess() as sandbox, GatewayProcess(tmp_path, process(sandbox.url), FILES) as gateway:
        _, call_id = begin(connect(gateway), NEVER)
        os.kill(sandbox.pid, signal.SIGSTOP)
        try:
            stop = {"scope": "team", "value": "red", "reason": "a runaway"}
            assert gateway.admin("POST", "/stops", stop)["cut_calls"] == 1
            gateway.kill9()
        finally:
            os.kill(sandbox.pid, signal.SIGCONT)
        gateway.start()
        row = ended(gateway, call_id)
        assert (row["outcome"], row["presumed"]) == ("stopped", True)
        assert nanos(row["charge_usd"]) == nanos(row["held_usd"]) >= charged(sandbox.settled())


def test_who_ends_a_session_has_its_work_cancelled(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    session = mint(gateway)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=session["credential"], max_retries=0) as client:
        _, call_id = begin(client, NEVER)
    end = f"/sessions/{session['session']}/end"
    assert gateway.admin("POST", end, {"reason": "it is over"})["cut_calls"] == 1
    assert ended(gateway, call_id)["outcome"] == "stopped"


def test_operators_see_what_is_deferred(gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect) -> None:
    client = connect(gateway)
    made, call_id = begin(client, NEVER)
    assert gateway.admin("GET", "/status")["deferred_calls"] == 1
    assert "1 deferred" in gateway.command("status").stdout
    assert "open (deferred)" in gateway.command("calls", "--limit", "5").stdout
    told = gateway.command("explain", call_id).stdout
    assert f"goes on under {made.id}" in " ".join(told.split())
    client.responses.cancel(made.id)
    ended(gateway, call_id)
