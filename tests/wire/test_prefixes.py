"""A conversation that goes on is bounded by what was billed for it and the bytes of the rest; nothing else is."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from comptroller.core.pricing import prefix as module
from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.prefix import Prefixes, Prompt
from comptroller.core.refusal import Refusal
from comptroller.wire import anthropic_messages, openai_chat
from comptroller.wire.head import PLAIN, Head

LONG = "the quick brown fox jumps over the lazy dog. " * 120
TURNS: list[Any] = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "Yes."}]
NEXT: list[Any] = [{"role": "user", "content": "And then?"}]
Read = Callable[[dict[str, Any]], Any]


def chat(body: dict[str, Any]) -> Any:
    return openai_chat.read_request(json.dumps(body).encode())


def messages(body: dict[str, Any]) -> Any:
    return anthropic_messages.read_request(json.dumps(body, separators=(",", ":")).encode())


READS = [pytest.param(chat, id="chat"), pytest.param(messages, id="messages")]


def asked(read: Read, turns: list[Any], **fields: Any) -> Asked:
    request = read({"model": "m", "messages": turns, "max_tokens": 9, **fields})
    assert not isinstance(request, Refusal), request
    return request.asked


def prompt(read: Read, turns: list[Any], **fields: Any) -> Prompt:
    found = asked(read, turns, **fields).prompt
    assert found is not None
    return found


def known(first: Prompt, tokens: int = 1_500) -> Prefixes:
    prefixes = Prefixes()
    prefixes.remember("s", "p", "m", first, tokens)
    return prefixes


def bound(prefixes: Prefixes, of: Prompt) -> int | None:
    return prefixes.bound("s", "p", "m", of)


@pytest.mark.parametrize("read", READS)
def test_what_goes_on_is_bounded_by_the_count_and_the_rest(read: Read) -> None:
    prefixes = known(prompt(read, TURNS[:1]))
    longer = prompt(read, TURNS + NEXT, temperature=0.5, metadata={"user_id": "x"})
    rest = longer.sizes[1] + longer.sizes[2]
    assert rest >= len(json.dumps(TURNS[1], separators=(",", ":"))) + len(json.dumps(NEXT[0], separators=(",", ":")))
    assert bound(prefixes, longer) == 1_500 + rest
    assert bound(prefixes, prompt(read, TURNS[:1])) == 1_500  # the same once more
    assert bound(prefixes, longer) < asked(read, TURNS + NEXT).text_tokens  # type: ignore[operator]


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": {"type": "none"}},
        {"model": "other"},
        {"max_tokens": 99},  # some models are told how much they may write
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_another_prompt_is_another_prompt(read: Read, fields: dict[str, Any]) -> None:
    prefixes = known(prompt(read, TURNS[:1]))
    assert bound(prefixes, prompt(read, TURNS + NEXT, **fields)) is None


@pytest.mark.parametrize(
    "head",
    [
        Head(api=b"anthropic-version:2023-06-01\nanthropic-beta:token-efficient-tools-2025-02-19"),
        Head(api=b"openai-beta:x"),
        Head(query=b"beta=true"),
    ],
    ids=["a beta", "another's beta", "the query"],
)
@pytest.mark.parametrize("dialect", [openai_chat, anthropic_messages])
def test_another_api_is_another_prompt(dialect: Any, head: Head) -> None:
    """A beta can write the same conversation into another prompt."""
    body = json.dumps({"model": "m", "messages": TURNS, "max_tokens": 9}).encode()
    first, other = dialect.read_request(body, PLAIN).asked.prompt, dialect.read_request(body, head).asked.prompt
    assert bound(known(first), first) is not None
    assert bound(known(first), other) is None
    assert bound(known(other), other) is not None


def test_another_system_or_other_tools_are_another_prompt() -> None:
    tool = {"name": "t", "input_schema": {"type": "object"}}
    prefixes = known(prompt(messages, TURNS[:1], system="You help.", tools=[tool]))
    assert bound(prefixes, prompt(messages, TURNS + NEXT, system="You help.", tools=[tool])) is not None
    assert bound(prefixes, prompt(messages, TURNS + NEXT, system="You hinder.", tools=[tool])) is None
    assert bound(prefixes, prompt(messages, TURNS + NEXT, system="You help.", tools=[tool, tool])) is None
    assert bound(prefixes, prompt(messages, TURNS + NEXT, system="You help.")) is None


@pytest.mark.parametrize("read", READS)
def test_a_turn_that_was_changed_is_no_prefix(read: Read) -> None:
    prefixes = known(prompt(read, TURNS))
    changed = [TURNS[0], {"role": "assistant", "content": "No."}, *NEXT]
    assert bound(prefixes, prompt(read, changed)) is None
    assert bound(prefixes, prompt(read, [*NEXT, *TURNS])) is None
    assert bound(prefixes, prompt(read, TURNS[:1])) is None  # shorter than what was counted
    assert prefixes.bound("t", "p", "m", prompt(read, TURNS)) is None
    assert prefixes.bound("s", "q", "m", prompt(read, TURNS)) is None
    assert prefixes.bound("s", "p", "n", prompt(read, TURNS)) is None


def test_the_longest_of_several_counts() -> None:
    prefixes = known(prompt(chat, TURNS[:1]), 1_500)
    prefixes.remember("s", "p", "m", prompt(chat, TURNS), 1_510)
    longer = prompt(chat, TURNS + NEXT)
    assert bound(prefixes, longer) == 1_510 + longer.sizes[2]


def test_the_marks_of_a_cache_move_and_are_no_part_of_the_prompt() -> None:
    """As coding agents set them: on the system, and on the last message."""
    mark = {"cache_control": {"type": "ephemeral"}}

    def text(words: str, **marks: Any) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "text", "text": words, **marks}]}

    system = [{"type": "text", "text": "You help.", **mark}]
    first = prompt(messages, [text(LONG, **mark)], system=system)
    later = prompt(messages, [text(LONG), TURNS[1], text("And then?", **mark)], system=[{**system[0]}])
    assert bound(known(first), later) == 1_500 + later.sizes[1] + later.sizes[2]


@pytest.mark.parametrize(("written", "longer"), [("0.5", f"0.5{'0' * 200}"), ('"A"', '"\\u0041"')])
def test_beside_a_mark_other_digits_are_another_prompt(written: str, longer: str) -> None:
    """A server that keeps numbers and escapes as they came would count them."""

    def read(value: str) -> Prompt:
        tool = '{"name":"t","input_schema":{"const":VALUE},"cache_control":{"type":"ephemeral"}}'
        block = '{"type":"tool_use","id":"i","name":"t","input":{"a":VALUE},"cache_control":{"type":"ephemeral"}}'
        turns = json.dumps(TURNS[:1])[:-1] + f',{{"role":"assistant","content":[{block}]}}]'
        body = f'{{"model":"m","max_tokens":9,"tools":[{tool}],"messages":{turns}}}'.replace("VALUE", value)
        found = anthropic_messages.read_request(body.encode())
        assert not isinstance(found, Refusal)
        assert found.asked.prompt is not None
        return found.asked.prompt

    assert read(written).digests[0] != read(longer).digests[0]
    assert bound(known(read(written)), read(longer)) is None


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "short"}]},
        {"messages": TURNS, "an_unknown_field": 1},
        {"messages": TURNS, "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    ],
    ids=["short", "unknown field", "a context that is edited"],
)
def test_what_is_not_known_to_stay_is_not_remembered(body: dict[str, Any]) -> None:
    assert messages({"model": "m", "max_tokens": 9, **body}).asked.prompt is None


def test_images_are_not_remembered() -> None:
    """Their tokens may be counted in another way when they are further up."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}
    turns = [*TURNS, {"role": "user", "content": [image]}]
    assert asked(messages, turns).prompt is None


def test_a_report_that_says_next_to_nothing_is_not_believed() -> None:
    first = prompt(chat, TURNS)
    assert bound(known(first, 0), first) is None
    assert bound(known(first, first.body_bytes // 17), first) is None
    assert bound(known(first, first.body_bytes // 16 + 1), first) is not None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSIONS_MOST", 3)
    prefixes = Prefixes()
    prompts = [prompt(chat, [{"role": "user", "content": f"{number} {LONG}"}]) for number in range(20)]
    for number, each in enumerate(prompts):
        prefixes.remember(f"s{number}", "p", "m", each, 5_000)
        prefixes.remember("s", "p", "m", each, 5_000)
        assert len(prefixes) <= 3
    assert [bound(prefixes, each) is not None for each in prompts] == [False] * 12 + [True] * 8


def test_a_session_whose_count_was_wrong_is_not_counted_again() -> None:
    first = prompt(chat, TURNS)
    prefixes = known(first)
    prefixes.distrust("s")
    assert bound(prefixes, first) is None
    prefixes.remember("s", "p", "m", first, 1_500)
    assert bound(prefixes, first) is None
    prefixes.remember("t", "p", "m", first, 1_500)
    assert prefixes.bound("t", "p", "m", first) == 1_500
