"""What a provider does that its registry entry does not say: recorded as it was, and found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import Row, ask, chat, eventually, mint, nanos, rest_of, settled_row, stream
from tests.end_to_end.test_slices import LARGE, LIMIT, MODELS, files, line_of
from tests.harness.configuration import budget, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

LONG_PROMPT = "a word or two and no more than that " * 1_500


@pytest.fixture
def gateway(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path, files(sandbox), registry([budget("all", "50.00 USD")], models=MODELS)) as running:
        yield running
        assert "Traceback" not in running.log()


def codes(gateway: GatewayProcess) -> list[str]:
    return sorted(each["code"] for each in gateway.admin("GET", "/findings"))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_stream_that_is_answered_in_one_piece_without_usage_is_charged_its_whole_limit(
    gateway: GatewayProcess, sandbox: SandboxProcess, path: str
) -> None:
    """It was held in slices, and nobody has seen what was made: far more than the first of them."""
    body = chat(max_tokens=LIMIT, stream=True, sandbox={"fault": "not_streamed", "output_tokens": 20_000})
    answer = ask(gateway, mint(gateway)["credential"], body, path=path)
    assert answer.status == 200
    row = settled_row(gateway, answer.call_id)
    assert (row["outcome"], row["presumed"]) == ("completed", True)
    assert nanos(row["charge_usd"]) >= 15_000 * LIMIT > charged([line_of(sandbox, answer.call_id)])
    assert nanos(row["held_usd"]) < charged([line_of(sandbox, answer.call_id)])
    assert codes(gateway) == ["overrun", "usage_missing"]
    again = ask(gateway, mint(gateway)["credential"], body, path=path)
    assert nanos(settled_row(gateway, again.call_id)["held_usd"]) >= 15_000 * LIMIT  # in full from then on
    assert gateway.admin("GET", "/bounds")[0]["factor"] == "1.00"


def test_an_input_above_its_bound_is_charged_and_found_as_soon_as_it_is_told(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """Although the caller hangs up before the end, and nobody reports again."""
    options: Row = {"fault": "overrun", "input_factor": 12, "by": 0, "output_tokens": LIMIT, "tokens_per_s": 100}
    body = chat(LONG_PROMPT, max_tokens=LIMIT, sandbox=options)
    with stream(gateway, mint(gateway)["credential"], body, path="/v1/messages") as response:
        response.readline()
        eventually(lambda: codes(gateway) == ["input_above_bound"])
        call_id = response.headers["x-comptroller-call-id"]
    row = settled_row(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("client_gone", True)
    assert charged([line_of(sandbox, call_id)]) <= nanos(row["charge_usd"]) <= nanos(row["held_usd"])


def test_an_input_above_all_that_is_left_ends_the_stream_cleanly(tmp_path: Path, sandbox: SandboxProcess) -> None:
    with GatewayProcess(tmp_path, files(sandbox), registry([budget("all", "1.00 USD")], models=MODELS)) as gateway:
        options: Row = {"fault": "overrun", "input_factor": 30, "by": 0, "output_tokens": 5_000, "tokens_per_s": 100}
        body = chat(LONG_PROMPT, max_tokens=5_000, sandbox=options)
        with stream(gateway, mint(gateway)["credential"], body, path="/v1/messages") as response:
            rest = rest_of(response)
            call_id = response.headers["x-comptroller-call-id"]
        assert b'"stop_reason":"max_tokens"' in rest
        assert rest.rstrip().endswith(b'{"type":"message_stop"}')
        row = settled_row(gateway, call_id)
        assert (row["outcome"], row["presumed"]) == ("capped", True)
        assert charged([line_of(sandbox, call_id)]) <= nanos(row["charge_usd"])
        assert codes(gateway) == ["input_above_bound", "overrun"]


def test_what_was_metered_before_and_did_not_bound_the_prompt_is_wrong_for_its_session_alone(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    opened = mint(gateway)["credential"]
    turns: list[Any] = [{"role": "user", "content": LONG_PROMPT}]

    def spend(credential: str, messages: list[Any], headers: dict[str, str] | None = None) -> Row:
        body = {"model": LARGE, "max_tokens": 5, "messages": messages}
        answer = ask(gateway, credential, body, path="/v1/messages", headers=headers)
        row = settled_row(gateway, answer.call_id)
        assert nanos(row["charge_usd"]) == charged([line_of(sandbox, answer.call_id)])
        return row

    cold = nanos(spend(opened, turns)["held_usd"])
    assert nanos(spend(opened, turns)["held_usd"]) < cold // 2
    more = [*turns, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]
    sandbox.faults({"fault": "overrun", "input_factor": 3.5, "by": 0})
    over = spend(opened, more)
    sandbox.clear_faults()
    assert cold > nanos(over["charge_usd"]) > nanos(over["held_usd"])
    assert codes(gateway) == ["overrun"]
    assert gateway.admin("GET", "/bounds") == []
    assert nanos(spend(opened, turns)["held_usd"]) == cold  # for this session the bytes count again
    assert nanos(spend(opened, turns)["held_usd"]) == cold
    other = mint(gateway)["credential"]
    assert nanos(spend(other, turns)["held_usd"]) == cold
    assert nanos(spend(other, turns)["held_usd"]) < cold // 2
    # With a beta that may write it in another way it is another prompt.
    assert nanos(spend(other, turns, {"anthropic-beta": "token-efficient-tools-2025-02-19"})["held_usd"]) == cold
