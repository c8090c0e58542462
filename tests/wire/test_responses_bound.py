"""The bound of a Responses request is never below what a provider can bill for its input."""

import base64
import json
from typing import Any

import msgspec
import pytest

from comptroller.wire.openai_responses import ResponsesRequest, read_answer, read_request, rewrite
from comptroller.wire.openai_responses.fields import SERVER_SIDE
from tests.wire.recorded import Exchange
from tests.wire.test_chat_bound import IMAGES as CHAT_IMAGES
from tests.wire.test_responses_request import REQUESTS, encode, read
from tests.wire.test_responses_stream import last_of

IMAGE = "data:image/png;base64," + base64.b64encode(b"\x89PNG" * 1000).decode()
ANSWERED = [exchange for exchange in REQUESTS if exchange.status == 200]


def input_tokens(exchange: Exchange) -> int:
    if exchange.stream:
        return last_of(exchange.response)["usage"]["input_tokens"]
    usage = read_answer(exchange.response).usage
    assert usage is not None
    return usage.input_tokens


def bounded(exchange: Exchange) -> bool:
    request = read_request(exchange.body())
    return isinstance(request, ResponsesRequest) and not request.asked.unbounded


@pytest.mark.parametrize("exchange", [*filter(bounded, ANSWERED)], ids=lambda exchange: exchange.name)
def test_a_real_bill_is_within_the_bound(exchange: Exchange) -> None:
    """Held against what the provider billed, without any allowance for its template or for images."""
    request = read_request(exchange.body())
    assert isinstance(request, ResponsesRequest)
    assert request.asked.text_tokens >= input_tokens(exchange)


def test_a_bill_above_the_bytes_of_its_request_was_seen_coming() -> None:
    above = [exchange for exchange in ANSWERED if input_tokens(exchange) > len(exchange.body())]
    assert len(above) >= 8
    for exchange in above:
        request = read_request(exchange.body())
        assert isinstance(request, ResponsesRequest)
        assert request.asked.unbounded
        assert request.asked.fees


def of(*parts: Any, **fields: Any) -> Any:
    return read(input=[{"role": "user", "content": list(parts)}], **fields).asked


def item(**fields: Any) -> Any:
    return read(input=[fields]).asked


def test_every_byte_of_text_counts() -> None:
    body = encode({"model": "m", "input": "é" * 100})
    request = read_request(body)
    assert isinstance(request, ResponsesRequest)
    assert request.asked.text_tokens == len(body)


@pytest.mark.parametrize("name", ["tools", "text"])
def test_what_is_printed_as_json_counts_for_more_than_its_bytes(name: str) -> None:
    schema = {"enum": [1] * 100}
    given: Any = {
        "tools": [{"type": "function", "name": "f", "parameters": schema}],
        "text": {"format": {"type": "json_schema", "schema": schema}},
    }[name]
    body = encode({"model": "m", "input": "", name: given})
    request = read_request(body)
    assert isinstance(request, ResponsesRequest)
    assert request.asked.text_tokens >= len(body) + 100


IMAGES: dict[str, Any] = {
    "address": {"type": "input_image", "detail": "auto", "image_url": "https://a.example/x.png"},
    "data": {"type": "input_image", "detail": "high", "image_url": IMAGE},
    **{f"chat: {name}": part for name, part in CHAT_IMAGES.items()},
}


@pytest.mark.parametrize("shape", IMAGES)
def test_images_are_counted_wherever_they_are(shape: str) -> None:
    part = IMAGES[shape]
    assert of(part).images >= 1
    assert of({"type": "input_text", "text": "x"}, part, part).images == 2 * of(part).images
    for other in (
        {"type": "function_call_output", "call_id": "c", "output": [part]},
        {"type": "custom_tool_call_output", "call_id": "c", "output": [part]},
        {"type": "computer_call_output", "call_id": "c", "output": part},
        {"type": "message", "role": "user", "content": part},
        {"type": "something_new", "deep": {"x": [part]}},
    ):
        assert item(**other).images >= of(part).images, other


def test_the_data_of_an_image_is_no_text() -> None:
    assert of({"type": "input_image", "image_url": IMAGE}).text_tokens < 300
    drawn = item(type="image_generation_call", id="ig_1", status="completed", result="A" * 5000)
    assert (drawn.images, drawn.unbounded) == (1, ())
    assert drawn.text_tokens < 300
    assert item(type="image_generation_call", status="completed", result=None).unbounded


