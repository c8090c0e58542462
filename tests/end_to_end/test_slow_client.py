"""A client that is slow or goes away: the meter goes on reading what the provider generates and bills."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.caller import (
    Row,
    budget_of,
    chat,
    eventually,
    mint,
    nanos,
    rest_of,
    settled_row,
    stream,
    unanswered,
)
from tests.harness.configuration import budget, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import Line, SandboxProcess, charged

pytestmark = pytest.mark.processes

BUDGETS = [budget("all", "1000.00 USD")]
TAIL_TOKENS = 4000
LIMIT = 100_000
SMALL_WINDOW = 4096
LARGE = "sandbox-large"  # of a provider as they all are: hanging up does not stop the bill
SMALL = "sandbox-small"  # of one where it does, TAIL_TOKENS later
MODELS = {
    "sandbox-*": model("sandbox", max_output_tokens=LIMIT),
    SMALL: model("stops", max_output_tokens=LIMIT, visible_output=True),
}
LONG_TEXT = "word " * 20_000
MUCH: Row = {"output_tokens": 20_000, "tokens_per_s": 20_000}  # about 4 MB of events, faster than anybody reads


def settings(sandbox: SandboxProcess, **limits: float) -> Row:
    stops = provider(sandbox.url, abort_stops_billing=True, tail_tokens=TAIL_TOKENS)
    return process(
        sandbox.url,
        providers={"sandbox": provider(sandbox.url), "stops": stops},
        limits={"stream_buffer_bytes": 16 * 1024, **limits},
    )


@pytest.fixture(scope="module")
def shared(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("slow")
    with GatewayProcess(folder, settings(sandbox_process), registry(BUDGETS, models=MODELS)) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()
        assert budget_of(gateway, "all")["held"] == "0.00"


@pytest.fixture(scope="module")
def credential(shared: GatewayProcess) -> str:
    return mint(shared)["credential"]


def line_of(sandbox: SandboxProcess, call_id: str) -> Line:
    """What the provider billed for the call, once it has ended there."""
    (line,) = [line for line in sandbox.settled() if line["client_request_id"] == f"{call_id}.1"]
    return line


def read_nothing(gateway: GatewayProcess, credential: str, name: str) -> tuple[Row, bytes]:
    """Ask for a long stream and read none of it until it is settled: its row, and what came after all."""
    body = chat(model=name, max_tokens=LIMIT, sandbox=MUCH)
    with stream(gateway, credential, body, receive_bytes=SMALL_WINDOW) as response:
        row = settled_row(gateway, response.headers["x-comptroller-call-id"])
        try:
            return row, rest_of(response)
        except ConnectionError:
            return row, b""


def test_who_reads_nothing_is_cut_off_and_the_charge_is_exact(
    shared: GatewayProcess, sandbox: SandboxProcess, credential: str
) -> None:
    row, came = read_nothing(shared, credential, LARGE)
    line = line_of(sandbox, row["id"])
    assert row["outcome"] == "client_slow"
    assert b"[DONE]" not in came
    assert (line["state"], line["output_tokens"]) == ("done", MUCH["output_tokens"])  # the provider was not slowed down
    assert (row["presumed"], nanos(row["charge_usd"])) == (False, charged([line]))


def test_who_reads_nothing_is_charged_what_came_and_the_tail_where_an_abort_stops_the_bill(
    shared: GatewayProcess, sandbox: SandboxProcess, credential: str
) -> None:
    row, came = read_nothing(shared, credential, SMALL)
    line = line_of(sandbox, row["id"])
    assert (row["outcome"], row["presumed"]) == ("client_slow", True)
    assert b"[DONE]" not in came
    assert line["state"] == "cut"
    assert charged([line]) <= nanos(row["charge_usd"]) < nanos(row["held_usd"])


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "json"])
def test_who_hangs_up_before_the_first_byte_is_charged_exactly(
    shared: GatewayProcess, sandbox: SandboxProcess, credential: str, streamed: bool
) -> None:
    slow = {"fault": "slow_first_byte", "delay_s": 4.0, "output_tokens": 30}
    with unanswered(shared, credential, chat(stream=streamed, sandbox=slow)):
        (line,) = sandbox.wait_for(lambda lines: len(lines) == 1)
    row = settled_row(shared, line["client_request_id"].removesuffix(".1"))
    line = line_of(sandbox, row["id"])
    assert (line["state"], line["output_tokens"]) == ("done", 30)
    assert (row["outcome"], row["presumed"], row["output_tokens"]) == ("client_gone", False, 30)
    assert nanos(row["charge_usd"]) == charged([line])


@pytest.mark.parametrize("text", ["short", LONG_TEXT], ids=["short", "long"])  # a long body pauses the reading
@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "json"])
def test_who_hangs_up_before_the_first_byte_is_charged_the_tail_at_most(
    shared: GatewayProcess, sandbox: SandboxProcess, credential: str, streamed: bool, text: str
) -> None:
    slow = {"fault": "slow_first_byte", "delay_s": 60.0}
    with unanswered(shared, credential, chat(text, model=SMALL, max_tokens=LIMIT, stream=streamed, sandbox=slow)):
        (line,) = sandbox.wait_for(lambda lines: len(lines) == 1)
    row = settled_row(shared, line["client_request_id"].removesuffix(".1"))
    assert (row["outcome"], row["presumed"]) == ("client_gone", True)
    assert charged([line_of(sandbox, row["id"])]) <= nanos(row["charge_usd"]) <= nanos(row["held_usd"])
    assert (nanos(row["charge_usd"]) < nanos(row["held_usd"])) is streamed  # of JSON nothing was seen: all of it


def test_who_hangs_up_in_mid_stream_is_charged_exactly(
    shared: GatewayProcess, sandbox: SandboxProcess, credential: str
) -> None:
    body = chat(sandbox={"output_tokens": 150, "tokens_per_s": 30})
    with stream(shared, credential, body) as response:
        response.readline()
        call_id = response.headers["x-comptroller-call-id"]
    row = settled_row(shared, call_id)
    line = line_of(sandbox, call_id)
    assert (line["state"], line["output_tokens"]) == ("done", 150)
    assert (row["outcome"], row["presumed"], nanos(row["charge_usd"])) == ("client_gone", False, charged([line]))


def test_who_hangs_up_in_mid_stream_stops_the_bill_where_that_can_be(
    shared: GatewayProcess, sandbox: SandboxProcess, credential: str
) -> None:
    body = chat(model=SMALL, max_tokens=LIMIT, sandbox={"output_tokens": 20_000, "tokens_per_s": 50})
    with stream(shared, credential, body) as response:
        response.readline()
        call_id = response.headers["x-comptroller-call-id"]
    row = settled_row(shared, call_id)
    line = line_of(sandbox, call_id)
    assert line["state"] == "cut"
    assert (row["outcome"], row["presumed"]) == ("client_gone", True)
    assert charged([line]) <= nanos(row["charge_usd"]) < nanos(row["held_usd"])


def test_reading_on_has_an_end(tmp_path: Path, sandbox: SandboxProcess) -> None:
    known = registry(BUDGETS, models=MODELS)
    with GatewayProcess(tmp_path, settings(sandbox, finish_after_hangup_s=0.2), known) as gateway:
        body = chat(max_tokens=LIMIT, sandbox={"output_tokens": 20_000, "tokens_per_s": 50})
        with stream(gateway, mint(gateway)["credential"], body) as response:
            response.readline()
            call_id = response.headers["x-comptroller-call-id"]
        row = eventually(lambda: settled_row(gateway, call_id))
        assert (row["outcome"], row["presumed"], row["charge_usd"]) == ("client_gone", True, row["held_usd"])
        assert charged([line_of(sandbox, call_id)]) <= nanos(row["charge_usd"])
