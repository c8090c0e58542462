"""What bounds a Gemini request: nobody bills more input than we said, and what has no bound is said to have none."""

import json
from typing import Any

import pytest

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import Named, StoredUse
from comptroller.wire.gemini import read_answer, read_request
from comptroller.wire.head import Head
from tests.wire.recorded import Exchange
from tests.wire.test_gemini_request import GEMINI, LEAST, SAID, read

ELSEWHERE = "what an address in a part of unknown type points at"


def part(**fields: Any) -> Any:
    return {"contents": [{"role": "user", "parts": [fields]}]}


def inline(kind: str, data: str = "A" * 400, **more: Any) -> Any:
    return part(inlineData={"mimeType": kind, "data": data}, **more)


# --- recordings ---------------------------------------------------------------------------------


def usage(exchange: Exchange) -> Any:
    text = exchange.response.decode()
    last = [line[6:] for line in text.splitlines() if line.startswith("data: ")][-1] if exchange.stream else text
    return json.loads(last)["usageMetadata"]


def asked_of(exchange: Exchange) -> Asked:
    found = read_request(exchange.body(), Head(exchange.model), stream=exchange.stream)
    assert not isinstance(found, Refusal)
    return found.asked


@pytest.mark.parametrize("exchange", GEMINI, ids=lambda exchange: exchange.name)
def test_the_text_of_a_recorded_request_bounds_what_was_billed_for_it(exchange: Exchange) -> None:
    asked, billed = asked_of(exchange), usage(exchange)
    if not asked.unbounded:
        assert asked.text_tokens >= billed["promptTokenCount"]
    if "toolUsePromptTokenCount" in billed:
        assert asked.fees


def test_there_are_bounded_and_unbounded_ones() -> None:
    assert 15 < sum(not asked_of(exchange).unbounded for exchange in GEMINI) < len(GEMINI)


def test_the_answers_of_the_recordings_are_read() -> None:
    for exchange in GEMINI:
        if not exchange.stream:
            found = read_answer(exchange.response).usage
            assert found is not None
            assert found.input_tokens >= usage(exchange)["promptTokenCount"]


# --- parts --------------------------------------------------------------------------------------


def test_an_image_is_bounded_by_its_own_formula() -> None:
    few, many = read(inline("image/png", "A" * 400)).asked, read(inline("image/png", "A" * 40_000)).asked
    assert (few.images, many.images) == (1, 1)
    assert few.text_tokens == many.text_tokens < 200
    assert read(part(inline_data={"mime_type": "IMAGE/JPEG; x=y", "data": "A" * 400})).asked.images == 1


@pytest.mark.parametrize("kind", ["audio/wav", "audio/mp3", "audio/mpeg"])
def test_sound_counts_its_bytes(kind: str) -> None:
    asked = read(inline(kind, "A" * 4_000)).asked
    assert (asked.audio_input, asked.unbounded) == (True, ())
    assert asked.text_tokens > 4_000


@pytest.mark.parametrize("kind", ["text/plain", "text/csv", "application/json"])
def test_text_in_base64_counts_its_bytes(kind: str) -> None:
    asked = read(inline(kind, "A" * 4_000)).asked
    assert (asked.images, asked.audio_input, asked.unbounded) == (0, False, ())
    assert asked.text_tokens > 4_000


@pytest.mark.parametrize(
    ("body", "words", "audio"),
    [
        (inline("audio/ogg"), "audio in this format", True),
        (inline("audio/pcm;rate=1"), "audio in this format", True),
        (inline("video/mp4"), "a video", True),
        (inline("application/pdf"), "a document", False),
        (inline("image/tiff"), "an image in this format", False),
        (inline(""), "a document", False),
        (part(inlineData={"data": "x"}), "a document", False),
        (part(fileData={"mimeType": "image/png", "fileUri": "https://x/files/a"}), "a file", False),
        (part(fileData={"mimeType": "video/mp4", "fileUri": "https://x/files/a"}), "a file", True),
        (part(file_data={"file_uri": "https://x.example"}), "a file", False),
        (inline("image/png", mediaResolution={"level": "X", "numTokens": 9}), "a medium of a size of its own", False),
        (part(functionResponse={"name": "f", "parts": [{"fileData": {"fileUri": "x"}}]}), "a file", False),
        (part(functionResponse={"name": "f", "newIn2027": {"fileData": {"fileUri": "x"}}}), "a file", False),
        (inline("image/png", newIn2027={"fileData": {"fileUri": "x"}}), "a file", False),
        (part(inlineData={"mimeType": "image/png", "data": "x", "uri": "gs://a"}), ELSEWHERE, False),
        (part(newIn2027={"deep": [{"fileData": {"fileUri": "x"}}]}), "a file", False),
        (part(newIn2027="https://a.example"), ELSEWHERE, False),
    ],
)
def test_parts_that_nothing_in_the_body_bounds(body: Any, words: str, audio: bool) -> None:
    asked = read(body).asked
    assert (asked.unbounded, asked.fees, asked.audio_input) == ((words,), (), audio)


