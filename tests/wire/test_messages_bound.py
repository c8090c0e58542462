"""The bound of a request is never below what a provider can bill for its input."""

import base64
import json
from typing import Any

import pytest

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.anthropic_messages import MessagesRequest, read_answer, read_request
from comptroller.wire.anthropic_messages.blocks import BLOCKS
from comptroller.wire.anthropic_messages.count import read_count
from comptroller.wire.anthropic_messages.fields import SERVER_SIDE
from comptroller.wire.anthropic_messages.tool_kinds import CLIENT_TOOLS, TOOL_PROMPT_TOKENS
from tests.wire.recorded import Exchange
from tests.wire.test_messages_request import LEAST, REQUESTS, encode, read

ANSWERED = [exchange for exchange in REQUESTS if exchange.status == 200]
IMAGE = base64.b64encode(b"\x89PNG" * 1000).decode()
OWN = {"name": "get_weather", "description": "x", "input_schema": {"type": "object"}}
ELSEWHERE = "what an address in a part of unknown type points at"


def billed_input(exchange: Exchange) -> int:
    """An own reading of the last report."""
    if exchange.stream:
        events = [json.loads(line[6:]) for line in exchange.response.split(b"\n") if line.startswith(b"data: ")]
        usage = next(event["usage"] for event in reversed(events) if event.get("usage"))
    else:
        usage = json.loads(exchange.response)["usage"]
    return usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]


@pytest.mark.parametrize("exchange", ANSWERED, ids=lambda exchange: exchange.name)
def test_a_real_bill_is_within_the_bound(exchange: Exchange) -> None:
    """Held against what the provider billed, without any allowance for its template."""
    request = read_request(exchange.body())
    assert isinstance(request, MessagesRequest)
    if request.asked.unbounded:
        assert request.asked.fees, "it ran at the provider, and no price for that is known"
    else:
        assert request.asked.text_tokens >= billed_input(exchange)
        assert request.asked.fees == ()


def test_which_recordings_have_no_bound() -> None:
    """Those that run a tool at the provider, and no other."""
    for exchange in REQUESTS:
        request = read_request(exchange.body())
        assert isinstance(request, MessagesRequest)
        tools = {tool.get("type", "custom") for tool in exchange.request.get("tools", ())} - {"custom"}
        assert bool(request.asked.unbounded) == bool(tools or exchange.request.get("mcp_servers"))


def of(*blocks: Any, **fields: Any) -> Any:
    return read(messages=[{"role": "user", "content": list(blocks)}], **fields).asked


def test_every_byte_of_text_counts() -> None:
    body = encode({**LEAST, "system": "ü" * 50, "messages": [{"role": "user", "content": "é" * 100}]})
    request = read_request(body)
    assert isinstance(request, MessagesRequest)
    assert request.asked.text_tokens == len(body)


# --- images and documents -----------------------------------------------------------------------


def image(**source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


BASE64 = image(type="base64", media_type="image/png", data=IMAGE)
IMAGES = {
    "base64": BASE64,
    "cached": {**BASE64, "cache_control": {"type": "ephemeral"}, "transformations": {"oversized_image": "error"}},
    "url": image(type="url", url="https://a.example/x.png"),
    "file": image(type="file", file_id="file_1"),
}


@pytest.mark.parametrize("shape", IMAGES)
def test_images_are_counted_wherever_they_are(shape: str) -> None:
    block = IMAGES[shape]
    assert (of(block).images, of(block).unbounded) == (1, ())
    assert of({"type": "text", "text": "x"}, block, block).images == 2
    for nested in (
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}, block]},
        {"type": "document", "source": {"type": "content", "content": [block]}},
        {"type": "new_in_2027", "shows": {"deep": [block]}},
        {"type": "text", "text": "x", "new": block},
    ):
        assert (of(nested).images, of(nested).unbounded) == (1, ()), nested
    assert read(messages=[{"role": "user", "content": block}]).asked.images == 1
    assert read(system=[block]).asked.images == 1
    assert read(new_in_2027=[block]).asked.images == 1


