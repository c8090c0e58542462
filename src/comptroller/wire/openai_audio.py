"""OpenAI Audio as dialects: POST /v1/audio/speech, /transcriptions and /translations.

What is spoken is billed by its characters, or by tokens; what is heard by its length, or by tokens. Which of them it is
the price book knows: both are counted here. Field meanings: the OpenAI API reference.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.usage import Usage
from comptroller.wire.body import is_object
from comptroller.wire.checks import Invalid, expected, model_name
from comptroller.wire.done_stream import DoneStream
from comptroller.wire.openai_chat.answer import Answer
from comptroller.wire.openai_chat.contents import Contents
from comptroller.wire.openai_form import Fields, FormSurface
from comptroller.wire.openai_surface import AskedRequest, Body, OpenAISurface, field_names, read_outside
from comptroller.wire.reported import MOST_TOKENS, Count
from comptroller.wire.sound import most_ms

MOST_CHARACTERS = 1_000_000
_MOST_SECONDS = Decimal(10**6)
_SPEECH_FIELDS = field_names("model", "input", "voice", "instructions", "response_format", "speed", "stream_format")
_HEARD_FIELDS = field_names(
    *("model", "file", "language", "prompt", "response_format", "temperature", "timestamp_granularities"),
    *("include", "stream", "chunking_strategy", "known_speaker_names", "known_speaker_references"),
)
_SPEECH_ENDS, _HEARD_ENDS = frozenset({"speech.audio.done"}), frozenset({"transcript.text.done"})


class OpenAISpeech(OpenAISurface):
    """The dialect of POST /v1/audio/speech."""

    name = "openai_speech"
    path = "/v1/audio/speech"

    def asked(self, body: Body) -> Asked:
        """How many characters are spoken."""
        return _spoken(body)

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """Sound says nothing of what was used: the characters are known from the request."""
        return Answer(Usage(0, 0, characters=request.asked.characters))

    def stream_meter(self, request: AskedRequest) -> DoneStream:
        """See done_stream.py."""
        characters = request.asked.characters
        return DoneStream(_SPEECH_ENDS, lambda reported: _spoken_usage(reported, characters))


class OpenAITranscription(FormSurface):
    """The dialect of POST /v1/audio/transcriptions or /v1/audio/translations."""

    def __init__(self, act: str) -> None:
        """`act`: transcriptions or translations."""
        self.name = f"openai_{act}"
        self.path = f"/v1/audio/{act}"

    def asked_in(self, fields: Fields) -> Asked:
        """How long the sound can be."""
        return _heard(fields)

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """What it says was used, or how long it says that the sound is. Texts and subtitles say neither."""
        if not body.lstrip().startswith(b"{"):
            return Answer()
        try:
            answer = _HEARD.decode(body)
        except (ValueError, RecursionError):
            return Answer()  # a text may begin so
        if answer.usage is None:
            return Answer(_timed(answer.duration))
        usage = _heard_usage(answer.usage)
        return Answer(usage, usage_malformed=usage is None)

    def stream_meter(self, request: AskedRequest) -> DoneStream:
        """See done_stream.py."""
        return DoneStream(_HEARD_ENDS, _heard_usage)


class _Heard(msgspec.Struct, gc=False):
    usage: Any = None
    duration: Any = None


class _Details(msgspec.Struct):
    audio_tokens: Count | None = None
    text_tokens: Count | None = None


class _Tokens(msgspec.Struct):
    input_tokens: Count
    output_tokens: Count
    input_token_details: _Details | None = None


_HEARD = msgspec.json.Decoder(_Heard, float_hook=Decimal)


def _spoken(body: Body) -> Asked:
    request, contents = body.request, Contents()
    outside = read_outside(request, _SPEECH_FIELDS, contents)
    text = request.get("input")
    if not isinstance(text, str) or not 0 < len(text) <= MOST_CHARACTERS:
        raise expected(request, "input", f"a text of 1 to {MOST_CHARACTERS} characters")
    return Asked(
        model=model_name(request),
        stream=False,  # its pieces say nothing of what they cost
        text_tokens=body.size,
        unbounded=outside.unbounded,
        fees=outside.fees,
        output_fixed=True,
        characters=len(text),
        sound_back=True,
    )


def _heard(fields: Fields) -> Asked:
    values, contents = fields.values, Contents()
    if fields.parts is None:
        raise Invalid("Sound is sent as a form (multipart/form-data) with a `file`.", "file")
    outside = read_outside(values, _HEARD_FIELDS, contents)
    files = [part for part in fields.files if part.name == "file"]
    if len(files) != 1 or len(fields.files) != 1:
        raise Invalid("The form must have one file, named `file`.", "file")
    fields.flag("stream")
    beside = values.get("known_speaker_references")  # pieces of sound as well, in text
    return Asked(
        model=model_name(values),
        stream=False,  # its output has no limit that could be written, so it is held in full
        text_tokens=fields.text_bytes,
        unbounded=outside.unbounded,
        fees=outside.fees,
        output_fixed=True,
        sound=True,
        audio_ms=most_ms(files[0].data) if beside is None else None,
    )


def _spoken_usage(reported: Any, characters: int) -> Usage | None:
    try:
        usage = msgspec.convert(reported, _Tokens)
    except (ValueError, RecursionError):
        return None
    made = usage.output_tokens
    return Usage(usage.input_tokens, made, audio_output_tokens=made, characters=characters)


def _heard_usage(reported: Any) -> Usage | None:
    """Of tokens, or of seconds; None if it is neither, or what cannot be."""
    if is_object(reported) and reported.get("type") == "duration":
        return _timed(reported.get("seconds"))
    try:
        usage = msgspec.convert(reported, _Tokens)
    except (ValueError, RecursionError):
        return None
    details = usage.input_token_details
    heard = details.audio_tokens if details is not None and details.audio_tokens is not None else usage.input_tokens
    return Usage(usage.input_tokens, usage.output_tokens, audio_input_tokens=min(heard, usage.input_tokens))


def _timed(seconds: Any) -> Usage | None:
    """A length in seconds, rounded up to a millisecond."""
    if isinstance(seconds, str) and len(seconds) <= 20 and seconds.replace(".", "", 1).isdigit():
        seconds = Decimal(seconds)  # as some servers write it
    if isinstance(seconds, bool) or not isinstance(seconds, int | Decimal) or not 0 <= seconds <= _MOST_SECONDS:
        return None
    length_ms = (Decimal(seconds) * 1_000).to_integral_value(ROUND_CEILING)
    return Usage(0, 0, audio_ms=min(MOST_TOKENS, int(length_ms)))
