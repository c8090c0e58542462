"""Who hangs up pays for what was made until then, and for what was made ahead."""

from time import monotonic

import pytest

from tests.sandbox.process import Line, SandboxProcess
from tests.sandbox.raw import chat, open_stream, post, read_tokens, unanswered

pytestmark = pytest.mark.processes

SLOW_PER_S = 50
MANY = 2_000


def hang_up_after(sandbox: SandboxProcess, tokens: int, **control: object) -> Line:
    """Read some tokens of a stream and hang up; returns the line once it is closed."""
    wish = {"output_tokens": MANY, "tokens_per_s": SLOW_PER_S} | control
    with open_stream(sandbox, chat(stream=True, max_tokens=MANY, sandbox=wish)) as stream:
        read_tokens(stream, tokens)
    [line] = sandbox.settled()
    assert line["state"] == "cut"
    return line


def test_a_disconnect_stops_the_bill(sandbox: SandboxProcess) -> None:
    line = hang_up_after(sandbox, 5)
    assert line["input_tokens"] == 8
    assert 5 <= line["output_tokens"] < MANY / 2


def test_what_was_made_ahead_is_billed(sandbox: SandboxProcess) -> None:
    line = hang_up_after(sandbox, 5, ahead=700)
    assert 705 <= line["output_tokens"] < 700 + MANY / 2


def test_generation_may_go_on_without_a_client(sandbox: SandboxProcess) -> None:
    wish = {"output_tokens": MANY, "tokens_per_s": 2_000, "abort_stops": False}
    line = hang_up_after(sandbox, 5, **wish)
    assert line["output_tokens"] == MANY


def test_hidden_reasoning_is_billed_up_to_the_disconnect(sandbox: SandboxProcess) -> None:
    wish = {"reasoning_tokens": MANY, "output_tokens": 5, "tokens_per_s": SLOW_PER_S}
    with open_stream(sandbox, chat(stream=True, max_tokens=MANY + 5, sandbox=wish)):
        sandbox.wait_for(lambda lines: lines[0]["reasoning_tokens"] >= 3)
    [line] = sandbox.settled()
    assert line["state"] == "cut"
    assert 3 <= line["reasoning_tokens"] == line["output_tokens"] < MANY / 2


def test_tokens_are_on_the_bill_while_they_are_made(sandbox: SandboxProcess) -> None:
    wish = {"output_tokens": MANY, "tokens_per_s": SLOW_PER_S}
    with open_stream(sandbox, chat(stream=True, max_tokens=MANY, sandbox=wish)) as stream:
        read_tokens(stream, 3)
        [line] = sandbox.requests()
        assert line["state"] == "open"
        assert line["output_tokens"] >= 3
        assert sandbox.total()["output_tokens"] >= line["output_tokens"]
        sandbox.wait_for(lambda lines: lines[0]["output_tokens"] > line["output_tokens"])


@pytest.mark.parametrize("abort_stops", [True, False])
def test_a_json_answer_is_billed_as_it_is_made(sandbox: SandboxProcess, abort_stops: bool) -> None:
    speed = SLOW_PER_S if abort_stops else 2_000
    wish = {"output_tokens": MANY, "tokens_per_s": speed, "abort_stops": abort_stops, "ahead": 500}
    with unanswered(sandbox, chat(max_tokens=MANY, sandbox=wish)):
        sandbox.wait_for(lambda lines: lines != [] and lines[0]["output_tokens"] >= 3)
    [line] = sandbox.settled()
    assert (line["state"], line["status"]) == ("cut", None)
    assert line["output_tokens"] == MANY if not abort_stops else 3 <= line["output_tokens"] < MANY / 2


def test_a_client_that_reads_slowly_holds_generation_back(sandbox: SandboxProcess) -> None:
    """What does not fit into the buffers is not made: generation never runs ahead further than it was told to."""
    tokens = 100_000
    with open_stream(sandbox, chat(stream=True, max_tokens=tokens, sandbox={"output_tokens": tokens})) as stream:
        read_tokens(stream, 1)
        seen: list[int] = []
        # Full when two looks in a row show the same count.
        sandbox.wait_for(lambda lines: seen.append(lines[0]["output_tokens"]) or seen[-2:-1] == seen[-1:])
        assert seen[-1] < tokens
    [line] = sandbox.settled()
    assert line["state"] == "cut"
    assert line["output_tokens"] < tokens


@pytest.mark.parametrize("speed", [50, 400])
def test_speed(sandbox: SandboxProcess, speed: int) -> None:
    """Forty tokens cannot come sooner than their pace allows."""
    for stream in (False, True):
        started = monotonic()
        post(sandbox, chat(stream=stream, sandbox={"output_tokens": 40, "tokens_per_s": speed}))
        assert monotonic() - started >= 40 / speed * 0.9


def test_the_process_has_the_same_settings() -> None:
    arguments = ("--tokens-per-s", "2000", "--ahead", "50", "--abort-continues", "--tokens-per-chunk", "2")
    with SandboxProcess(*arguments) as sandbox:
        with open_stream(sandbox, chat(stream=True, max_tokens=500, sandbox={"output_tokens": 500})) as stream:
            read_tokens(stream, 2)
        assert sandbox.settled()[0]["output_tokens"] == 500
        sandbox.reset_bill()
        answer = post(sandbox, chat(stream=True, sandbox={"output_tokens": 6}))
        assert len(answer.deltas()) == 2 + 3