@pytest.mark.parametrize("shape", ["base64", "cached"])
def test_an_image_is_not_text_too(shape: str) -> None:
    block = IMAGES[shape]
    empty = {**block, "source": {**block["source"], "data": ""}}
    assert of(block).text_tokens == of(empty).text_tokens
    nested = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    assert of(nested).text_tokens < len(IMAGE)


@pytest.mark.parametrize(
    "block",
    [
        {**BASE64, "type": "text"},
        {**BASE64, "type": "new"},
        {**BASE64, "text": "what else there is"},
        {**BASE64, "source": {**BASE64["source"], "type": "text"}},
    ],
)
def test_only_the_data_of_an_image_is_taken_for_an_image(block: Any) -> None:
    assert of(block).text_tokens > len(IMAGE)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"type": "image"}, "an image from elsewhere"),
        (image(), "an image from elsewhere"),
        (image(type=["base64"]), "an image from elsewhere"),
        (image(type="s3", uri="x"), "an image from elsewhere"),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A"}},
            "a document",
        ),
        ({"type": "document", "source": {"type": "url", "url": "https://a.example/x.pdf"}}, "a document"),
        ({"type": "document", "source": {"type": ["text"], "data": "x"}}, "a document"),
        ({"type": "document", "source": "x"}, "a document"),
        ({"type": "document"}, "a document"),
        ({"type": "text", "text": "x", "file_id": "file_1"}, "a file"),
        ({"type": "new", "x": {"file_id": "file_1"}}, "a file"),
        ({"type": "document", "source": {"type": "text", "data": "x", "file_id": "file_1"}}, "a file"),
        ({"type": "new", "x": {"y": ["https://a.example/x"]}}, ELSEWHERE),
        ({"type": "new", "x": " FILE:///etc"}, ELSEWHERE),
        ({"type": ["text"], "x": "http://a.example"}, ELSEWHERE),
        ({"type": "text", "text": "x", "source": {"type": "url", "url": "http://a.example"}}, ELSEWHERE),
        ("s3://bucket/x", ELSEWHERE),
    ],
)
def test_what_is_not_in_the_body_has_no_bound(block: Any, words: str) -> None:
    assert of(block).unbounded == (words,)
    assert of(block, block).unbounded == (words,)
    assert of({"type": "tool_result", "tool_use_id": "t", "content": [block]}).unbounded == (words,)
    assert of(block).fees == ()


def test_a_page_that_was_fetched_is_a_document() -> None:
    def fetched(source: Any) -> Any:
        page = {
            "type": "web_fetch_result",
            "url": "https://a.example",
            "content": {"type": "document", "source": source},
        }
        return of({"type": "web_fetch_tool_result", "tool_use_id": "t", "content": page})

    assert fetched({"type": "text", "media_type": "text/plain", "data": "x"}).unbounded == ()
    assert fetched({"type": "base64", "media_type": "application/pdf", "data": "A"}).unbounded == ("a document",)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": "https://a.example is only text", "cache_control": {"type": "ephemeral"}},
        {"type": "thinking", "thinking": "https://a.example", "signature": "A"},
        {"type": "redacted_thinking", "data": "A"},
        {"type": "tool_use", "id": "t", "name": "get", "input": {"url": "https://a.example", "file_id": "f"}},
        {"type": "tool_result", "tool_use_id": "t", "content": "https://a.example"},
        {
            "type": "search_result",
            "source": "https://a.example",
            "title": "x",
            "content": [{"type": "text", "text": ""}],
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "https://a.example"}},
        {"type": "document", "source": {"type": "content", "content": "https://a.example"}, "title": "x"},
        {"type": "web_search_tool_result", "tool_use_id": "t", "content": [{"url": "https://a.example"}]},
        {"type": "code_execution_tool_result", "tool_use_id": "t", "content": {"content": [{"file_id": "f"}]}},
        {"type": "advisor_tool_result", "tool_use_id": "t", "content": {"type": "advisor_result", "text": "x"}},
        {"type": "compaction", "content": "https://a.example", "encrypted_content": None, "tool_changes": []},
        {"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}, "trigger": {"url": "https://a.example"}},
        {"type": "browser_state", "tabs": [{"tab_id": 1, "url": "https://a.example"}]},
        {"type": "new", "words": "about https://a.example"},
    ],
    ids=lambda block: block["type"],
)
def test_text_is_text(block: Any) -> None:
    assert (of(block).unbounded, of(block).fees, of(block).images) == ((), (), 0)


