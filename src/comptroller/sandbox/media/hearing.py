"""OpenAI transcriptions and translations as a surface: sound in, a text about its length out."""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Mapping
from typing import Any

import msgspec

from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.errors import invalid
from comptroller.sandbox.media.form import Given, events, read_given
from comptroller.sandbox.single import Job, Made
from comptroller.sandbox.tokens import count_tokens

_TOKENS_PER_S = 10
_BYTES_PER_S = 4_000  # of what is no WAV file


class HearingSurface(OpenAISpoken):
    """POST /v1/audio/transcriptions and /v1/audio/translations."""

    def __init__(self, act: str) -> None:
        self.name = act

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Read and check a form. Raises ApiError."""
        given = read_given(headers, body)
        if len(given.files.get("file", ())) != 1:
            raise invalid("Missing required parameter: 'file'.", param="file")
        return Job(given.model.name, given.control, lambda factor: _made(given, factor))


def _made(given: Given, factor: float) -> Made:
    model, seconds = given.model, math.ceil(_seconds(given.files["file"][0]) * factor)
    text = f"There are {seconds} seconds of sound."
    answer: dict[str, Any] = {"text": text}
    if model.second:
        charge, heard, said = model.second * seconds, 0, 0
        usage: dict[str, Any] = {"type": "duration", "seconds": seconds}
    else:
        sound, prompt = seconds * _TOKENS_PER_S, count_tokens(given.text("prompt", ""))
        heard, said = sound + prompt, count_tokens(text)
        charge = model.tokens(text=prompt, audio=sound, output=said)
        details = {"audio_tokens": sound, "text_tokens": prompt}
        usage = {"type": "tokens", "input_tokens": heard, "input_token_details": details, "output_tokens": said}
        usage["total_tokens"] = heard + said
    if given.text("response_format", "json") in {"text", "srt", "vtt"}:
        return Made(text.encode(), text.encode(), charge, heard, said, b"text/plain; charset=utf-8")
    if given.switch("stream"):
        pieces = [{"type": "transcript.text.delta", "delta": text}]
        last = {"type": "transcript.text.done", "text": text}
        return Made(
            events(*pieces, last | {"usage": usage}), events(*pieces, last), charge, heard, said, b"text/event-stream"
        )
    return Made(msgspec.json.encode(answer | {"usage": usage}), msgspec.json.encode(answer), charge, heard, said)


def _seconds(sound: bytes) -> float:
    try:
        with wave.open(io.BytesIO(sound)) as read:
            return read.getnframes() / read.getframerate()
    except (wave.Error, EOFError):
        return len(sound) / _BYTES_PER_S
