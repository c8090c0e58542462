"""Each fault on demand: what the client sees, and what it is billed for it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.sandbox.faults import FAULTS, REFUSALS, FaultBook, FaultPlan, FaultRule
from tests.sandbox.process import Line, SandboxProcess
from tests.sandbox.raw import Response, chat, post, unanswered

pytestmark = pytest.mark.processes

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
INPUT_TOKENS = 8


def ask(sandbox: SandboxProcess, fault: str, *, stream: bool, output_tokens: int = 10, **options: Any) -> Response:
    fields: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return post(sandbox, chat(**fields, sandbox={"fault": fault, "output_tokens": output_tokens} | options))


def the_line(sandbox: SandboxProcess, fault: str) -> Line:
    [line] = sandbox.settled()
    assert line["fault"] == fault
    return line


def billed(line: Line) -> tuple[int, int]:
    return line["input_tokens"], line["output_tokens"]


@pytest.mark.parametrize(("fault", "status"), [(name, refusal.status) for name, refusal in REFUSALS.items()])
@BOTH
def test_refusals_are_free(sandbox: SandboxProcess, fault: str, status: int, stream: bool) -> None:
    answer = ask(sandbox, fault, stream=stream)
    assert answer.status == status
    assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
    line = the_line(sandbox, fault)
    assert (line["status"], line["state"], billed(line), line["charge_nanos"]) == (status, "done", (0, 0), "0")


def test_retry_after(sandbox: SandboxProcess) -> None:
    assert ask(sandbox, "rate_limited", stream=False).headers["retry-after"] == "1"
    assert ask(sandbox, "rate_limited", stream=False, retry_after_s=17).headers["retry-after"] == "17"
    assert ask(sandbox, "overloaded", stream=False, retry_after_s=3).headers["retry-after"] == "3"
    assert "retry-after" not in ask(sandbox, "overloaded", stream=False).headers


@BOTH
def test_a_server_error_may_be_billed(sandbox: SandboxProcess, stream: bool) -> None:
    assert ask(sandbox, "server_error_billed", stream=stream).status == 500
    line = the_line(sandbox, "server_error_billed")
    assert (line["status"], billed(line)) == (500, (INPUT_TOKENS, 10))


@BOTH
def test_slow_first_byte(sandbox: SandboxProcess, stream: bool) -> None:
    """The input is billed while the client still waits for the first byte."""
    fields = {"stream": True} if stream else {}
    with unanswered(sandbox, chat(**fields, sandbox={"fault": "slow_first_byte", "delay_s": 60})):
        [line] = sandbox.wait_for(lambda lines: lines != [] and lines[0]["input_tokens"] > 0)
        assert (line["state"], line["status"], billed(line)) == ("open", None, (INPUT_TOKENS, 0))
    assert billed(the_line(sandbox, "slow_first_byte")) == (INPUT_TOKENS, 0)


def test_a_slow_first_byte_comes(sandbox: SandboxProcess) -> None:
    assert ask(sandbox, "slow_first_byte", stream=False, delay_s=0.05).status == 200
    assert billed(the_line(sandbox, "slow_first_byte")) == (INPUT_TOKENS, 10)


@pytest.mark.parametrize(("options", "tokens"), [({}, 0), ({"after_tokens": 4}, 4)])
def test_hang(sandbox: SandboxProcess, options: dict[str, int], tokens: int) -> None:
    control = {"fault": "hang", "output_tokens": 10} | options
    with unanswered(sandbox, chat(sandbox=control)):
        [line] = sandbox.wait_for(lambda lines: lines != [] and billed(lines[0]) == (INPUT_TOKENS, tokens))
        assert (line["state"], line["status"]) == ("open", None)
    line = the_line(sandbox, "hang")
    assert (line["state"], line["status"], billed(line)) == ("cut", None, (INPUT_TOKENS, tokens))


@pytest.mark.parametrize(("options", "status", "tokens"), [({}, None, 0), ({"after_tokens": 4}, 200, 4)])
def test_hang_of_a_stream(sandbox: SandboxProcess, options: dict[str, int], status: int | None, tokens: int) -> None:
    control = {"fault": "hang", "output_tokens": 10} | options
    with unanswered(sandbox, chat(stream=True, sandbox=control)):
        sandbox.wait_for(lambda lines: lines != [] and billed(lines[0]) == (INPUT_TOKENS, tokens))
    line = the_line(sandbox, "hang")
    assert (line["state"], line["status"], billed(line)) == ("cut", status, (INPUT_TOKENS, tokens))


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("options", "sent", "made"), [({}, 3, 3), ({"after_tokens": 6}, 6, 6), ({"ahead": 4}, 3, 7)])
def test_a_stream_is_cut(sandbox: SandboxProcess, options: dict[str, int], sent: int, made: int, reset: bool) -> None:
    answer = ask(sandbox, "cut", stream=True, reset=reset, **options)
    assert (answer.status, answer.cut) == (200, True)
    line = the_line(sandbox, "cut")
    assert (line["state"], billed(line)) == ("cut", (INPUT_TOKENS, made))
    if not reset:
        assert len(answer.deltas()) == 1 + sent


def test_a_stream_may_be_cut_before_its_end(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "cut", stream=True, after_tokens=1000)
    assert answer.cut
    assert len(answer.deltas()) == 1 + 10
    assert "[DONE]" not in answer.data()
    assert billed(the_line(sandbox, "cut")) == (INPUT_TOKENS, 10)


def test_a_json_answer_is_cut(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "cut", stream=False)
    assert (answer.status, answer.cut) == (200, True)
    assert 0 < len(answer.body) < int(answer.headers["content-length"])
    line = the_line(sandbox, "cut")
    assert (line["state"], billed(line)) == ("cut", (INPUT_TOKENS, 10))


@pytest.mark.parametrize(("options", "tokens"), [({}, 0), ({"after_tokens": 4}, 4), ({"reset": True}, 0)])
@BOTH
def test_cut_before_headers(sandbox: SandboxProcess, stream: bool, options: dict[str, Any], tokens: int) -> None:
    answer = ask(sandbox, "cut_before_headers", stream=stream, **options)
    assert (answer.status, answer.cut) == (None, True)
    line = the_line(sandbox, "cut_before_headers")
    assert (line["status"], line["state"], billed(line)) == (None, "cut", (INPUT_TOKENS, tokens))


def test_an_error_in_mid_stream(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "error_in_stream", stream=True, after_tokens=2)
    assert not answer.cut
    assert answer.events()[-1]["error"]["type"] == "server_error"
    assert "[DONE]" not in answer.data()
    assert billed(the_line(sandbox, "error_in_stream")) == (INPUT_TOKENS, 2)


def test_overloaded_in_mid_stream(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "overloaded_in_stream", stream=True, after_tokens=2)
    assert answer.events()[-1]["error"]["code"] == "overloaded"
    assert "[DONE]" not in answer.data()
    assert billed(the_line(sandbox, "overloaded_in_stream")) == (INPUT_TOKENS, 2)


def test_a_stream_may_be_cut_after_its_usage(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "cut_after_usage", stream=True)
    assert answer.cut
    assert answer.events()[-1]["usage"]["completion_tokens"] == 10
    assert "[DONE]" not in answer.data()
    assert billed(the_line(sandbox, "cut_after_usage")) == (INPUT_TOKENS, 10)


def test_an_event_that_nobody_knows(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "unknown_event", stream=True)
    assert answer.body.count(b"\n\nevent: sandbox.news\n") == 1
    assert answer.data()[-1] == "[DONE]"
    assert billed(the_line(sandbox, "unknown_event")) == (INPUT_TOKENS, 10)


def test_a_stream_may_be_answered_in_one_piece(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "not_streamed", stream=True)
    assert (answer.headers["content-type"], answer.json()["object"]) == ("application/json", "chat.completion")
    assert b"usage" not in answer.body
    assert billed(the_line(sandbox, "not_streamed")) == (INPUT_TOKENS, 10)


@BOTH
def test_no_usage(sandbox: SandboxProcess, stream: bool) -> None:
    answer = ask(sandbox, "no_usage", stream=stream)
    assert answer.status == 200
    assert b"usage" not in answer.body
    if stream:
        assert answer.data()[-1] == "[DONE]"
    assert billed(the_line(sandbox, "no_usage")) == (INPUT_TOKENS, 10)


@BOTH
def test_usage_twice_is_billed_once(sandbox: SandboxProcess, stream: bool) -> None:
    answer = ask(sandbox, "usage_twice", stream=stream)
    if stream:
        first, second = answer.events()[-2:]
        assert first["usage"] == second["usage"]
        assert first["usage"]["completion_tokens"] == 10
    else:
        assert answer.body.count(b'"usage":{') == 2
    assert billed(the_line(sandbox, "usage_twice")) == (INPUT_TOKENS, 10)


@BOTH
def test_usage_zero_is_free(sandbox: SandboxProcess, stream: bool) -> None:
    answer = ask(sandbox, "usage_zero", stream=stream)
    usage = answer.events()[-1]["usage"] if stream else answer.json()["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] == usage["completion_tokens"] == 0
    if stream:
        assert answer.text().count(" ") == 9
    line = the_line(sandbox, "usage_zero")
    assert (billed(line), line["charge_nanos"]) == ((0, 0), "0")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (INPUT_TOKENS, 30)),
        ({"by": 100}, (INPUT_TOKENS, 120)),
        ({"input_factor": 2.5}, (20, 20)),
        ({"input_factor": 2, "by": 1}, (16, 21)),
    ],
)
@BOTH
def test_overrun(sandbox: SandboxProcess, stream: bool, options: dict[str, Any], expected: tuple[int, int]) -> None:
    fields: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    control = {"fault": "overrun", "output_tokens": 20} | options
    answer = post(sandbox, chat(max_tokens=20, **fields, sandbox=control))
    usage = answer.events()[-1]["usage"] if stream else answer.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == expected
    assert billed(the_line(sandbox, "overrun")) == expected


def test_malformed_json(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "malformed_json", stream=False)
    assert (answer.status, answer.cut) == (200, False)
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert billed(the_line(sandbox, "malformed_json")) == (INPUT_TOKENS, 10)


def test_malformed_json_in_a_stream(sandbox: SandboxProcess) -> None:
    """One broken event in the middle; the rest is as it should be."""
    answer = ask(sandbox, "malformed_json", stream=True, after_tokens=2)
    whole = []
    for position, data in enumerate(answer.data()[:-1]):
        try:
            whole.append(json.loads(data))
        except json.JSONDecodeError:
            assert position == 3
    assert len(whole) == len(answer.data()) - 2
    assert whole[-1]["usage"]["completion_tokens"] == 10
    assert billed(the_line(sandbox, "malformed_json")) == (INPUT_TOKENS, 10)


def test_not_http(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, "not_http", stream=False)
    assert (answer.status, answer.cut) == (None, True)
    line = the_line(sandbox, "not_http")
    assert (line["status"], billed(line)) == (None, (0, 0))


def test_every_fault_is_tried_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in FAULTS - REFUSALS.keys() if f'"{name}"' not in text] == []


def test_random_faults_repeat_with_their_seed(sandbox: SandboxProcess) -> None:
    rules = ({"fault": "server_error", "probability": 0.3}, {"fault": "no_usage", "probability": 0.3})

    def struck(seed: int) -> list[str | None]:
        sandbox.reset_bill()
        sandbox.faults(*rules, seed=seed)
        for _ in range(40):
            post(sandbox, chat())
        return [line["fault"] for line in sandbox.settled(40)]

    first = struck(7)
    assert set(first) == {None, "server_error", "no_usage"}
    assert struck(7) == first
    assert struck(8) != first
    sandbox.clear_faults()
    assert post(sandbox, chat()).status == 200


def test_a_random_fault_has_options_and_the_body_goes_first(sandbox: SandboxProcess) -> None:
    sandbox.faults({"fault": "rate_limited", "retry_after_s": 9})
    assert post(sandbox, chat()).headers["retry-after"] == "9"
    assert ask(sandbox, "overloaded", stream=False).status == 529


@pytest.mark.parametrize(
    "plan",
    [
        b"{",
        b'{"faults":[{"fault":"nonsense"}]}',
        b'{"faults":[{"fault":"cut","probability":0.6},{"fault":"hang","probability":0.6}]}',
        b'{"faults":[{"fault":"cut","probabilty":0.6}]}',
        b'{"faults":[{"fault":"cut","probability":1.5}]}',
    ],
)
def test_faults_that_cannot_be_are_refused(sandbox: SandboxProcess, plan: bytes) -> None:
    assert post(sandbox, plan, path="/sandbox/faults").status == 400
    assert post(sandbox, chat()).status == 200


@given(st.lists(st.floats(0, 0.2), max_size=5), st.integers())
def test_the_dice_are_fair_enough_and_repeat(shares: list[float], seed: int) -> None:
    rules = [FaultRule(fault="cut", probability=share, by=number) for number, share in enumerate(shares)]
    books = FaultBook(), FaultBook()
    for book in books:
        book.install(FaultPlan(rules, seed=seed))
    first, second = ([book.draw() for _ in range(50)] for book in books)
    assert first == second
    assert all(rule is None or rule.probability > 0 for rule in first)