def test_a_file_for_a_container() -> None:
    asked = of({"type": "container_upload", "file_id": "file_1"})
    assert asked.unbounded == asked.fees == ("a file in a container",)


@pytest.mark.parametrize("kind", BLOCKS)
def test_an_unknown_key_of_a_known_block_is_looked_through(kind: str) -> None:
    block = {"type": kind, "definition": OWN, "new_in_2027": {"at": "https://a.example"}}
    assert ELSEWHERE in of(block).unbounded


def test_sentences_that_can_be_cited_are_framed_one_by_one() -> None:
    """A document of 3,000 sentences of two bytes each: every one of them gets marks around it."""
    source = {"type": "text", "media_type": "text/plain", "data": "a." * 3_000}
    framed = {"type": "document", "source": source, "citations": {"enabled": True}}
    assert of(framed).text_tokens >= of({"type": "document", "source": source}).text_tokens + 3_000 * 10
    assert of(framed).unbounded == ()


def test_the_arguments_of_a_call_are_framed_one_by_one() -> None:
    def call(arguments: Any) -> int:
        return of({"type": "tool_use", "id": "t", "name": "f", "input": arguments}).text_tokens

    many = {f"a{number}": 1 for number in range(1_000)}
    assert call(many) >= call({}) + len(json.dumps(many, separators=(",", ":"))) + 1_000 * 10
    assert call([1] * 1_000) >= call({}) + 1_000 * 10


# --- tools --------------------------------------------------------------------------------------


def test_own_tools_count_for_more_than_their_bytes() -> None:
    body = encode({**LEAST, "tools": [OWN, {**OWN, "type": "custom"}, {**OWN, "type": None}]})
    request = read_request(body)
    assert isinstance(request, MessagesRequest)
    assert request.asked.text_tokens >= len(body) + TOOL_PROMPT_TOKENS + 3 * json.dumps(OWN, indent=4).count("\n")
    assert (request.asked.unbounded, request.asked.fees) == ((), ())


@pytest.mark.parametrize("kind", CLIENT_TOOLS)
def test_definitions_that_the_provider_keeps(kind: str) -> None:
    def tokens(*kinds: str) -> int:
        body = encode({**LEAST, "tools": [{"type": kind, "name": "x"} for kind in kinds]})
        request = read_request(body)
        assert isinstance(request, MessagesRequest)
        assert (request.asked.unbounded, request.asked.fees) == ((), ())
        return request.asked.text_tokens - len(body)

    assert tokens(kind) >= CLIENT_TOOLS[kind] + 804  # 804: the largest published prompt of tool use
    assert tokens(kind, kind) >= 2 * CLIENT_TOOLS[kind] + 804


PUBLISHED = {"bash_20250124": 325, "text_editor_20250728": 700, "computer_20250124": 735 + 499}
TOOLSETS = {"computer_toolset_20260801": 4_590, "browser_toolset_20260801": 6_670 + 880}


