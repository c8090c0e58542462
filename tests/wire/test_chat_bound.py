"""The bound of a request is never below what a provider can bill for its input."""

import base64
import json
from typing import Any

import pytest

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import Named, StoredUse
from comptroller.wire.openai_chat import ChatRequest, read_answer, read_request
from comptroller.wire.openai_chat.fields import SERVER_SIDE
from tests.wire.recorded import CHAT, Exchange
from tests.wire.test_chat_request import encode, read

IMAGE = "data:image/png;base64," + base64.b64encode(b"\x89PNG" * 1000).decode()
ANSWERED = [exchange for exchange in CHAT if exchange.request is not None and exchange.status == 200]


def prompt_tokens(exchange: Exchange) -> int:
    if not exchange.stream:
        usage = read_answer(exchange.response).usage
        assert usage is not None
        return usage.input_tokens
    events = [line[6:] for line in exchange.response.split(b"\n") if line.startswith(b"data: {")]
    return json.loads(events[-1])["usage"]["prompt_tokens"]


@pytest.mark.parametrize("exchange", ANSWERED, ids=lambda exchange: exchange.name)
def test_a_real_bill_is_within_the_bound(exchange: Exchange) -> None:
    """Held against what the provider billed, without any allowance for its template or for images."""
    request = read_request(exchange.body())
    assert isinstance(request, ChatRequest)
    assert request.asked.text_tokens >= prompt_tokens(exchange)
    assert request.asked.fees == ()


def of(*parts: Any, **fields: Any) -> Any:
    return read(messages=[{"role": "user", "content": list(parts)}], **fields).asked


def test_every_byte_of_text_counts() -> None:
    body = encode({"model": "m", "messages": [{"role": "user", "content": "é" * 100}]})
    request = read_request(body)
    assert isinstance(request, ChatRequest)
    assert request.asked.text_tokens == len(body)


