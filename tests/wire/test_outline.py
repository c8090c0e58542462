"""What a request carries, in numbers, and what its last step was: the same conversation in four dialects."""

import json
from typing import Any

import pytest

from comptroller.core.refusal import Refusal
from comptroller.core.work import outline as outlines
from comptroller.core.work.outline import MOST_CHARACTERS, MOST_USES, Outline, ToolUse, says_error
from comptroller.wire.anthropic_messages import read_request as read_messages
from comptroller.wire.gemini.request import read_request as read_gemini
from comptroller.wire.head import Head
from comptroller.wire.openai_chat import read_request as read_chat
from comptroller.wire.openai_responses import read_request as read_responses

PIXEL = "iVBORw0KGgo="
ARGUMENTS = {"path": "b.txt", "at": 1}
CANONICAL = '{"at":1,"path":"b.txt"}'
FAILED = "Error: there is no b.txt"


def read(dialect: str, request: dict[str, Any]) -> Outline:
    body = json.dumps(request).encode()
    match dialect:
        case "chat":
            read = read_chat(body)
        case "responses":
            read = read_responses(body)
        case "messages":
            read = read_messages(body)
        case _:
            read = read_gemini(body, Head(named="m"), stream=False)
    assert not isinstance(read, Refusal), read
    return read.outline(len(body))


def chat() -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "open", "arguments": json.dumps(ARGUMENTS)}}
    other = {"id": "c2", "type": "custom", "custom": {"name": "look", "input": "here"}}
    return {
        "model": "m",
        "tools": [{"type": "function", "function": {"name": "open"}}],
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [
                {"type": "text", "text": "go"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            ]},
            {"role": "assistant", "content": None, "tool_calls": [other, call]},
            {"role": "tool", "tool_call_id": "c2", "content": "seen"},
            {"role": "tool", "tool_call_id": "c1", "content": FAILED},
        ],
    }  # fmt: skip


def responses() -> dict[str, Any]:
    return {
        "model": "m",
        "tools": [{"type": "function", "name": "open", "parameters": {}}],
        "input": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [
                {"type": "input_text", "text": "go"},
                {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
            ]},
            {"type": "custom_tool_call", "call_id": "c2", "name": "look", "input": "here"},
            {"type": "function_call", "call_id": "c1", "name": "open", "arguments": json.dumps(ARGUMENTS)},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "seen"},
            {"type": "function_call_output", "call_id": "c1", "output": FAILED},
        ],
    }  # fmt: skip


def messages() -> dict[str, Any]:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    return {
        "model": "m",
        "max_tokens": 10,
        "tools": [{"name": "open", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "go"}, image]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "c2", "name": "look", "input": "here"},
                {"type": "tool_use", "id": "c1", "name": "open", "input": ARGUMENTS},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "seen"}]},
                {"type": "tool_result", "tool_use_id": "c1", "content": FAILED, "is_error": True},
            ]},
        ],
    }  # fmt: skip


def gemini() -> dict[str, Any]:
    return {
        "tools": [{"functionDeclarations": [{"name": "open"}]}],
        "contents": [
            {"role": "user", "parts": [
                {"text": "go"}, {"inline_data": {"mime_type": "image/png", "data": PIXEL}}
            ]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "look", "args": "here"}},
                {"function_call": {"name": "open", "args": ARGUMENTS}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "look", "response": {"output": "seen"}}},
                {"function_response": {"name": "open", "response": {"error": FAILED}}},
            ]},
        ],
    }  # fmt: skip


ALL = {"chat": (chat, 5), "responses": (responses, 6), "messages": (messages, 3), "gemini": (gemini, 3)}


@pytest.mark.parametrize("dialect", ALL)
def test_one_conversation_in_four_dialects(dialect: str) -> None:
    request, messages_in_it = ALL[dialect][0](), ALL[dialect][1]
    found = read(dialect, request)
    assert (found.messages, found.tools, found.tool_results, found.images) == (messages_in_it, 1, 2, 1)
    assert found.bytes == len(json.dumps(request))
    assert found.tool_bytes == len(json.dumps(request["tools"]))
    assert len(FAILED) <= found.largest_tool_result_bytes < found.tool_result_bytes
    assert found.step.by == "tool"
    assert found.step.text == f"seen\n{FAILED}"
    assert found.step.uses == (ToolUse("look", "here", False), ToolUse("open", CANONICAL, True))
    assert found.step.failed