@pytest.mark.parametrize(("kind", "tokens"), [*PUBLISHED.items(), *TOOLSETS.items()])
def test_the_published_numbers(kind: str, tokens: int) -> None:
    assert CLIENT_TOOLS[kind] >= tokens


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (
            {"type": "web_search_20250305", "name": "web_search"},
            "the provider's tool 'web_search_20250305' without `max_uses`",
        ),
        ({"type": "web_fetch_20250910", "max_uses": 0}, "the provider's tool 'web_fetch_20250910' (at most 0 uses)"),
        (
            {"type": "web_search_20250305", "max_uses": 1_001},
            "the provider's tool 'web_search_20250305' (at most 1001 uses)",
        ),
        (
            {"type": "web_search_20260318", "name": "web_search", "max_uses": 5},
            "the provider's tool 'web_search_20260318' (at most 5 uses)",
        ),
        ({"type": "web_fetch_20260318", "max_uses": None}, "the provider's tool 'web_fetch_20260318'"),
        ({"type": "web_fetch_20260318", "max_uses": "5"}, "the provider's tool 'web_fetch_20260318'"),
        ({"type": "code_execution_20260521"}, "the provider's tool 'code_execution_20260521'"),
        ({"type": "tool_search_tool_bm25"}, "the provider's tool 'tool_search_tool_bm25'"),
        ({"type": "advisor_20260301", "model": "dear"}, "the provider's tool 'advisor_20260301'"),
        ({"type": "mcp_toolset", "mcp_server_name": "x"}, "the provider's tool 'mcp_toolset'"),
        ({"type": "bash_20990101"}, "the provider's tool 'bash_20990101'"),
        ({"type": ""}, "the provider's tool ''"),
    ],
)
def test_tools_of_the_provider(tool: dict[str, Any], words: str) -> None:
    asked = read(tools=[OWN, tool, tool]).asked
    assert asked.unbounded == asked.fees == (words,)
    inline = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool}}
    asked = read(messages=[{"role": "system", "content": [inline]}]).asked
    assert asked.unbounded == asked.fees == (words,)


SEARCH = {"type": "web_search_20250305", "name": "web_search"}
FETCH = {"type": "web_fetch_20250910", "name": "web_fetch"}


@pytest.mark.parametrize(
    ("tools", "searches", "rounds"),
    [
        ([SEARCH | {"max_uses": 3}], 3, 10),
        ([SEARCH | {"max_uses": 12}], 12, 13),
        ([FETCH | {"max_uses": 3}], 0, 10),
        ([SEARCH | {"max_uses": 9}, FETCH | {"max_uses": 9}], 9, 19),
    ],
)
def test_tools_whose_uses_are_limited_are_bounded(tools: Any, searches: int, rounds: int) -> None:
    """By the context window, once for each use and at least as often as the API goes on by itself."""
    asked = read(tools=[OWN, *tools]).asked
    assert asked.fees == ()
    assert len(asked.unbounded) == len(tools), "what they find is not in the body: the context window bounds it"
    assert (asked.web_searches, asked.rounds) == (searches, rounds)


def test_one_that_nothing_limits_leaves_all_of_them_without_a_bound() -> None:
    asked = read(tools=[SEARCH | {"max_uses": 3}, {"type": "code_execution_20260521"}]).asked
    assert asked.fees == ("the provider's tool 'code_execution_20260521'",)


@pytest.mark.parametrize(
    ("said", "left"), [({}, 4), ({"max_uses": 9}, 4), ({"max_uses": 2}, 2), ({"max_uses": None}, 4)]
)
def test_the_limit_of_a_models_entry_is_written_into_its_tools(said: Any, left: int) -> None:
    later = {"type": "web_search_20260318", "name": "web_search"}
    before = read(tools=[OWN, SEARCH | said, later])
    assert before.asked.searching
    limited = before.with_tool_calls(4)
    assert json.loads(bytes(limited.fields["tools"])) == [OWN, SEARCH | said | {"max_uses": left}, later]
    assert (limited is before) == (said == {"max_uses": 2}), "what binds already goes on as it came"


@pytest.mark.parametrize("exchange", ANSWERED, ids=lambda exchange: exchange.name)
def test_a_recorded_search_is_within_the_bound_of_its_uses(exchange: Exchange) -> None:
    tools = exchange.request.get("tools", ())
    if not any(tool.get("type") == SEARCH["type"] for tool in tools):
        return
    request = read_request(exchange.body())
    assert isinstance(request, MessagesRequest)
    limited = request.with_tool_calls(2).asked  # as often as any of them searched
    assert limited.fees == ()
    assert 200_000 * limited.rounds > billed_input(exchange)