def test_tools_count_for_more_than_their_bytes() -> None:
    """Templates print them with spaces and line breaks that are not in the body."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"enum": [1] * 100}}}]
    body = encode({"model": "m", "messages": [{"role": "user", "content": ""}], "tools": tools})
    request = read_request(body)
    assert isinstance(request, ChatRequest)
    printed = json.dumps(tools, indent=4)
    assert request.asked.text_tokens >= len(body) + printed.count("\n")


IMAGES: dict[str, Any] = {
    "url": {"type": "image_url", "image_url": {"url": "https://a.example/x.png"}},
    "data": {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
    "address alone": {"type": "image_url", "image_url": "https://a.example/x.png"},
    "responses": {"type": "input_image", "image_url": IMAGE},
    "no type": {"image_url": {"url": IMAGE}},
    "another type": {"type": "text", "text": "x", "image_url": {"url": IMAGE}},
    "messages": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
    "hub": {"type": "image", "image": "AAAA"},
    "cached": {"type": "image_url", "image_url": None, "uuid": "u"},
    "nothing": {"type": "image_url"},
}


@pytest.mark.parametrize("shape", IMAGES)
def test_images_are_counted_wherever_they_are(shape: str) -> None:
    part = IMAGES[shape]
    assert of(part).images >= 1
    assert of({"type": "text", "text": "x"}, part, part).images == 2 * of(part).images
    for message in (
        {"role": "tool", "tool_call_id": "c", "content": [part]},
        {"role": "user", "content": part},
        {"role": "user", "content": [{"type": "tool_result", "content": [part]}]},
        {"role": "user", "content": "x", "attachments": [part]},
    ):
        assert read(messages=[message]).asked.images == of(part).images, message
    assert not of(part).unbounded


def test_an_image_in_an_answer_that_comes_back_counts() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "annotations": [{"type": "image_url", "image_url": {"url": IMAGE}}],
    }
    assert read(messages=[message]).asked.images == 1


def test_an_image_is_not_text_too() -> None:
    with_image, without = of(IMAGES["data"]), of({**IMAGES["data"], "image_url": {"url": "", "detail": "low"}})
    assert with_image.text_tokens == without.text_tokens
    assert (with_image.images, without.images) == (1, 1)


def test_only_data_of_images_is_taken_for_an_image() -> None:
    pdf = {"type": "image_url", "image_url": {"url": "data:application/pdf;base64," + "A" * 1000}}
    assert of(pdf).unbounded == ("a file",)
    assert of(pdf).text_tokens > 1000
    assert of({"type": "image_url", "image_url": {"url": "file:///x.png"}}).unbounded == ("an image from elsewhere",)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "x"}}, "a file"),
        ({"type": "input_file", "file_url": "https://a.example/x.pdf"}, "a file"),
        ({"type": "text", "text": "x", "file": {"file_id": "f-1"}}, "a file"),
        ({"type": "document_url", "document_url": "https://a.example/x.pdf"}, "a file"),
        ({"type": "video_url", "video_url": {"url": "https://a.example/x.mp4"}}, "a video"),
        ({"type": "audio_url", "audio_url": {"url": "https://a.example/x.mp3"}}, "audio that is not in the request"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "opus"}}, "audio in this format"),
        ({"type": "new", "x": {"y": ["https://a.example/x"]}}, "what an address in a part of unknown type points at"),
        ({"type": "new", "x": " FILE:///etc"}, "what an address in a part of unknown type points at"),
        ({"type": "new", "x": "data:video/mp4;base64,AAAA"}, "what an address in a part of unknown type points at"),
        ({"type": ["text"], "x": "http://a.example"}, "what an address in a part of unknown type points at"),
    ],
)
def test_what_is_not_in_the_body_has_no_bound(part: Any, words: str) -> None:
    assert of(part).unbounded == (words,)
    assert of(part, part).unbounded == (words,)


@pytest.mark.parametrize(
    ("part", "context", "images", "unbounded"),
    [
        ({"type": "file", "file": {"file_id": "f-1"}}, True, 0, ()),
        ({"type": "input_file", "file_id": "f-1"}, True, 0, ()),
        ({"type": "input_image", "file_id": "f-1", "detail": "low"}, False, 1, ()),
        ({"type": "file", "file": {"file_id": "f-1", "file_data": "AAAA"}}, True, 0, ("a file",)),
        ({"type": "new", "x": [{"file_id": "f-1"}]}, True, 0, ("a file",)),
        ({"type": "text", "text": "x", "file": {"file_id": "f-1"}}, True, 0, ("a file",)),
    ],
)
def test_a_file_is_somebodys(part: Any, context: bool, images: int, unbounded: tuple[str, ...]) -> None:
    asked = of(part)
    assert asked.stored == StoredUse((Named("f-1", "file", "messages", context),))
    assert (asked.images, asked.unbounded) == (images, unbounded)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "https://a.example is only text"},
        {"type": "refusal", "refusal": "no"},
        {"type": "new", "text": "https://a.example"},
        {"type": "thinking", "thinking": [{"type": "text", "text": "https://a.example"}]},
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
    ],
)
def test_text_is_text(part: Any) -> None:
    assert (of(part).unbounded, of(part).images, of(part).audio_input) == ((), 0, False)


def test_addresses_in_tool_calls_are_text() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "get", "arguments": {"url": "https://a.example"}}}]
    annotations = [{"type": "url_citation", "url_citation": {"url": "https://a.example"}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls, "annotations": annotations}
    assert read(messages=[message]).asked.unbounded == ()


def test_audio() -> None:
    heard = of({"type": "input_audio", "input_audio": {"data": "A" * 1000, "format": "wav"}})
    assert (heard.audio_input, heard.unbounded) == (True, ())
    assert heard.text_tokens > 1000
    assert read(audio={"voice": "x", "format": "mp3"}).asked.audio_output
    assert read(modalities=["text", "audio"]).asked.audio_output
    assert not read(modalities=["text"]).asked.audio_output
    spoken = read(messages=[{"role": "assistant", "audio": {"id": "audio_1"}}, {"role": "user", "content": "x"}])
    assert (spoken.asked.unbounded, spoken.asked.audio_input) == (("audio of an earlier answer",), True)
    silent = read(messages=[{"role": "assistant", "content": "x", "audio": None}]).asked
    assert (silent.unbounded, silent.audio_input) == ((), False)


@pytest.mark.parametrize(
    ("part", "audio"),
    [
        ({"type": "video_url", "video_url": {"url": "https://a.example/x.mp4"}}, True),
        ({"type": "input_video", "input_video": "x"}, True),
        ({"type": "text", "text": "x", "video": "https://a.example/x.mp4"}, True),
        ({"type": "audio_url", "audio_url": {"url": "https://a.example/x.mp3"}}, True),
        ({"type": "image_url", "image_url": {"url": "data:video/mp4;base64,AAAA"}}, True),
        ({"type": "file", "file": {"file_data": " Data:Audio/mpeg;base64,AAAA"}}, True),
        ({"type": "file", "file": {"file_id": "https://a.example/x", "format": "video/mp4"}}, True),
        ({"type": "media", "mime_type": "audio/mpeg", "data": "AAAA"}, True),
        ({"type": "input_file", "file_data": "data:video/mp4;base64,AAAA"}, True),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}, False),
        ({"type": "media", "mime_type": "application/pdf", "data": "AAAA"}, False),
    ],
)
def test_sound_is_priced_as_sound_wherever_it_is(part: Any, audio: bool) -> None:
    assert of(part).unbounded
    assert of(part).audio_input == audio


def test_output_in_a_form_that_has_no_price() -> None:
    assert read(modalities=["text", "image"]).asked.fees == ("output that is neither text nor audio",)


def test_a_prediction_is_paid_even_where_it_was_wrong() -> None:
    assert read(prediction={"type": "content", "content": "é" * 50}).asked.extra_output_tokens >= 100
    parts = [{"type": "text", "text": "x" * 100}]
    assert read(prediction={"type": "content", "content": parts}).asked.extra_output_tokens >= 100


@pytest.mark.parametrize("name", SERVER_SIDE)
def test_what_a_provider_does_by_itself_has_no_bound(name: str) -> None:
    switch = SERVER_SIDE[name]
    for value in ({}, {"a": 1}, True, ["x"]):
        asked = read(**{name: value}).asked
        assert asked.unbounded == (switch.words,)
        assert asked.fees == ((switch.words,) if switch.fees else ())
    for value in (None, False, []):
        assert read(**{name: value}).asked.unbounded == ()


@pytest.mark.parametrize("name", ["provider", "route", "google", "thinking_budget", "use_beam_search"])
def test_switches_of_resellers(name: str) -> None:
    assert name in SERVER_SIDE
    assert SERVER_SIDE[name].fees == (name != "google")


def test_a_model_name_that_turns_a_web_search_on() -> None:
    for model in ("a/m:online", "a/m:Online", "a/m:nitro:online", "a/m:online:nitro"):
        asked = read(model=model).asked
        assert asked.unbounded == asked.fees == ("web search",)
        assert read(model=model, plugins=[{"id": "web"}]).asked.fees == ("plugins", "web search")
    for model in ("online", "a/online", "a/m:onlineish", "m-online"):
        assert read(model=model).asked.fees == ()


def test_tools_of_the_provider() -> None:
    own = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {}}, {"function": {}}]
    assert read(tools=own).asked.unbounded == ()
    asked = read(tools=[*own, {"type": "web_search"}, {"type": "builtin_function"}, {"type": "web_search"}]).asked
    assert (
        asked.unbounded == asked.fees == ("the provider's tool 'web_search'", "the provider's tool 'builtin_function'")
    )


def test_an_unknown_field_that_points_elsewhere_has_no_bound() -> None:
    assert read(knowledge={"endpoint": "https://a.example"}).asked.unbounded
    assert read(reasoning={"effort": "low"}, top_k=5, thinking={"type": "enabled"}).asked.unbounded == ()
    assert read(response_format={"$schema": "https://a.example"}, user="https://a.example").asked.unbounded == ()


def test_a_bad_request_has_no_bound_to_ask_for() -> None:
    assert isinstance(read_request(b"{}"), Refusal)


# --- the cache ----------------------------------------------------------------------------------


def user(*parts: Any) -> Any:
    return {"messages": [{"role": "user", "content": list(parts)}]}


TEXT = {"type": "text", "text": "x"}
OWN = {"type": "function", "function": {"name": "f"}}
MARKED: list[Any] = [
    lambda ttl: {"prompt_cache_options": ttl},
    lambda ttl: {"cache_control": ttl},
    lambda ttl: user({**TEXT, "prompt_cache_breakpoint": ttl}),
    lambda ttl: user({**TEXT, "cache_control": ttl}),
    lambda ttl: user({**IMAGES["data"], "cache_control": ttl}),
    lambda ttl: user({"type": "new", "deep": {"prompt_cache_breakpoint": ttl}}),
    lambda ttl: {"messages": [{"role": "system", "content": "x", "cache_control": ttl}]},
    lambda ttl: {"tools": [{**OWN, "cache_control": ttl}]},
    lambda ttl: {"tools": [{"type": "function", "function": {"name": "f", "cache_control": ttl}}]},
]


@pytest.mark.parametrize("where", MARKED)
def test_a_cache_that_lasts_is_seen_wherever_it_is_asked_for(where: Any) -> None:
    assert read(**where({"ttl": "12h"})).asked.long_cache_writes
    assert read(**where({"type": "ephemeral", "ttl": "1h"})).asked.long_cache_writes
    for short in ({"ttl": "30m"}, {"type": "ephemeral", "ttl": "5m"}, {"type": "ephemeral"}, {"ttl": None}, None):
        assert not read(**where(short)).asked.long_cache_writes, short