ELSEWHERE: dict[str, Any] = {
    "a file by address": {"type": "input_file", "file_url": "https://a.example/x.pdf"},
    "a file's data": {"type": "input_file", "filename": "x.pdf", "file_data": "data:application/pdf;base64,AAAA"},
    "an image of another scheme": {"type": "input_image", "image_url": "gs://x/y.png"},
    "a new part": {"type": "input_hologram", "source": "https://a.example/x"},
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_is_not_in_the_body_has_no_bound_but_the_context(what: str) -> None:
    asked = of(ELSEWHERE[what])
    assert asked.unbounded
    assert asked.fees == ()
    assert asked.rounds == 1


KEPT: list[dict[str, Any]] = [
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
    {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": ["x"]},
    {"type": "code_interpreter_call", "id": "ci_1", "container_id": "c", "code": "1", "outputs": None},
    {"type": "something_new", "id": "x_1"},
    {"type": 7},
]


@pytest.mark.parametrize("kept", KEPT)
def test_an_item_that_stands_for_more_than_it_says_has_no_bound_but_the_context(kept: dict[str, Any]) -> None:
    asked = item(**kept)
    assert len(asked.unbounded) == 1
    assert asked.fees == ()


WHOLE: list[dict[str, Any]] = [
    {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "phase": "final_answer", "content": [
        {"type": "output_text", "text": "x", "logprobs": [],
         "annotations": [{"type": "url_citation", "url": "https://a.example", "title": "x"}]},
        {"type": "refusal", "refusal": "no"},
    ]},
    {"role": "user", "content": "https://a.example/x is text"},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "x"}], "encrypted_content": "A"},
    {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "x"}]},
    {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{\"url\":\"https://a\"}"},
    {"type": "function_call_output", "call_id": "c", "output": "https://a.example"},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "https://a.example"}]},
    {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": "*** Begin"},
    {"type": "local_shell_call", "id": "l", "call_id": "c", "status": "completed",
     "action": {"type": "exec", "command": ["curl", "https://a.example"], "env": {}}},
    {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "http://a", "stderr": "", "outcome": {}}]},
    {"type": "apply_patch_call", "call_id": "c", "operation": {"type": "delete_file", "path": "x"}},
    {"type": "computer_call", "id": "c", "call_id": "c", "action": {"type": "click"}, "pending_safety_checks": []},
    {"type": "mcp_call", "id": "m", "name": "f", "arguments": "{}", "server_label": "s", "output": "http://a"},
    {"type": "tool_search_call", "id": "t", "arguments": {}, "execution": "client"},
    {"type": "compaction", "id": "c", "encrypted_content": "A"},
]  # fmt: skip


@pytest.mark.parametrize("whole", WHOLE)
def test_an_item_that_says_all_is_bounded_by_its_bytes(whole: dict[str, Any]) -> None:
    asked = item(**whole)
    assert (asked.unbounded, asked.fees, asked.images) == ((), (), 0)


# --- tools --------------------------------------------------------------------------------------

OWN: list[dict[str, Any]] = [
    {"type": "function", "name": "f", "parameters": {"$schema": "https://a.example"}},
    {"type": "custom", "name": "apply_patch", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
    {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]},
    {"type": "local_shell"},
    {"type": "shell", "environment": {"type": "local"}},
    {"type": "apply_patch"},
    {"type": "computer"},
    {"type": "tool_search", "execution": "client"},
    {"name": "f"},
]


def test_tools_of_the_caller() -> None:
    asked = read(tools=OWN).asked
    assert (asked.unbounded, asked.fees, asked.rounds) == ((), (), 1)
    for tool in ({"type": "local_shell"}, {"type": "computer"}):  # a name that stands for a definition
        assert read(tools=[tool]).asked.text_tokens > 1_000


THEIRS: list[dict[str, Any]] = [
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "image_generation"},
    {"type": "mcp", "server_label": "s", "server_url": "https://a.example", "require_approval": "never"},
    {"type": "web_search_preview"},
    {"type": "web_search_preview_2025_03_11"},
    {"type": "shell"},
    {"type": "shell", "environment": {"type": "container_auto"}},
    {"type": "programmatic_tool_calling"},
    {"type": "brand_new"},
]


@pytest.mark.parametrize("tool", THEIRS)
def test_what_runs_at_the_provider_and_no_limit_bounds(tool: dict[str, Any]) -> None:
    words = f"the provider's tool {tool['type']!r}"
    for limit in ({}, {"max_tool_calls": 3}):
        asked = read(tools=[*OWN, tool, tool], **limit).asked
        assert asked.fees == asked.unbounded == (words,)
    inside = {"type": "namespace", "name": "n", "tools": [tool]}
    assert read(tools=[inside]).asked.fees == (words,)
    for kind in ("additional_tools", "tool_search_output"):
        assert item(type=kind, tools=[tool]).fees == (words,)


@pytest.mark.parametrize(
    ("tool", "searches"),
    [
        ({"type": "web_search"}, (3, 0)),
        ({"type": "web_search_2025_08_26"}, (3, 0)),
        ({"type": "file_search", "vector_store_ids": ["vs_1"]}, (0, 3)),
        ({"type": "tool_search"}, (0, 0)),
    ],
)
def test_a_search_is_bounded_by_a_limit_on_calls(tool: dict[str, Any], searches: tuple[int, int]) -> None:
    words = f"the provider's tool {tool['type']!r}"
    asked = read(tools=[tool], max_tool_calls=3).asked
    assert (asked.unbounded, asked.fees, asked.rounds) == ((words,), (), 4)
    assert (asked.web_searches, asked.file_searches) == searches
    for without in ({}, {"max_tool_calls": 0}, {"max_tool_calls": 1_001}):
        asked = read(tools=[tool], **without).asked
        assert asked.fees == asked.unbounded == (f"{words} without `max_tool_calls`",)
        assert (asked.web_searches, asked.file_searches, asked.rounds) == (0, 0, 1)


