"""What contents hold beside text, and what they can make the provider read that is not in the body.

Everything here errs to the dear side: a part that we do not know counts all its bytes as text, and one that
points at something outside of the body has no bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from comptroller.core.work.stored import FILE, Named
from comptroller.wire.addresses import is_address
from comptroller.wire.body import is_array, is_object
from comptroller.wire.checks import punctuation
from comptroller.wire.gemini.names import Names

CONTENT = Names({"role", "parts"})
PART = Names(
    {
        *("text", "thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution"),
        *("inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"),
        *("toolCall", "toolResponse"),
    }
)
_BLOB = Names({"mimeType", "data", "displayName"})
_FILE = Names({"mimeType", "fileUri", "displayName"})
RESPONSE = Names({"id", "name", "response", "parts", "willContinue", "scheduling"})
_RESOLUTION = Names({"level", "numTokens"})

# Text, numbers, or an echo of an earlier answer: nobody fetches what they may name.
_PLAIN_PARTS = frozenset(
    {
        *("text", "thought", "thoughtSignature", "partMetadata", "videoMetadata", "executableCode"),
        *("codeExecutionResult", "toolCall", "toolResponse"),
    }
)

_IMAGES = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp", "image/heic", "image/heif"})
# Low bit rates of other formats make hours of sound out of few bytes.
_AUDIO = frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/mp3", "audio/mpeg"})
_TEXTS = frozenset({"application/json", "application/xml", "application/x-javascript", "application/x-python"})
_STORED_FILE = re.compile(r"(?:https?://[^/?#]+/v1(?:alpha|beta)?/)?files/([A-Za-z0-9_-]{1,200})", re.ASCII)
_ENCODER = msgspec.json.Encoder()


class Contents:
    """What was found. `unbounded` are words for people, in the order of the request, each once.

    Raises Invalid where a name is not clear.
    """

    def __init__(self) -> None:
        self.images = 0
        self.image_bytes = 0  # of image data in base64: that is the image, not text
        self.extra_tokens = 0  # that a template may put around what is in the body
        self.audio = False
        self.named: list[Named] = []  # what is stored at the provider
        self._unbounded: dict[str, None] = {}

    @property
    def unbounded(self) -> tuple[str, ...]:
        return tuple(self._unbounded)

    def read(self, contents: object) -> None:
        """Look through a content, or an array of them; the API takes one for an array of one."""
        for content in contents if is_array(contents) else [contents]:
            if not is_object(content):
                self.read_unknown(content)
                continue
            for key, value in CONTENT.read(content, "contents.").items():
                if key == "parts":
                    self._parts(value)
                elif key != "role":
                    self.read_unknown(value)

    def read_unknown(self, value: object) -> None:
        """Look through the value of a field that we do not know, at every depth (which `read_object` bounds)."""
        if is_object(value):
            self._part(value)
        elif is_array(value):
            for each in value:
                self.read_unknown(each)
        elif isinstance(value, str) and is_address(value):
            self.add("what an address in a part of unknown type points at")

    def add(self, words: str) -> None:
        """Note what has no bound."""
        self._unbounded[words] = None

    def _parts(self, parts: object) -> None:
        for part in parts if is_array(parts) else [parts]:
            if is_object(part):
                self._part(part)
            else:
                self.read_unknown(part)

    def _part(self, part: Mapping[str, object]) -> None:
        for key, value in PART.read(part, "parts.").items():
            if key in _PLAIN_PARTS or value is None:
                continue
            match key:
                case "inlineData":
                    self._inline(value)
                case "fileData":
                    self._file(value)
                case "functionCall":
                    self.extra_tokens += punctuation(_ENCODER.encode(value))
                case "functionResponse":
                    self._response(value)
                case "mediaResolution":
                    self._resolution(value)
                case _:
                    self.read_unknown(value)

    def _inline(self, blob: object) -> None:
        if not is_object(blob):
            self.read_unknown(blob)
            return
        blob = _BLOB.read(blob, "inlineData.")
        self._rest(blob, _BLOB)
        kind, data = _mime_type(blob), blob.get("data")
        if kind in _IMAGES and isinstance(data, str):
            self.images += 1
            self.image_bytes += len(data)  # characters: never more than its bytes in the body
        elif kind in _AUDIO:
            self.audio = True
        elif kind.startswith("video/"):
            self.audio = True  # it has sound
            self.add("a video")
        elif kind.startswith("audio/"):
            self.audio = True
            self.add("audio in this format")
        elif not (kind.startswith("text/") or kind in _TEXTS):
            self.add("an image in this format" if kind.startswith("image/") else "a document")

    def _file(self, file: object) -> None:
        """A file of the File API has a record; what is elsewhere has no bound."""
        if not is_object(file):
            self.add("a file")
            return
        file = _FILE.read(file, "fileData.")
        sounds = _mime_type(file).startswith(("audio/", "video/"))
        self.audio = self.audio or sounds
        named = file_id(file.get("fileUri"))
        if named is None or sounds:
            self.add("a file")
        if named is not None:
            self.named.append(Named(named, FILE))

    def _response(self, response: object) -> None:
        if not is_object(response):
            self.read_unknown(response)
            return
        response = RESPONSE.read(response, "functionResponse.")
        self._rest(response, RESPONSE)
        self._parts(response.get("parts"))
        self.extra_tokens += punctuation(_ENCODER.encode(response.get("response")))

    def _rest(self, value: Mapping[str, object], known: Names) -> None:
        for key, each in value.items():
            if key not in known.usual:
                self.read_unknown(each)

    def _resolution(self, value: object) -> None:
        """An image has the tokens of a level, which `max_image_tokens` bounds, unless their number is asked for."""
        if is_object(value) and _RESOLUTION.read(value, "mediaResolution.").get("numTokens") is not None:
            self.add("a medium of a size of its own")


def file_id(uri: object) -> str | None:
    """The id of a file of the File API, as its URI or its name says it; None for what is elsewhere.

    Empty for what may be of that API and is not plainly written.
    """
    if not isinstance(uri, str):
        return None
    plain = _STORED_FILE.fullmatch(uri)
    if plain is not None:
        return plain[1]
    told = unquote(uri).strip().lower()
    return "" if "generativelanguage" in told or _STORED_FILE.match(told) else None


def _mime_type(blob: Mapping[str, object]) -> str:
    kind = blob.get("mimeType")
    return kind.partition(";")[0].strip().lower() if isinstance(kind, str) else ""