@pytest.mark.parametrize(
    "body",
    [
        part(text="https://a.example"),
        part(functionCall={"name": "f", "args": {"url": "https://a.example", "fileData": 1}}),
        part(functionResponse={"name": "f", "response": {"url": "https://a.example"}}),
        part(text="x", thoughtSignature="https://a.example", thought=True),
        part(executableCode={"code": "x"}),
        {"contents": SAID, "generationConfig": {"_responseJsonSchema": {"$schema": "https://a.example"}}},
        {"contents": SAID[0]},
        {"contents": {"parts": {"text": "x"}}},
        {"contents": SAID, "systemInstruction": {"parts": {"text": "https://a.example"}}},
        {"contents": SAID, "labels": {"a": "https://a.example"}, "safetySettings": [], "store": True},
    ],
)
def test_texts_and_echoes_lead_nowhere(body: Any) -> None:
    assert (read(body).asked.unbounded, read(body).asked.fees) == ((), ())


def test_the_system_instruction_is_looked_through() -> None:
    hidden = {"parts": [{"fileData": {"fileUri": "x"}}]}
    assert read(systemInstruction=hidden).asked.unbounded == ("a file",)
    assert read(system_instruction=hidden).asked.unbounded == ("a file",)


# --- tools and switches -------------------------------------------------------------------------


def test_functions_of_the_caller_are_text() -> None:
    tools = [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}]
    asked = read(tools=tools).asked
    assert (asked.unbounded, asked.fees) == ((), ())
    assert asked.text_tokens > len(json.dumps({**LEAST, "tools": tools}, separators=(",", ":")))
    assert read(tools=tools[0]).asked.fees == ()


@pytest.mark.parametrize(
    "kind",
    [
        *("googleSearch", "googleSearchRetrieval", "codeExecution", "urlContext", "googleMaps", "fileSearch"),
        *("retrieval", "enterpriseWebSearch", "mcpServers", "newIn2027"),
    ],
)
def test_tools_of_the_provider_have_no_bound(kind: str) -> None:
    asked = read(tools=[{"functionDeclarations": []}, {kind: {}}]).asked
    assert asked.fees == asked.unbounded == (f"the provider's tool {kind!r}",)


def test_snake_case_names_a_tool_too() -> None:
    assert read(tools=[{"google_search": {}}]).asked.fees == ("the provider's tool 'googleSearch'",)
    assert read(tools=[{"google_search": None}]).asked.fees == ()


def test_computer_use_runs_at_the_caller() -> None:
    asked = read(tools=[{"computerUse": {"environment": "ENVIRONMENT_BROWSER"}}]).asked
    assert (asked.unbounded, asked.fees) == (("the definitions of computer use",), ())


@pytest.mark.parametrize("name", ["cachedContent", "cached_content"])
def test_a_cached_prompt_is_not_in_the_body(name: str) -> None:
    asked = read(**{name: "cachedContents/x"}).asked
    assert asked.stored == StoredUse((Named("x", "cached_content", "cachedContent"),))
    assert read(**{name: None}).asked.stored is None
    assert read(**{name: "projects/p/cachedContents/x"}).asked.stored == StoredUse(
        (Named("", "cached_content", "cachedContent"),)
    )


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("files/abc-1", "abc-1"),
        ("https://generativelanguage.googleapis.com/v1beta/files/abc-1", "abc-1"),
        ("http://127.0.0.1:8788/v1beta/files/abc-1", "abc-1"),
        ("https://generativelanguage.googleapis.com/v1beta/%66iles/abc-1", ""),
        ("https://GenerativeLanguage.googleapis.com/v1beta/files/abc-1?alt=media", ""),
        (" files/abc-1", ""),
    ],
)
def test_a_file_of_the_file_api_is_somebodys(uri: str, name: str) -> None:
    asked = read(**part(fileData={"fileUri": uri, "mimeType": "text/plain"})).asked
    assert (asked.stored, asked.unbounded) == (StoredUse((Named(name, "file", "contents"),)), ())
    sound = read(**part(file_data={"file_uri": uri, "mime_type": "audio/ogg"})).asked
    assert (sound.stored, sound.unbounded, sound.audio_input) == (asked.stored, ("a file",), True)


@pytest.mark.parametrize("uri", ["gs://bucket/files/x", "https://a.example/files/x", "https://youtu.be/x"])
def test_what_is_elsewhere_is_nobodys(uri: str) -> None:
    asked = read(**part(fileData={"fileUri": uri})).asked
    assert (asked.stored, asked.unbounded) == (None, ("a file",))


def test_a_store_that_is_searched_is_somebodys() -> None:
    asked = read(tools=[{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/x"]}}]).asked
    assert asked.stored == StoredUse((Named("fileSearchStores/x", "vector_store", "tools", False),))


@pytest.mark.parametrize("name", ["routingConfig", "model_selection_config"])
def test_another_model_has_other_prices(name: str) -> None:
    assert read(generationConfig={name: {"autoMode": {}}}).asked.fees == ("another model than the one named",)


def test_an_unknown_field_that_points_elsewhere_has_no_bound() -> None:
    assert read(knowledge={"endpoint": "https://a.example"}).asked.unbounded == (ELSEWHERE,)
    assert read(generationConfig={"knowledge": ["gs://a"]}).asked.unbounded == (ELSEWHERE,)
    assert read(knowledge={"size": 3}).asked.unbounded == ()