@pytest.mark.parametrize(
    ("dialect", "request_"),
    [
        ("chat", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
        ("responses", {"model": "m", "input": "hi"}),
        ("responses", {"model": "m", "input": [{"role": "user", "content": "hi"}]}),
        ("messages", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}),
        ("gemini", {"contents": [{"parts": [{"text": "hi"}]}]}),
        ("gemini", {"contents": {"parts": {"text": "hi"}}}),
    ],
)
def test_a_first_question(dialect: str, request_: dict[str, Any]) -> None:
    found = read(dialect, request_)
    assert (found.messages, found.tools, found.tool_bytes, found.tool_results) == (1, 0, 0, 0)
    assert (found.step.by, found.step.text, found.step.uses, found.step.failed) == ("user", "hi", (), False)


def test_a_question_after_the_tools_and_the_beginning_of_an_answer() -> None:
    request = chat()
    request["messages"] += [
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "and now?"},
        {"role": "assistant", "content": "Now"},
    ]
    step = read("chat", request).step
    assert (step.by, step.text, step.uses) == ("user", "and now?", ())


def test_a_user_who_speaks_beside_results() -> None:
    request = messages()
    request["messages"][-1]["content"].append({"type": "text", "text": "hurry"})
    assert read("messages", request).step.text == f"seen\n{FAILED}\nhurry"


def test_calls_of_the_old_api() -> None:
    found = read("chat", {"model": "m", "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{ }"}},
        {"role": "function", "name": "f", "content": '{"error": "no"}'},
    ]})  # fmt: skip
    assert found.step.uses == (ToolUse("f", "{}", True),)


def test_long_texts_keep_their_beginning_and_their_end() -> None:
    text = "".join(f"{number:08}" for number in range(MOST_CHARACTERS))
    found = read("chat", {"model": "m", "messages": [{"role": "user", "content": text}]}).step.text
    assert len(found) < 2 * MOST_CHARACTERS + 10
    assert found.startswith(text[:MOST_CHARACTERS])
    assert found.endswith(text[-MOST_CHARACTERS:])


ODD: list[Any] = [
    *[{"model": "m", "messages": [{"role": role, "content": content, "tool_calls": calls, "tool_call_id": 7}]}
      for role in ("user", "assistant", "tool", "function", "ipython", 7)
      for content in (None, 7, [], [None, 7, {"text": 7}], {"text": "x"})
      for calls in (None, 7, [7, {"function": 7}, {"id": 7, "function": {"name": 7, "arguments": [7]}}])],
]  # fmt: skip


@pytest.mark.parametrize("request_", ODD)
def test_what_no_dialect_says_breaks_nothing(request_: dict[str, Any]) -> None:
    assert read("chat", request_).messages == 1
    message = {"role": "user", "content": [{"type": "tool_result", "content": 7}, 7, {"type": 7}]}
    assert read("messages", {"model": "m", "max_tokens": 1, "messages": [message]}).messages == 1
    items = [{"type": kind} for kind in ("function_call", "function_call_output", "message", "reasoning", "new")]
    assert read("responses", {"model": "m", "input": [*items, {"type": 7}], "store": False}).messages == 6
    content = {"role": "user", "parts": [{"functionResponse": {"response": 7}}, {"functionCall": 7}, 7]}
    assert read("gemini", {"contents": [content, 7]}).messages == 2


@pytest.mark.parametrize(
    "text",
    [
        "Error: there is no such file",
        "ENOENTError: x",
        "ValueError: x",
        "Traceback (most recent call last):\n",
        "failed to open",
        "<error>x</error>",
        "[ERROR] x",
        "fatal: not a repository",
        "Exit code: 1\nx",
        "Command finished with exit code 127",
        '{"error": "x"}',
        '{"output": "x", "metadata": {"exit_code": 1}}',
        '{"success": false}',
        '{"isError": true, "content": []}',
    ],
)
def test_what_reads_like_an_error(text: str) -> None:
    assert says_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "There were no errors.",
        "the function raises ValueError",
        "Exit code: 0\nerror",
        '{"error": null, "ok": true}',
        '{"output": "error", "metadata": {"exit_code": 0}}',
        '{"errors": []}',
        "failsafe is on",
    ],
)
def test_what_does_not(text: str) -> None:
    assert not says_error(text)


def test_a_result_that_many_calls_share_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []

    def says(text: str) -> bool:
        judged.append(text)
        return says_error(text)

    monkeypatch.setattr(outlines, "says_error", says)
    calls = [{"id": "c", "type": "function", "function": {"name": f"f{n}", "arguments": "{}"}} for n in range(9_500)]
    answer = json.dumps({"error": "x" * 1_000})
    told = [{"role": "assistant", "tool_calls": calls}, {"role": "tool", "tool_call_id": "c", "content": answer}]
    step = read("chat", {"model": "m", "messages": told}).step
    assert judged == [answer]
    assert step.uses == tuple(ToolUse(f"f{n}", "{}", True) for n in range(9_500 - MOST_USES, 9_500))
    assert step.failed
