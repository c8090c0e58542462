"""Conversations of any shape, the same in four dialects, and each dialect's own rules of what a conversation may be.

The rules are written down here from the APIs' references and errors, and share nothing with the product: a request is
judged as its provider would. Anthropic: the first message is a user's; every `tool_use` is answered in the very next
message, and every `tool_result` answers one there. OpenAI Chat: the messages right after `tool_calls` answer all of
them. Responses: a call has its output later and an output its call earlier; a reasoning item goes with what it led to.
Gemini: a content with calls comes after a user's or after responses, and the next one has a response for each.
"""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Row = dict[str, Any]
MODEL = "sandbox-large"
PIXEL = "iVBORw0KGgo="


class Group:
    """What a model does at once: it may think, say something, and call tools whose results come then."""

    def __init__(self, number: int, *, thinks: bool, text: str | None, results: Sequence[str], image: bool) -> None:
        self.number, self.thinks, self.text, self.results, self.image = number, thinks, text, results, image
        self.ids = [f"call_{number}_{place}" for place in range(len(results))]


class Turn:
    def __init__(self, said: Sequence[str], images: int, groups: Sequence[Group], aside: str | None) -> None:
        self.said, self.images, self.groups, self.aside = said, images, groups, aside


class Talk:
    """`aside`: what the system says before a turn."""

    def __init__(self, system: str | None, turns: Sequence[Turn]) -> None:
        self.system, self.turns = system, turns


TEXTS = st.integers(1, 400).map(lambda length: "word " * length)
RESULTS = st.one_of(TEXTS, st.integers(1, 9).map(lambda length: 'a long result, with "quotes"\n' * 60 * length))


@st.composite
def talks(draw: st.DrawFn, *, reasons: bool | None = None) -> Talk:
    """Valid in every dialect. The last turn ends with the user or with results."""
    thinks = draw(st.booleans()) if reasons is None else reasons
    count, number = draw(st.integers(1, 6)), 0
    turns: list[Turn] = []
    for place in range(count):
        last = place == count - 1
        groups: list[Group] = []
        for _ in range(draw(st.integers(0, 5))):
            number += 1
            results = draw(st.lists(RESULTS, min_size=1, max_size=3))
            text = draw(st.none() | TEXTS)
            groups.append(Group(number, thinks=thinks, text=text, results=results, image=draw(st.booleans())))
        if not last:
            number += 1
            groups.append(Group(number, thinks=thinks, text=draw(TEXTS), results=(), image=False))
        said = [f"turn {place} part {part}: {draw(TEXTS)}" for part in range(draw(st.integers(1, 2)))]
        aside = draw(st.none() | st.just(f"aside {place}"))
        turns.append(Turn(said, draw(st.integers(0, 2)), groups, aside))
    return Talk(draw(st.none() | st.just("you are terse")), turns)


# --- OpenAI Chat -----------------------------------------------------------------------------------------------------


