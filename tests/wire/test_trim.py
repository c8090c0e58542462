"""Trimmed conversations stay valid in their dialect, keep what must stay, and are as short as they have to be."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.core.refusal import Refusal
from comptroller.core.registry.contexts import Cap
from comptroller.core.work.context import Limits
from comptroller.flow.trim import Trimmable, Trimmed, trim
from comptroller.sandbox.chat.request import read_chat as read_chat_there
from comptroller.sandbox.gemini.request import read_generate
from comptroller.sandbox.messages.request import read_messages as read_messages_there
from comptroller.sandbox.responses.request import read_responses as read_responses_there
from comptroller.wire.anthropic_messages import read_request as read_messages
from comptroller.wire.gemini.request import read_request as read_gemini
from comptroller.wire.head import Head
from comptroller.wire.openai_chat import read_request as read_chat
from comptroller.wire.openai_responses import read_request as read_responses
from tests.wire import talks
from tests.wire.talks import Row, Talk

encode = msgspec.json.encode


class Dialect:
    def __init__(
        self,
        read: Callable[[bytes], Any],
        say: Callable[[Talk], Row],
        judge: Callable[[Row], None],
        field: str,
        rehearse: Callable[[bytes], object],
    ) -> None:
        """`judge` raises for what the API would refuse, and so does `rehearse`: what the sandbox makes of a body."""
        self.read, self.say, self.judge, self.field, self.rehearse = read, say, judge, field, rehearse


def _gemini_there(body: bytes) -> Any:
    return read_generate(talks.MODEL, body)


def _gemini(body: bytes) -> Any:
    return read_gemini(body, Head(named="m"), stream=False)


DIALECTS = {
    "chat": Dialect(read_chat, talks.chat, talks.judge_chat, "messages", read_chat_there),
    "messages": Dialect(read_messages, talks.messages, talks.judge_messages, "messages", read_messages_there),
    "responses": Dialect(read_responses, talks.responses, talks.judge_responses, "input", read_responses_there),
    "gemini": Dialect(_gemini, talks.gemini, talks.judge_gemini, "contents", _gemini_there),
}


def cap(keep_first: int = 1, **limits: int) -> Cap:
    return Cap("c", {}, "trim", "hard", Limits(**limits), keep_first)


def trimmed(dialect: Dialect, request: Row, wanted: Cap) -> Trimmed | str:
    read = dialect.read(encode(request))
    assert isinstance(read, Trimmable), read

    def fits(shorter: Trimmable, body: bytes) -> bool:
        outline, limits = shorter.outline(len(body)), wanted.limits
        bounds = (
            (limits.bytes, len(body)),
            (limits.messages, outline.messages),
            (limits.images, outline.images),
            (limits.tool_result_bytes, outline.largest_tool_result_bytes),
            (limits.input_tokens, shorter.asked.text_tokens),
        )
        return all(most is None or has <= most for most, has in bounds)

    return trim(read, wanted, dialect.read, fits)


def is_subsequence(short: list[Any], long: list[Any]) -> bool:
    rest: Iterator[Any] = iter(long)
    return all(any(each == one for one in rest) for each in short)


def systems(request: Row) -> list[Any]:
    return [each for each in _listed(request) if each.get("role") in {"system", "developer"}]


def _listed(request: Row) -> list[Any]:
    return next(request[name] for name in ("messages", "input", "contents") if name in request)


def newest(dialect: Dialect, talk: Talk) -> list[Any]:
    """What the last turn begins with and what it ends with."""
    last = talk.turns[-1]
    whole = _listed(dialect.say(talk))
    shown = _listed(dialect.say(Talk(None, [talks.Turn(last.said, last.images, last.groups[-1:], None)])))
    return [each for each in shown if each in whole]


@settings(max_examples=100, deadline=None)
@given(talk=talks.talks(), share=st.integers(0, 100), keep_first=st.integers(0, 3), data=st.data())
@pytest.mark.parametrize("name", DIALECTS)
def test_what_stays_is_a_conversation_again(
    name: str, talk: Talk, share: int, keep_first: int, data: st.DataObject
) -> None:
    dialect = DIALECTS[name]
    request = dialect.say(talk)
    dialect.judge(request)  # or the judge is wrong
    measure = data.draw(st.sampled_from(("bytes", "messages", "images", "input_tokens")))
    most = measured(name, request, measure) * share // 100
    done = trimmed(dialect, request, cap(keep_first, **{measure: most}))
    assert isinstance(done, Trimmed) == (measured(name, fewest(name, talk, keep_first), measure) <= most)
    if isinstance(done, str):
        return
    shorter = json.loads(done.body)
    dialect.rehearse(done.body)
    assert measured(name, shorter, measure) <= most
    dialect.judge(shorter)
    assert is_subsequence(shorter[dialect.field], request[dialect.field])
    assert {**shorter, dialect.field: 0} == {**request, dialect.field: 0}
    assert systems(shorter) == systems(request)
    assert is_subsequence(newest(dialect, talk), shorter[dialect.field])
    pinned = [text for turn in talk.turns[:keep_first] for text in turn.said]
    assert all(json.dumps(text)[1:-1] in json.dumps(shorter) for text in pinned)
    if name == "responses":
        reasons, items = talks.reasons_of(request), {each.get("id") for each in shorter["input"]}
        assert all(not reasons[call] or reasons[call] in items for call in talks.reasons_of(shorter))


def fewest(name: str, talk: Talk, keep_first: int) -> Row:
    """The shortest that trimming may make of it."""
    turns: list[talks.Turn] = []
    for place, turn in enumerate(talk.turns):
        if place < keep_first or turn is talk.turns[-1]:
            turns.append(talks.Turn(turn.said, turn.images, turn.groups[-1:], turn.aside))
        elif name in {"chat", "responses"}:  # what developers say stays where it was
            turns.append(talks.Turn((), 0, (), turn.aside))
    return DIALECTS[name].say(Talk(talk.system, turns))


def measured(name: str, request: Row, measure: str) -> int:
    body = encode(request)
    match measure:
        case "bytes":
            return len(body)
        case "messages":
            return len(request[DIALECTS[name].field])
        case "images":
            return body.count(talks.PIXEL.encode())
        case _:
            return DIALECTS[name].read(body).asked.text_tokens


KEYS: Sequence[str] = (
    "role type id call_id content tool_calls tool_call_id tool_use_id parts text functionCall functionResponse "
    "response name output arguments function function_call approval_request_id source is_error"
).split()
TYPES: Sequence[str] = (
    "text tool_use tool_result thinking compaction function_call function_call_output reasoning item_reference message "
    "mcp_call mcp_approval_response shell_call shell_call_output image_url"
).split()
ROLES = ("user", "assistant", "model", "tool", "system", "developer", "function", "ipython")
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(("", "a", "b", *TYPES)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
SAYS: st.SearchStrategy[Row] = st.fixed_dictionaries(  # calls and results, whoever says them
    {
        "role": st.sampled_from(("user", "assistant", "system")),
        "content": st.lists(
            st.fixed_dictionaries(
                {"type": st.sampled_from(("tool_use", "tool_result")), "id": st.just("a"), "tool_use_id": st.just("a")},
                optional={"content": ANYTHING},
            ),
            min_size=1,
            max_size=2,
        ),
    }
)
MESSAGES: st.SearchStrategy[list[Row]] = st.lists(SAYS, min_size=1, max_size=6) | st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(ROLES),
            "type": st.sampled_from(TYPES),
            "id": st.sampled_from(("a", "b")),
            "call_id": st.sampled_from(("a", "b")),
            **dict.fromkeys(("content", "parts", "tool_calls", "output", "function_call"), ANYTHING),
        },
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(messages=MESSAGES, keep_first=st.integers(0, 2))
@pytest.mark.parametrize("name", DIALECTS)
def test_nothing_that_a_dialect_reads_breaks_it(name: str, messages: list[Any], keep_first: int) -> None:
    dialect = DIALECTS[name]
    read = dialect.read(encode({"model": "m", "max_tokens": 1, "store": False, dialect.field: messages}))
    if isinstance(read, Refusal):
        return
    for wanted in (cap(keep_first, messages=1), cap(keep_first, bytes=100, tool_result_bytes=1)):
        done = trim(read, wanted, dialect.read, lambda shorter, body: len(shorter.entries()) <= 1 or len(body) <= 100)
        assert isinstance(done, str | Trimmed)
    assert read.outline(1).messages <= max(1, len(messages))


def test_a_system_that_brings_a_result_stays_with_its_call() -> None:
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "look"}]}
    told = {"role": "system", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]}
    asks, says = {"role": "user", "content": "go"}, {"role": "assistant", "content": "ok"}
    request = {"model": "m", "max_tokens": 9, "messages": [asks, call, asks, told, says, asks, says, asks]}
    done = trimmed(DIALECTS["messages"], request, cap(0, messages=6))
    assert isinstance(done, Trimmed)
    assert json.loads(done.body)["messages"] == [asks, call, asks, told, says, asks]
