"""Images and Audio: what bounds a request, what is refused, what goes upstream, and what an answer says was used."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.wire.head import Head
from comptroller.wire.multipart import Part, read_form
from comptroller.wire.openai_audio import OpenAISpeech, OpenAITranscription
from comptroller.wire.openai_chat import OpenAIChat
from comptroller.wire.openai_images import OpenAIImages
from tests.harness.forms import FORM_TYPE, form, wav

if TYPE_CHECKING:
    from comptroller.flow.dialect import Dialect

    fits: tuple[Dialect, ...] = (OpenAIImages(""), OpenAISpeech(), OpenAITranscription(""))  # for the type checker

IMAGES, EDITS, SPEECH = OpenAIImages("generations"), OpenAIImages("edits"), OpenAISpeech()
HEARING = OpenAITranscription("transcriptions")
FORM = Head(content_type=FORM_TYPE)


def read(dialect: Any, fields: dict[str, Any]) -> Any:
    """As a form where there is a file in it, else as JSON."""
    if any(
        isinstance(value, bytes | list) and value and isinstance(value[0], int | bytes) for value in fields.values()
    ):
        return dialect.read_request(form({"model": "m"} | fields), FORM)
    return dialect.read_request(json.dumps({"model": "m"} | fields).encode())


def asked(dialect: Any, **fields: Any) -> Asked:
    request = read(dialect, fields)
    assert not isinstance(request, Refusal), request
    assert request.asked.output_fixed
    assert not request.asked.stream
    found: Asked = request.asked
    return found


def test_images_are_bounded_by_how_many_are_made_and_given() -> None:
    found = asked(IMAGES, prompt="a hold", n=3, partial_images=0, quality="hd", size="1024x1792")
    assert (found.choices, found.pictures, found.images, found.variant) == (3, 3, 0, "hd-1024x1792")
    found = asked(EDITS, prompt="a hold", n=2, **{"image[]": [b"one", b"two"], "mask": b"three"})
    assert (found.choices, found.pictures, found.images, found.variant) == (2, 2, 3, "standard-1024x1024")
    assert found.text_tokens == len("m" + "a hold" + "2"), "files are images, and no text"
    found = asked(
        EDITS, prompt="x", images=[{"image_url": "data:image/png;base64,AAAA"}, {"image_url": "https://a.example"}]
    )
    assert found.images == 2
    assert asked(IMAGES, prompt="x", stream=True, partial_images=2).extra_output_tokens == 200


@pytest.mark.parametrize(
    ("dialect", "fields", "param"),
    [
        *((IMAGES, {"n": wrong}, "n") for wrong in (0, 129, "2", 1.5, True)),
        (IMAGES, {"n": 2, "stream": True}, "n"),
        (IMAGES, {"partial_images": 4}, "partial_images"),
        (IMAGES, {"stream": "yes"}, "stream"),
        (IMAGES, {"num_images": 2}, "num_images"),
        (IMAGES, {"N": 2}, "N"),
        (IMAGES, {"size": 7}, "size"),
        (IMAGES, {"prompt": ["x"]}, "prompt"),
        (EDITS, {"images": [{"file_id": 7}]}, "images"),
        (EDITS, {"image": "https://a.example"}, "image"),
        (EDITS, {"image": b"x", "n": "many"}, "n"),
        (EDITS, {"image": b"x", "n": "2", "stream": "true"}, "n"),
        (EDITS, {"image": b"x", "video": b"x"}, "video"),
        (EDITS, {"image": b"x", "mask": "text"}, "mask"),
        *((SPEECH, {"input": wrong}, "input") for wrong in ("", 7, None, ["x"], "x" * 1_000_001)),
        (SPEECH, {}, "input"),
        (HEARING, {"file": "text"}, "file"),
        (HEARING, {"sound": b"x"}, "file"),
        (HEARING, {"file": b"x", "more": b"x"}, "file"),
        (HEARING, {"file": b"x", "stream": "perhaps"}, "stream"),
        (HEARING, {"file": b"x", "model": ""}, "model"),
    ],
)
def test_a_field_that_is_not_what_it_must_be_is_named(dialect: Any, fields: dict[str, Any], param: str) -> None:
    refusal = read(dialect, fields)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.param) == ("request_invalid", param)


def test_a_text_that_is_spoken_is_counted_in_characters() -> None:
    assert asked(SPEECH, input="Gr\u00fc\u00dfe aus \u6771\u4eac").characters == 12


def test_sound_is_bounded_where_its_bytes_say_how_long_it_is() -> None:
    found = asked(HEARING, file=wav(30), prompt="x")
    assert (found.sound, found.audio_ms) == (True, 32_000)
    assert asked(HEARING, file=b"OggS").audio_ms is None
    assert asked(HEARING, file=wav(30), **{"known_speaker_references[]": "data:audio/wav;base64,AA"}).audio_ms is None


def test_a_form_goes_on_as_it_came_under_the_name_of_another_model() -> None:
    request = EDITS.read_request(form({"model": "m", "prompt": "x", "image[]": [b"\r\n--", b""]}), FORM)
    assert not isinstance(request, Refusal)
    parts = read_form(EDITS.rewrite(request, output_limit=0, model="n"), EDITS.content_type(request))
    file = {"filename": "image[].wav", "media_type": "application/octet-stream"}
    assert parts == [
        Part("model", b"n"),
        Part("prompt", b"x"),
        Part("image[]", b"\r\n--", **file),
        Part("image[]", b"", **file),
    ]
    assert EDITS.upstream_path(request, "n") == "/v1/images/edits"


def test_json_goes_on_as_it_came() -> None:
    body = b'{"model":"m","prompt":"x","of_tomorrow":[1e2]}'
    for dialect in (IMAGES, EDITS):
        request = dialect.read_request(body)
        assert not isinstance(request, Refusal)
        assert (dialect.rewrite(request, output_limit=0), dialect.content_type(request)) == (body, b"application/json")


def test_a_request_of_another_dialect_is_a_fault_of_ours() -> None:
    other = OpenAIChat().read_request(b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    assert not isinstance(other, Refusal)
    for dialect in (IMAGES, SPEECH, HEARING):
        with pytest.raises(TypeError):
            dialect.rewrite(other, output_limit=1)


TOKENS = {"input_tokens": 50, "output_tokens": 100, "total_tokens": 150}


@pytest.mark.parametrize(
    ("usage", "found"),
    [
        (None, Usage(0, 0, images=2)),
        (TOKENS, Usage(50, 100, image_output_tokens=100, images=2)),
        (
            TOKENS | {"input_tokens_details": {"text_tokens": 10, "image_tokens": 40}},
            Usage(50, 100, image_input_tokens=40, image_output_tokens=100, images=2),
        ),
        (
            TOKENS | {"output_tokens_details": {"text_tokens": 30, "image_tokens": 70}},
            Usage(50, 100, image_output_tokens=70, images=2),
        ),
        (TOKENS | {"output_tokens_details": {"text_tokens": 30}}, Usage(50, 100, image_output_tokens=70, images=2)),
        (
            TOKENS | {"input_tokens_details": {"image_tokens": 40, "cached_tokens": 20}},
            Usage(50, 100, 20, image_input_tokens=40, image_output_tokens=100, cached_image_tokens=10, images=2),
        ),
        ({"input_tokens": 1}, None),
        ({"input_tokens": -1, "output_tokens": 1}, None),
        ([], None),
    ],
)
def test_what_an_answer_with_images_says_was_used(usage: Any, found: Usage | None) -> None:
    request = read(IMAGES, {"prompt": "x"})
    body = {"created": 1, "data": [{"b64_json": "AA"}, {"url": "https://a.example"}]} | (
        {"usage": usage} if usage is not None else {}
    )
    answer = IMAGES.read_answer(request, json.dumps(body).encode())
    assert (answer.usage, answer.malformed) == (found, False)
    assert IMAGES.read_answer(request, b"<html>").malformed


@pytest.mark.parametrize("odd", [{}, {"data": None}, {"data": []}, {"images": [{"url": "https://a.example"}]}])
def test_an_answer_that_shows_no_image_says_nothing_of_what_it_cost(odd: dict[str, Any]) -> None:
    """Some servers answer in another shape; what was asked for may have been made all the same."""
    request = read(IMAGES, {"prompt": "x", "n": 3})
    assert IMAGES.read_answer(request, json.dumps(odd).encode()).usage is None
    answer = IMAGES.read_answer(request, json.dumps(odd | {"usage": {"input_tokens": 5, "output_tokens": 0}}).encode())
    assert answer.usage is not None
    assert answer.usage.images == 3


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"a text", None),
        (b"{a text in braces}", None),
        (b'{"text":"x"}', None),
        (b'{"text":"x","usage":{"type":"duration","seconds":38}}', Usage(0, 0, audio_ms=38_000)),
        (b'{"text":"x","usage":{"type":"duration","seconds":8.4705001}}', Usage(0, 0, audio_ms=8_471)),
        (b'{"text":"x","duration":"8.47"}', Usage(0, 0, audio_ms=8_470)),
        (b'{"text":"x","duration":8.47}', Usage(0, 0, audio_ms=8_470)),
        (b'{"text":"x","duration":9,"usage":{"type":"duration","seconds":38}}', Usage(0, 0, audio_ms=38_000)),
        *(
            (b'{"usage":{"type":"duration","seconds":%b}}' % wrong, None)
            for wrong in (b"-1", b"true", b'"x"', b"1e99", b"null")
        ),
        (b'{"usage":{"type":"tokens","input_tokens":9,"output_tokens":2}}', Usage(9, 2, audio_input_tokens=9)),
        (
            b'{"usage":{"type":"tokens","input_tokens":9,"output_tokens":2,"input_token_details":{"audio_tokens":5}}}',
            Usage(9, 2, audio_input_tokens=5),
        ),
        (b'{"usage":{"type":"tokens","input_tokens":9}}', None),
    ],
)
def test_what_an_answer_about_sound_says_was_used(body: bytes, found: Usage | None) -> None:
    answer = HEARING.read_answer(read(HEARING, {"file": b"x"}), body)
    assert (answer.usage, answer.malformed) == (found, False)


STREAMS: list[tuple[Any, dict[str, Any], list[Any], Usage | None]] = [
    (
        IMAGES,
        {"prompt": "x"},
        [
            {"type": "image_generation.partial_image", "b64_json": "AA"},
            {"type": "image_generation.completed", "usage": TOKENS},
        ],
        Usage(50, 100, image_output_tokens=100, images=1),
    ),
    (
        SPEECH,
        {"input": "four"},
        [{"type": "speech.audio.delta", "audio": "AA"}, {"type": "speech.audio.done", "usage": TOKENS}],
        Usage(50, 100, audio_output_tokens=100, characters=4),
    ),
    (
        HEARING,
        {"file": b"x"},
        [
            {"type": "transcript.text.delta", "delta": "x"},
            {"type": "transcript.text.done", "usage": {"type": "duration", "seconds": 1.5}},
        ],
        Usage(0, 0, audio_ms=1_500),
    ),
    (HEARING, {"file": b"x"}, [{"type": "transcript.text.done", "text": "x"}], None),
]


@pytest.mark.parametrize(("dialect", "fields", "events", "found"), STREAMS)
def test_a_stream_is_metered_at_every_split(dialect: Any, fields: Any, events: Any, found: Usage | None) -> None:
    whole = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    request = read(dialect, fields)
    for split in range(len(whole) + 1):
        meter = dialect.stream_meter(request)
        assert meter.feed(whole[:split]) + meter.feed(whole[split:]) + meter.finish() == whole
        assert (meter.usage, meter.usage_final, meter.done) == (found, found is not None, True)
        assert (meter.error, meter.malformed) == (False, False)


def test_a_stream_that_fails_or_breaks_off_says_so() -> None:
    request = read(IMAGES, {"prompt": "x"})
    meter = IMAGES.stream_meter(request)
    meter.feed(b'event: error\ndata: {"type":"error","error":{"message":"x"}}\n\n')
    assert (meter.error, meter.done) == (True, False)
    meter = IMAGES.stream_meter(request)
    meter.feed(b'data: {"type":"image_generation.partial_image"}\n\ndata: {"type":"image_gen')
    assert meter.finish()
    assert (meter.error, meter.done, meter.malformed, meter.usage) == (False, False, False, None)
    meter = IMAGES.stream_meter(request)
    meter.feed(b"data: no JSON\n\n")
    assert meter.malformed
