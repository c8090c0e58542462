"""Tools inside model calls: what a request offers and what an answer calls, in every dialect, whole and in pieces."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.core.refusal import Refusal
from comptroller.core.work.conversation import Call
from comptroller.flow.called import Calling
from comptroller.flow.dialect import Dialect
from comptroller.flow.offered import Offering
from comptroller.wire.anthropic_messages.dialect import AnthropicMessages
from comptroller.wire.called import MOST_ARGUMENTS, MOST_CALLS
from comptroller.wire.gemini.dialect import GeminiGenerate
from comptroller.wire.head import Head
from comptroller.wire.openai_chat.dialect import OpenAIChat
from comptroller.wire.openai_responses.dialect import OpenAIResponses
from tests.wire.recorded import Exchange, load

NAMES = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
MODEL = {"model": "m"}
SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
SAID: dict[str, dict[str, Any]] = {
    "openai_chat": MODEL | {"messages": [{"role": "user", "content": "hi"}]},
    "openai_responses": MODEL | {"input": "hi"},
    "anthropic_messages": MODEL | {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "gemini": {"contents": [{"parts": [{"text": "hi"}]}]},
}


def dialect(name: str, *, stream: bool = False) -> Dialect:
    made: dict[str, Dialect] = {
        "openai_chat": OpenAIChat(),
        "openai_responses": OpenAIResponses(),
        "anthropic_messages": AnthropicMessages(),
        "gemini": GeminiGenerate("v1beta", stream=stream),
    }
    return made[name]


def request_of(name: str, body: Any) -> Offering:
    found = dialect(name).read_request(json.dumps(body).encode(), Head(named="m"))
    assert not isinstance(found, Refusal), found.sentence
    assert isinstance(found, Offering)
    return found


# --- what a request offers -------------------------------------------------------------------------------------------


def tool(name: str, function: str) -> Any:
    match name:
        case "openai_chat":
            return {"type": "function", "function": {"name": function, "parameters": SCHEMA}}
        case "openai_responses":
            return {"type": "function", "name": function, "parameters": SCHEMA}
        case "anthropic_messages":
            return {"name": function, "input_schema": SCHEMA}
        case _:
            return {"functionDeclarations": [{"name": function, "parameters": SCHEMA}]}


def tools_of(name: str, *functions: str) -> Any:
    return SAID[name] | {"tools": [tool(name, each) for each in functions]}


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_offered_by_their_names(name: str) -> None:
    request = request_of(name, tools_of(name, "mcp__files__read", "lookup"))
    assert request.functions() == ("mcp__files__read", "lookup")
    assert request.definitions() == json.dumps(tools_of(name, "mcp__files__read", "lookup")["tools"]).encode()


@pytest.mark.parametrize("name", NAMES)
def test_a_request_without_tools_offers_nothing(name: str) -> None:
    assert request_of(name, SAID[name]).definitions() == b""
    assert request_of(name, SAID[name]).functions() == ()


@pytest.mark.parametrize(
    ("name", "tools", "functions"),
    [
        ("openai_chat", [{"type": "custom", "custom": {"name": "patch"}}], ("patch",)),
        ("openai_responses", [{"type": "custom", "name": "patch"}], ("patch",)),
        (
            "openai_responses",
            [{"type": "namespace", "name": "mcp__files", "tools": [{"type": "function", "name": "read"}]}],
            ("mcp__files__read",),
        ),
        ("openai_responses", [{"type": "web_search"}, {"type": "local_shell"}], ()),
        ("anthropic_messages", [{"type": "custom", "name": "a", "input_schema": SCHEMA}], ("a",)),
        ("anthropic_messages", [{"type": "web_search_20250305", "name": "web_search"}], ()),
        ("gemini", [{"function_declarations": [{"name": "a"}, {"name": "b"}]}, {"googleSearch": {}}], ("a", "b")),
        ("gemini", {"functionDeclarations": [{"name": "a"}]}, ("a",)),
    ],
)
def test_every_way_to_define_one_is_known(name: str, tools: Any, functions: tuple[str, ...]) -> None:
    assert request_of(name, SAID[name] | {"tools": tools}).functions() == functions


def test_functions_of_the_api_before_tools_are_offered_too() -> None:
    said = SAID["openai_chat"] | {"functions": [{"name": "old"}], "function_call": {"name": "old"}}
    request = request_of("openai_chat", said)
    assert request.functions() == ("old",)
    assert json.loads(request.without({"old"})) == SAID["openai_chat"]


@pytest.mark.parametrize("name", NAMES)
def test_a_function_is_taken_out_and_the_rest_stays_as_it_was(name: str) -> None:
    left = json.loads(request_of(name, tools_of(name, "a", "b", "c")).without({"b"}))
    assert left == tools_of(name, "a", "c")


CHOICE = {
    "openai_chat": ("tool_choice", {"type": "function", "function": {"name": "a"}}),
    "openai_responses": ("tool_choice", {"type": "function", "name": "a"}),
    "anthropic_messages": ("tool_choice", {"type": "tool", "name": "a"}),
    "gemini": ("toolConfig", {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a"]}}),
}


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_made_to_call_what_is_gone(name: str) -> None:
    field, choice = CHOICE[name]
    body = tools_of(name, "a", "b") | {field: choice}
    assert json.loads(request_of(name, body).without({"a"})) == tools_of(name, "b")
    assert json.loads(request_of(name, body).without({"b"})) == tools_of(name, "a") | {field: choice}


@pytest.mark.parametrize("name", NAMES)
def test_without_any_function_nothing_speaks_of_tools(name: str) -> None:
    field, choice = CHOICE[name]
    body = tools_of(name, "a") | {field: choice} | ({"parallel_tool_calls": False} if name == "openai_chat" else {})
    assert json.loads(request_of(name, body).without({"a"})) == SAID[name]


def test_tools_of_the_provider_stay() -> None:
    search = {"type": "web_search"}
    space = {"type": "namespace", "name": "mcp__files", "tools": [tool("openai_responses", "read")]}
    body = SAID["openai_responses"] | {"tools": [search, space]}
    left = json.loads(request_of("openai_responses", body).without({"mcp__files__read"}))
    assert left == SAID["openai_responses"] | {"tools": [search]}


@pytest.mark.parametrize(
    ("name", "fields", "tools"),
    [
        ("openai_chat", {"tools": [{"type": "web_search_preview"}]}, ["openai/web_search"]),
        ("openai_chat", {"web_search_options": {}}, ["openai/web_search"]),
        ("openai_chat", {"enable_code_interpreter": True, "enable_search": False}, ["openai/code_interpreter"]),
        (
            "openai_responses",
            {"tools": [{"type": "web_search_2025_08_26"}, {"type": "web_search"}, {"type": "file_search"}]},
            ["openai/web_search", "openai/file_search"],
        ),
        (
            "openai_responses",
            {
                "tools": [
                    {"type": "mcp", "server_label": "x"},
                    {"type": "computer_use_preview"},
                    {"type": "local_shell"},
                ]
            },
            ["openai/mcp", "openai/computer_use", "openai/local_shell"],
        ),
        (
            "openai_responses",
            {"input": [{"type": "additional_tools", "tools": [{"type": "code_interpreter"}]}]},
            ["openai/code_interpreter"],
        ),
        ("anthropic_messages", {"tools": [{"type": "web_search_20250305"}]}, ["anthropic/web_search"]),
        (
            "anthropic_messages",
            {"tools": [{"type": "code_execution_20260521"}, {"type": "bash_20250124"}], "mcp_servers": [{"url": "x"}]},
            ["anthropic/code_execution", "anthropic/bash", "anthropic/mcp"],
        ),
        (
            "gemini",
            {"tools": [{"googleSearch": {}, "codeExecution": {}}, {"url_context": {}}, {"computerUse": {}}]},
            ["gemini/google_search", "gemini/code_execution", "gemini/url_context", "gemini/computer_use"],
        ),
    ],
)
def test_tools_of_the_api_have_a_name_whatever_their_version(name: str, fields: Any, tools: list[str]) -> None:
    body = SAID[name] | fields | {"tools": [*fields.get("tools", ()), tool(name, "own")]}
    assert list(request_of(name, body).asked.provider_tools) == tools


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_no_tools_of_the_api(name: str) -> None:
    assert request_of(name, tools_of(name, "web_search")).asked.provider_tools == ()


# --- what an answer calls --------------------------------------------------------------------------------------------


def called(name: str, exchange: Exchange, *cuts: int) -> tuple[Call, ...]:
    """What is read of a recorded answer, cut there."""
    spoken = dialect(name, stream=exchange.stream)
    request = spoken.read_request(
        exchange.body(), Head(query=b"alt=sse" if exchange.stream else b"", named=exchange.model)
    )
    assert not isinstance(request, Refusal)
    if not exchange.stream:
        answer = spoken.read_answer(request, exchange.response)
        assert isinstance(answer, Calling)
        return answer.called
    meter, at = spoken.stream_meter(request), 0
    for cut in (*sorted(cuts), len(exchange.response)):
        meter.feed(exchange.response[at:cut])
        at = cut
    meter.finish()
    assert isinstance(meter, Calling)
    return meter.called


def plain(calls: tuple[Call, ...]) -> list[tuple[str, Any]]:
    """Names, with arguments as values."""
    return [(each.name, _value(each.arguments)) for each in calls]


def _value(arguments: object) -> Any:
    if arguments == "":
        return {}
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments


def said_in(name: str, exchange: Exchange) -> list[tuple[str, Any]]:
    """The functions that an answer calls, read once more, in another way."""
    if not exchange.stream:
        return _functions(name, json.loads(exchange.response))
    events = [
        json.loads(line.partition(b":")[2])
        for line in exchange.response.replace(b"\r\n", b"\n").split(b"\n")
        if line.startswith(b"data:") and line != b"data: [DONE]"
    ]
    match name:
        case "openai_responses":
            return _functions(name, next(each["response"] for each in events if each["type"] == "response.completed"))
        case "gemini":
            return [each for event in events for each in _functions(name, event)]
        case "anthropic_messages":
            blocks = {each["index"]: each["content_block"] for each in events if each["type"] == "content_block_start"}
            pieces = dict.fromkeys(blocks, "")
            for each in events:
                if each["type"] == "content_block_delta":
                    pieces[each["index"]] += each["delta"].get("partial_json", "")
            return [
                (block["name"], json.loads(pieces[index] or "{}"))
                for index, block in blocks.items()
                if block["type"] == "tool_use"
            ]
        case _:
            found: dict[int, list[str]] = {}
            for each in events:
                for choice in each["choices"]:
                    for call in choice["delta"].get("tool_calls") or ():
                        name_and_arguments = found.setdefault(call["index"], ["", ""])
                        name_and_arguments[0] += call["function"].get("name") or ""
                        name_and_arguments[1] += call["function"].get("arguments") or ""
            return [(each, json.loads(arguments or "{}")) for each, arguments in found.values()]


def _functions(name: str, answer: Any) -> list[tuple[str, Any]]:
    match name:
        case "openai_chat":
            calls = [each for choice in answer["choices"] for each in choice["message"].get("tool_calls") or ()]
            return [(each["function"]["name"], json.loads(each["function"]["arguments"])) for each in calls]
        case "openai_responses":
            items = [each for each in answer["output"] if each["type"] == "function_call"]
            return [(each["name"], json.loads(each["arguments"])) for each in items]
        case "anthropic_messages":
            return [(each["name"], each["input"]) for each in answer["content"] if each["type"] == "tool_use"]
        case _:
            parts = [part for each in answer.get("candidates", ()) for part in each.get("content", {}).get("parts", ())]
            return [
                (each["functionCall"]["name"], each["functionCall"]["args"]) for each in parts if "functionCall" in each
            ]


RECORDED = [
    pytest.param(name, exchange, id=f"{name}-{exchange.name}")
    for name in NAMES
    for exchange in load(name)
    if exchange.status == 200 and exchange.request is not None
]


@pytest.mark.parametrize(("name", "exchange"), RECORDED)
def test_a_recorded_answer_calls_what_it_says(name: str, exchange: Exchange) -> None:
    functions = [
        (function.rpartition("__")[2], value)
        for function, value in plain(called(name, exchange))
        if "/" not in function
    ]
    assert functions == said_in(name, exchange)


STREAMED = [each for each in RECORDED if each.values[1].stream and said_in(*each.values)]


@pytest.mark.parametrize(("name", "exchange"), STREAMED)
@given(data=st.data())
@settings(max_examples=10)
def test_however_a_stream_is_cut_it_calls_the_same(name: str, exchange: Exchange, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(exchange.response)), max_size=8))
    assert called(name, exchange, *cuts) == called(name, exchange)


def test_each_dialect_has_recorded_streams_that_call() -> None:
    assert {each.values[0] for each in STREAMED} == set(NAMES)


@pytest.mark.parametrize(
    ("name", "answer", "calls"),
    [
        (
            "openai_responses",
            {"output": [{"type": "mcp_call", "server_label": "wiki", "name": "ask", "arguments": '{"q":1}'}]},
            [("openai/mcp/wiki/ask", {"q": 1})],
        ),
        (
            "openai_responses",
            {"output": [{"type": "web_search_call", "action": {"type": "search", "query": "x"}}]},
            [("openai/web_search", {"type": "search", "query": "x"})],
        ),
        (
            "openai_responses",
            {"output": [{"type": "function_call", "namespace": "mcp__files__", "name": "read", "arguments": "{}"}]},
            [("mcp__files__read", {})],
        ),
        ("openai_responses", {"output": [{"type": "local_shell_call", "action": {}}]}, [("openai/local_shell", {})]),
        (
            "anthropic_messages",
            {"content": [{"type": "server_tool_use", "name": "web_search", "input": {"query": "x"}}]},
            [("anthropic/web_search", {"query": "x"})],
        ),
        (
            "anthropic_messages",
            {"content": [{"type": "mcp_tool_use", "server_name": "wiki", "name": "ask", "input": {}}]},
            [("anthropic/mcp/wiki/ask", {})],
        ),
        (
            "gemini",
            {"candidates": [{"content": {"parts": [{"executableCode": {"code": "1"}}]}}]},
            [("gemini/code_execution", {"code": "1"})],
        ),
        (
            "openai_chat",
            {"choices": [{"message": {"function_call": {"name": "old", "arguments": "{}"}}}]},
            [("old", {})],
        ),
    ],
)
def test_tools_of_the_provider_are_told_from_functions(name: str, answer: Any, calls: Any) -> None:
    read = dialect(name).read_answer(request_of(name, SAID[name]), json.dumps(answer).encode())
    assert isinstance(read, Calling)
    assert plain(read.called) == calls


@pytest.mark.parametrize("name", NAMES)
@given(
    junk=st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["tool_use", "function_call", "x"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "type",
                        "name",
                        "input",
                        "function",
                        "tool_calls",
                        "message",
                        "content",
                        "parts",
                        "functionCall",
                        "args",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
@settings(max_examples=60)
def test_what_cannot_be_read_calls_nothing_and_breaks_nothing(name: str, junk: Any) -> None:
    field = {"openai_chat": "choices", "openai_responses": "output", "anthropic_messages": "content"}
    body = {field.get(name, "candidates"): junk}
    read = dialect(name).read_answer(request_of(name, SAID[name]), json.dumps(body).encode())
    assert isinstance(read, Calling)
    assert all(isinstance(each.name, str) for each in read.called)


def streamed(*calls: Any) -> tuple[Call, ...]:
    """What a stream of chat calls whose deltas are these."""
    meter = dialect("openai_chat").stream_meter(request_of("openai_chat", SAID["openai_chat"]))
    for each in calls:
        chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [each]}}]}
        meter.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert isinstance(meter, Calling)
    return meter.called


def test_servers_that_give_all_calls_one_place_are_told_apart_by_ids() -> None:
    first = {"index": 0, "id": "a", "function": {"name": "one", "arguments": '{"a":1}'}}
    second = {"index": 0, "id": "b", "function": {"name": "two", "arguments": '{"b":2}'}}
    assert plain(streamed(first, second)) == [("one", {"a": 1}), ("two", {"b": 2})]


def test_a_name_that_is_said_with_every_piece_is_one_name() -> None:
    pieces = [{"index": 0, "id": "a", "function": {"name": "one", "arguments": each}} for each in ('{"a"', ":1}")]
    assert plain(streamed(*pieces)) == [("one", {"a": 1})]


def test_arguments_that_are_too_long_are_let_go_of() -> None:
    long = {"index": 0, "id": "a", "function": {"name": "one", "arguments": "x" * (MOST_ARGUMENTS + 1)}}
    assert [(each.name, each.arguments) for each in streamed(long)] == [("one", None)]


def test_no_more_calls_are_kept_than_anybody_looks_at() -> None:
    many = [{"index": n, "id": f"c{n}", "function": {"name": "one", "arguments": "{}"}} for n in range(MOST_CALLS + 9)]
    assert len(streamed(*many)) == MOST_CALLS
