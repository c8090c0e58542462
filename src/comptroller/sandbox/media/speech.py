"""OpenAI speech as a surface: a text in, noise out, billed by characters or by tokens."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping

from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.errors import invalid
from comptroller.sandbox.media.form import Given, events, read_given
from comptroller.sandbox.single import Job, Made
from comptroller.sandbox.tokens import count_tokens

_MOST_CHARACTERS = 4_096
_BYTES_PER_CHARACTER = 16


class SpeechSurface(OpenAISpoken):
    """POST /v1/audio/speech."""

    name = "speech"

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Read and check a request. Raises ApiError."""
        given = read_given(headers, body)
        if not 0 < len(given.text("input", "")) <= _MOST_CHARACTERS:
            raise invalid(f"'input' must have 1 to {_MOST_CHARACTERS} characters.", param="input")
        return Job(given.model.name, given.control, lambda factor: _made(given, factor))


def _made(given: Given, factor: float) -> Made:
    model, text = given.model, given.text("input", "")
    sound = b"ID3" + bytes(_BYTES_PER_CHARACTER * len(text))
    if model.character:
        return Made(sound, sound, model.characters(len(text)), content_type=b"audio/mpeg")
    heard, spoken = math.ceil(count_tokens(text) * factor), len(text)
    charge = model.tokens(text=heard, output=spoken)
    if given.text("stream_format", "audio") != "sse":
        return Made(sound, sound, charge, heard, spoken, b"audio/mpeg")
    piece = {"type": "speech.audio.delta", "audio": base64.b64encode(sound).decode()}
    usage = {"input_tokens": heard, "output_tokens": spoken, "total_tokens": heard + spoken}
    whole = events(piece, {"type": "speech.audio.done", "usage": usage})
    bare = events(piece, {"type": "speech.audio.done"})
    return Made(whole, bare, charge, heard, spoken, b"text/event-stream")