def chat(talk: Talk) -> Row:
    messages: list[Row] = [{"role": "system", "content": talk.system}] if talk.system else []
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    for turn in talk.turns:
        if turn.aside:
            messages.append({"role": "developer", "content": turn.aside})
        messages += [
            {"role": "user", "content": [{"type": "text", "text": text}, *[image] * turn.images]} for text in turn.said
        ]
        for group in turn.groups:
            answer: Row = {"role": "assistant", "content": group.text}
            if group.results:
                answer["tool_calls"] = [
                    {"id": each, "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
                    for each in group.ids
                ]
            messages.append(answer)
            messages += [
                {"role": "tool", "tool_call_id": each, "content": result}
                for each, result in zip(group.ids, group.results, strict=True)
            ]
    return {
        "model": MODEL,
        "tools": [{"type": "function", "function": {"name": "look"}}],
        "messages": messages,
    }


def judge_chat(request: Row) -> None:
    waiting: set[str] = set()
    before = ""
    for message in request["messages"]:
        role = message["role"]
        if role == "tool":
            assert message["tool_call_id"] in waiting, "a result that no call right before it asked for"
            waiting.remove(message["tool_call_id"])
            continue
        assert not waiting, f"no results for {waiting}"
        waiting = {call["id"] for call in message.get("tool_calls", ())}
        if role in {"user", "assistant"}:
            assert (before, role) != ("", "assistant"), "a conversation that the model begins"
            before = role
    assert not waiting, f"no results for {waiting}"


# --- Anthropic -------------------------------------------------------------------------------------------------------


def messages(talk: Talk) -> Row:
    found: list[Row] = []
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    marked = {"cache_control": {"type": "ephemeral"}}
    for turn in talk.turns:
        texts: list[Row] = [{"type": "text", "text": text} for text in turn.said]
        if turn is talk.turns[-1]:
            texts[-1] |= marked
        found.append({"role": "user", "content": [*texts, *[image] * turn.images]})
        for group in turn.groups:
            blocks: list[Row] = []
            if group.thinks:
                blocks.append({"type": "thinking", "thinking": "so", "signature": f"sig{group.number}"})
            if group.text:
                blocks.append({"type": "text", "text": group.text})
            blocks += [{"type": "tool_use", "id": each, "name": "look", "input": {"at": 1}} for each in group.ids]
            found.append({"role": "assistant", "content": blocks})
            if group.results:
                found.append({"role": "user", "content": [_block(group, place) for place in range(len(group.ids))]})
    request: Row = {"model": MODEL, "max_tokens": 9, "messages": found}
    request["tools"] = [{"name": "look", "input_schema": {"type": "object"}}]
    if talk.system:
        request["system"] = [{"type": "text", "text": talk.system} | marked]
    return request


def _block(group: Group, place: int) -> Row:
    result: Any = group.results[place]
    if group.image:
        source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        result = [{"type": "text", "text": result}, {"type": "image", "source": source}]
    return {"type": "tool_result", "tool_use_id": group.ids[place], "content": result}


def judge_messages(request: Row) -> None:
    found = request["messages"]
    assert found[0]["role"] == "user", "first message must use the user role"
    marks = json.dumps(request).count('"cache_control"')
    assert marks <= 4
    asked: list[str] = []
    before = ""
    for message in found:
        assert message["role"] != before, "roles alternate"
        assert message["content"], "a message without content"
        answered = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        assert sorted(answered) == sorted(asked), "every tool_use is answered in the next message, and nothing else"
        asked = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
        before = message["role"]
    assert not asked
    if any(block["type"] == "thinking" for message in found for block in message["content"]):
        for message in found:
            if message["role"] == "assistant":
                assert message["content"][0]["type"] == "thinking", "thinking comes first"


# --- OpenAI Responses ------------------------------------------------------------------------------------------------


def responses(talk: Talk) -> Row:
    items: list[Row] = []
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"}
    for turn in talk.turns:
        if turn.aside:
            items.append({"role": "developer", "content": turn.aside})
        items += [
            {"role": "user", "content": [{"type": "input_text", "text": text}, *[image] * turn.images]}
            for text in turn.said
        ]
        for group in turn.groups:
            if group.thinks:
                items.append(
                    {"type": "reasoning", "id": f"rs_{group.number}", "summary": [], "encrypted_content": "x" * 80}
                )
            if group.text:
                content: list[Row] = [{"type": "output_text", "text": group.text, "annotations": []}]
                items.append({"type": "message", "role": "assistant", "content": content})
            items += [
                {"type": "function_call", "call_id": each, "name": "look", "arguments": '{"at": 1}'}
                for each in group.ids
            ]
            for place, each in enumerate(group.ids):
                output: Any = group.results[place]
                output = [{"type": "input_text", "text": output}, image] if group.image else output
                items.append({"type": "function_call_output", "call_id": each, "output": output})
    request: Row = {
        "model": MODEL,
        "store": False,
        "input": items,
        "tools": [{"type": "function", "name": "look"}],
    }
    return request | ({"instructions": talk.system} if talk.system else {})


def judge_responses(request: Row) -> None:
    items = request["input"]
    calls = [item["call_id"] for item in items if item.get("type") == "function_call"]
    outputs = [item["call_id"] for item in items if item.get("type") == "function_call_output"]
    assert len({*calls}) == len(calls)
    assert sorted(calls) == sorted(outputs), "No tool output found for function call, or no call for an output"
    seen: set[str] = set()
    nothing: Row = {}
    for item, after in zip(items, [*items[1:], nothing], strict=True):
        if item.get("type") == "function_call":
            seen.add(item["call_id"])
        if item.get("type") == "function_call_output":
            assert item["call_id"] in seen, "an output before its call"
        if item.get("type") == "reasoning":
            follows = after.get("type") == "function_call" or after.get("role") == "assistant"
            assert follows, "a reasoning item without its required following item"
    assert next(item for item in items if item.get("role") != "developer").get("role") == "user"


def reasons_of(request: Row) -> dict[str, str]:
    """The reasoning item that led to each call."""
    found: dict[str, str] = {}
    reason = ""
    for item in request["input"]:
        if item.get("type") == "reasoning":
            reason = item["id"]
        elif item.get("type") == "function_call":
            found[item["call_id"]] = reason
        elif item.get("role") == "user":
            reason = ""
    return found


# --- Gemini ----------------------------------------------------------------------------------------------------------


def gemini(talk: Talk) -> Row:
    contents: list[Row] = []
    image = {"inlineData": {"mimeType": "image/png", "data": PIXEL}}
    for turn in talk.turns:
        parts = [*({"text": text} for text in turn.said), *[image] * turn.images]
        contents.append({"role": "user", "parts": parts})
        for group in turn.groups:
            parts = [{"text": group.text}] if group.text else []
            calls: list[Row] = [{"functionCall": {"name": "look", "args": {"at": 1}}} for _ in group.ids]
            if group.thinks and calls:
                calls[0]["thoughtSignature"] = "c2ln"
            contents.append({"role": "model", "parts": [*parts, *calls]})
            if group.results:
                contents.append({"role": "user", "parts": [_response(each) for each in group.results]})
    request: Row = {"contents": contents, "tools": [{"functionDeclarations": [{"name": "look"}]}]}
    return request | ({"systemInstruction": {"parts": [{"text": talk.system}]}} if talk.system else {})


def _response(result: str) -> Row:
    return {"functionResponse": {"name": "look", "response": {"output": result}}}


def judge_gemini(request: Row) -> None:
    before, asked = "", 0
    for content in request["contents"]:
        role, parts = content["role"], content["parts"]
        assert parts, "a content without parts"
        assert role != before, "Please ensure that multiturn requests alternate between user and model"
        answers = sum("functionResponse" in part for part in parts)
        assert answers == asked, "as many function response parts as function call parts, right after them"
        asked = sum("functionCall" in part for part in parts)
        assert not asked or role == "model"
        assert before or role == "user", "a function call turn comes after a user's, or after responses"
        before = role
    assert not asked
    signed = [
        next(part for part in content["parts"] if "functionCall" in part).get("thoughtSignature")
        for content in request["contents"]
        if any("functionCall" in part for part in content["parts"])
    ]
    assert len({*signed}) <= 1, "the first call of every step has its signature"