def test_a_tool_that_is_found_is_shown_once_more() -> None:
    big = {"name": "big", "description": "x" * 5_000, "input_schema": {}, "defer_loading": True}
    reference = {"type": "tool_reference", "tool_name": "big"}

    def tokens(*found: Any) -> int:
        return of({"type": "tool_result", "tool_use_id": "t", "content": list(found)}, tools=[OWN, big]).text_tokens

    assert tokens(reference, reference) >= tokens() + 2 * 5_000
    assert tokens({**reference, "tool_name": "unknown"}) < tokens() + 100
    search = {"type": "tool_search_tool_search_result", "tool_references": [reference]}
    found = {"type": "tool_search_tool_result", "tool_use_id": "t", "content": search}
    assert of(found, tools=[OWN, big]).text_tokens >= tokens() + 5_000
    added = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "big"}}
    assert of(added, tools=[OWN, big]).text_tokens >= tokens() + 5_000


def test_a_tool_that_is_defined_in_the_messages() -> None:
    defined = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": OWN}}
    assert of(defined).text_tokens >= TOOL_PROMPT_TOKENS
    refusal = read_request(encode({**LEAST, "messages": [{"content": [{"type": "tool_definition"}]}]}))
    assert isinstance(refusal, Refusal)


# --- what a provider does by itself -------------------------------------------------------------


@pytest.mark.parametrize("name", SERVER_SIDE)
def test_what_a_provider_does_by_itself_has_no_bound(name: str) -> None:
    switch = SERVER_SIDE[name]
    for value in ({}, {"a": 1}, True, ["x"], "default"):
        asked = read(**{name: value}).asked
        assert asked.unbounded == (switch.words,)
        assert asked.fees == ((switch.words,) if switch.fees else ())
    for value in (None, False, []):
        assert read(**{name: value}).asked.unbounded == ()


CLEARS = [
    {"type": "clear_tool_uses_20250919", "trigger": {"value": 1}},
    {"type": "clear_thinking_20251015", "keep": "all"},
]


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        ({}, ()),
        ({"edits": None}, ()),
        ({"edits": []}, ()),
        ({"edits": CLEARS}, ()),  # they only leave things out; Claude Code sends them
        ({"edits": [*CLEARS, {"type": "compact_20260112"}]}, ("a compaction",)),
        ({"edits": [{"type": "new_in_2027"}]}, ("a compaction",)),
        ({"edits": [{"type": ["clear_thinking_20251015"]}]}, ("a compaction",)),
        ({"edits": {}}, ("a compaction",)),
        ({"edits": [], "new_in_2027": 1}, ("a compaction",)),
        (True, ("a compaction",)),
    ],
)
def test_an_edited_context(edited: Any, words: tuple[str, ...]) -> None:
    asked = read(context_management=edited).asked
    assert asked.unbounded == asked.fees == words


def test_a_conversation_that_the_provider_keeps() -> None:
    assert read(thread={"type": "create"}).asked.unbounded == ()
    for thread in ({"type": "continue", "previous_message_id": "m"}, {}, {"type": "create", "x": 1}, "x"):
        refused = read_request(json.dumps({**LEAST, "thread": thread}).encode())
        assert isinstance(refused, Refusal)
        assert (refused.code, refused.param) == ("object_unknown", "thread")


def names(asked: Asked) -> list[tuple[str, str, str | None, bool]]:
    use = asked.stored
    return [] if use is None else [(each.kind, each.id, each.param, each.context) for each in use.named]


FILE_1 = {"type": "file", "file_id": "file_1"}