@pytest.mark.parametrize("kind", ["additional_tools", "tool_search_output"])
def test_a_search_that_stays_in_a_stored_input_is_not_bounded(kind: str) -> None:
    """The next request goes on from it by `previous_response_id`, and says nothing of its tools."""
    offers = [{"type": kind, "role": "developer", "tools": [{"type": "web_search"}]}]
    kept = read(input=offers, max_tool_calls=3).asked
    assert kept.fees == ("the provider's tool 'web_search' in an `input` that is stored",)
    assert set(kept.fees) < set(kept.unbounded)
    assert read(input=offers, max_tool_calls=3, store=False).asked.fees == ()
    assert read(tools=[{"type": "web_search"}], max_tool_calls=3).asked.fees == ()  # every request sends its own


@pytest.mark.parametrize(("said", "binds"), [(None, 3), (2, 2), (3, 3), (5, 3), (0, 3), (1_001, 3)])
def test_a_limit_of_the_model_binds_unless_the_request_has_a_smaller_one(said: int | None, binds: int) -> None:
    tools: list[dict[str, Any]] = [*OWN, {"type": "web_search"}]
    request = read(tools=tools, max_tool_calls=said).with_tool_calls(3)
    assert request.asked == msgspec.structs.replace(
        read(tools=tools, max_tool_calls=binds).asked, text_tokens=request.asked.text_tokens
    )
    sent = json.loads(rewrite(request, output_limit=9))
    assert (sent["max_tool_calls"], sent["tools"]) == (binds, tools)


def test_only_tools_that_a_limit_would_bound_are_limited() -> None:
    assert read(tools=[{"type": "web_search"}, *OWN]).asked.searching
    assert not read(tools=OWN).asked.searching
    assert not read(tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]).asked.searching
    both = read(tools=[{"type": "web_search"}, {"type": "image_generation"}]).with_tool_calls(3).asked
    assert both.fees == ("the provider's tool 'image_generation'",), "it stays without a bound"


def test_a_limit_on_calls_alone_bounds_nothing_and_costs_nothing() -> None:
    asked = read(max_tool_calls=3, tools=OWN).asked
    assert (asked.web_searches, asked.file_searches, asked.rounds) == (0, 0, 1)


# --- switches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVER_SIDE)
def test_what_a_provider_does_by_itself_has_no_bound(name: str) -> None:
    switch = SERVER_SIDE[name]
    for value in ({"a": 1}, True, ["x"]):
        asked = read(**{name: value}).asked
        assert asked.unbounded == (switch.words,)
        assert asked.fees == ((switch.words,) if switch.fees else ())
    for value in (None, False, []):
        assert read(**{name: value}).asked.unbounded == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"context_management": [{"type": "compaction", "compact_threshold": 1000}]},
        {"context_management": {}},
        {"input": [{"type": "compaction_trigger"}]},
        {"reasoning": {"mode": "pro"}},
        {"reasoning": {"mode": 7}},
        {"model": "a/m:online"},
    ],
)
def test_what_is_billed_beside_the_limits(fields: dict[str, Any]) -> None:
    asked = read(**fields).asked
    assert len(asked.fees) == 1
    assert asked.unbounded == asked.fees


def test_what_is_not() -> None:
    reasoning = {"effort": "xhigh", "summary": "auto", "mode": "standard", "context": "all_turns"}
    asked = read(context_management=[], reasoning=reasoning, truncation="auto", include=["x"], top_k=5).asked
    assert asked.fees == asked.unbounded == ()
    assert read(knowledge={"endpoint": "https://a.example"}).asked.unbounded


def test_a_cache_that_lasts_is_seen_wherever_it_is_asked_for() -> None:
    part = {"type": "input_text", "text": "x"}
    for ttl in ("12h", "1h", 7):
        mark = {"ttl": ttl}
        assert read(prompt_cache_options=mark).asked.long_cache_writes
        assert of({**part, "prompt_cache_breakpoint": mark}).long_cache_writes
        assert item(role="user", content="x", cache_control=mark).long_cache_writes
        assert read(tools=[{**OWN[0], "cache_control": mark}]).asked.long_cache_writes
    for mark in ({"ttl": "30m"}, {"mode": "explicit"}, {"mode": "explicit", "ttl": None}):
        assert not read(prompt_cache_options=mark).asked.long_cache_writes
        assert not of({**part, "prompt_cache_breakpoint": mark}).long_cache_writes