@pytest.mark.parametrize(
    ("block", "context", "images", "unbounded"),
    [
        ({"type": "document", "source": FILE_1}, True, 0, ()),
        ({"type": "document", "source": FILE_1, "citations": {"enabled": True}}, True, 0, ("a document",)),
        ({"type": "image", "source": FILE_1}, False, 1, ()),
        ({"type": "container_upload", "file_id": "file_1"}, False, 0, ("a file in a container",)),
        ({"type": "new", "x": FILE_1}, False, 0, ("a file",)),
        ({"type": "document", "source": {"type": "new", "file_id": "file_1"}}, False, 0, ("a document",)),
    ],
)
def test_a_file_is_somebodys(block: Any, context: bool, images: int, unbounded: tuple[str, ...]) -> None:
    for where in (block, {"type": "tool_result", "tool_use_id": "t", "content": [block]}):
        asked = of(where)
        assert names(asked) == [("file", "file_1", "messages", context)]
        assert (asked.images, asked.unbounded) == (images, unbounded)
        counted = read_count(json.dumps({**LEAST, "messages": [{"role": "user", "content": [where]}]}).encode())
        assert not isinstance(counted, Refusal)
        assert names(counted.asked) == names(asked)
    echo = {"type": "tool_use", "id": "t", "name": "read", "input": FILE_1}
    assert names(of(echo)) == [], "the argument of a tool of the caller's"


@pytest.mark.parametrize(("container", "name"), [("cntr_1", "cntr_1"), ({"id": "cntr_1"}, "cntr_1"), (7, "")])
def test_a_container_is_somebodys(container: Any, name: str) -> None:
    assert names(read(container=container).asked) == [("container", name, "container", False)]
    assert names(read(container={"skills": []}).asked) == []


def test_an_unknown_field_that_points_elsewhere_has_no_bound() -> None:
    assert read(knowledge={"endpoint": "https://a.example"}).asked.unbounded == (ELSEWHERE,)
    assert read(attachments=[{"file_id": "f"}]).asked.unbounded == ("a file",)
    assert read(messages=[{"role": "user", "content": "x", "at": "https://a.example"}]).asked.unbounded == (ELSEWHERE,)
    known = {"metadata": {"user_id": "https://a.example"}, "diagnostics": {"previous_message_id": "m"}}
    schema = {"type": "json_schema", "schema": {"$schema": "https://a.example"}}
    assert read(**known, output_config={"format": schema}, stop_sequences=["https://a.example"]).asked.unbounded == ()


# --- the cache ----------------------------------------------------------------------------------

HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
MINUTES = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}
TEXT = {"type": "text", "text": "x"}
CACHED: list[Any] = [
    lambda mark: mark,
    lambda mark: {"system": [{**TEXT, **mark}]},
    lambda mark: {"tools": [{**OWN, **mark}]},
    lambda mark: {"tools": [{"type": "advisor_20260301", "caching": mark["cache_control"]}]},
    lambda mark: {"messages": [{"role": "user", "content": [{**TEXT, **mark}]}]},
    lambda mark: {"messages": [{"role": "user", "content": [{**BASE64, **mark}]}]},
    lambda mark: {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{**TEXT, **mark}]}]}]},
    lambda mark: {"new_in_2027": {"deep": [mark]}},
]


@pytest.mark.parametrize("where", CACHED)
def test_the_cache_of_an_hour_is_seen_wherever_it_is_asked_for(where: Any) -> None:
    assert read(**where(HOUR)).asked.long_cache_writes
    assert read(**where({"cache_control": {"type": "ephemeral", "ttl": ["1h"]}})).asked.long_cache_writes
    assert not read(**where(MINUTES)).asked.long_cache_writes
    assert not read(**where({"cache_control": {"type": "ephemeral"}})).asked.long_cache_writes
    assert not read(**where({"cache_control": None})).asked.long_cache_writes


def test_the_answers_of_the_recordings_are_read() -> None:
    """So that the bound above is held against something."""
    whole = [exchange for exchange in ANSWERED if not exchange.stream]
    assert len(whole) > 20
    for exchange in whole:
        reported = read_answer(exchange.response).reported
        assert reported is not None
        assert reported.usage.input_tokens >= billed_input(exchange)
