"""What messages hold beside text, and what this request can make a provider do that is not in its body.

Everything here errs to the dear side: a part that we do not know counts all its bytes as text, and one that
points at something outside of the body has no bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from comptroller.core.work.stored import CONTAINER, FILE, RESPONSE, VECTOR_STORE, Kind, Named
from comptroller.wire.addresses import is_address
from comptroller.wire.body import is_array, is_object, json_name

# A part is what its `type` says and what its keys say: servers differ on which of the two they read.
_PARTS: Mapping[str, str] = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "audio",
    "audio": "audio that is not in the request",
    "audio_url": "audio that is not in the request",
    "video_url": "a video",
    "video": "a video",
    "input_video": "a video",
    "file": "a file",
    "input_file": "a file",
    "file_id": "a file",
    "file_data": "a file",
    "file_url": "a file",
    "document": "a file",
    "document_url": "a file",
    "media": "a file",
}
# A part that is wholly a file by its id; its size is what our records say.
_REFERENCE_KEYS = frozenset({"type", "file", "file_id", "filename", "detail", "prompt_cache_breakpoint"})
_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})
_CACHE_KEYS = frozenset({"cache_control", "prompt_cache_breakpoint", "prompt_cache_options"})
_TEXT_PART_KEYS = frozenset({"type", "text", "refusal"}) | _CACHE_KEYS
_TEXT_KEYS = frozenset({"role", "name", "tool_call_id", "refusal", "reasoning", "reasoning_content"})
_PLAIN_KEYS = _TEXT_KEYS | {"content"}  # texts under these are text
# Answers of models that come back in the next request: they may name addresses, and nobody fetches those.
_ECHOED_KEYS = frozenset({"tool_calls", "function_call", "annotations", "reasoning_details", "cache_control"})
# Some parsers (Go's) match keys without regard to case: they would take "Type" for "type".
_WATCHED_KEYS = _TEXT_KEYS | _ECHOED_KEYS | _CACHE_KEYS | _PARTS.keys() | {"content", "audio", "type", "text"}

# Keys under which a part or a tool names what is stored; a container may also be one that is to be made.
_NAMES: Mapping[str, Kind] = {
    "file_id": FILE,
    "file_ids": FILE,
    "vector_store_id": VECTOR_STORE,
    "vector_store_ids": VECTOR_STORE,
    "container": CONTAINER,
    "previous_response_id": RESPONSE,
    "container_id": CONTAINER,
}

# Lifetimes of a prompt cache at the price of every write; any other is a longer one at a price of its own.
_SHORT_LIVED = (None, "5m", "30m")

# Low bit rates of other formats make hours of sound out of few bytes.
_AUDIO_FORMATS = frozenset({"wav", "mp3"})
_SOUNDS = ("audio/", "video/", "data:audio/", "data:video/")


class Contents:
    """What was found. `unbounded` are words for people, in the order of the request, each once."""

    def __init__(self) -> None:
        self.images: int = 0
        self.image_bytes: int = 0  # of image data URLs: those are the image, not text
        self.audio = False
        self.long_cache = False  # the request may write to a cache that is kept for an hour or longer
        self.files: list[Named] = []  # that are named by their id
        self.misspelt: str | None = None  # a key that only some parsers would take for one that counts
        self._unbounded: dict[str, None] = {}

    @property
    def unbounded(self) -> tuple[str, ...]:
        return tuple(self._unbounded)

    def read_messages(self, messages: Sequence[Mapping[str, object]]) -> None:
        """Look through every message."""
        for message in messages:
            self.read_cache_marks(message)
            for key, value in message.items():
                if not (isinstance(value, str) and key in _PLAIN_KEYS):
                    self._message_field(key, value)

    def read_cache_marks(self, marked: Mapping[str, object]) -> None:
        """How long the prompt up to here is to be kept: OpenAI's way to say it, and that of resold Anthropic models."""
        if _CACHE_KEYS.isdisjoint(marked):
            return
        for key in _CACHE_KEYS & marked.keys():
            mark = marked[key]
            self.long_cache = self.long_cache or (is_object(mark) and mark.get("ttl") not in _SHORT_LIVED)

    def read_unknown(self, value: object) -> None:
        """Look through the value of a field that we do not know, at every depth (which `read_object` bounds)."""
        if is_object(value):
            self.read_part(value)
        elif is_array(value):
            for each in value:
                self.read_unknown(each)
        elif isinstance(value, str) and is_address(value):
            self.add("what an address in a part of unknown type points at")

    def _message_field(self, key: str, value: object) -> None:
        if key == "content":
            if is_array(value):
                for part in value:
                    self.read_part(part)
            elif is_object(value):
                self.read_part(value)
        elif key in _ECHOED_KEYS:
            self._echoed(value)
        elif key == "audio":
            if value is not None:
                self.add("audio of an earlier answer")
                self.audio = True
        elif key not in _TEXT_KEYS or not isinstance(value, str):
            self._check_case(key)
            self.read_unknown(value)

    def read_part(self, part: object) -> None:
        """Look through one part of a content."""
        if isinstance(part, str):
            return  # some servers take a bare string for a text part
        if not is_object(part):
            self.read_unknown(part)
            return
        kind = part.get("type")
        self.read_cache_marks(part)
        if not isinstance(kind, str):
            kind = ""
        elif kind in _TEXT_PARTS and part.keys() <= _TEXT_PART_KEYS:
            return
        reference = _reference(part, kind)
        if reference is not None:
            self.images += kind == "input_image"
            self.files.append(Named(reference, FILE, context=kind != "input_image"))
            return
        self._facets(part, kind)
        for key, value in part.items():
            if key in _NAMES or _PARTS.get(key) == "a file":
                self.files += names_in({key: value})
            if key == "image_url":
                self._image_address(value)
            elif key == "input_audio":
                self._audio_format(value)
            elif _PARTS.get(key) is None or _PARTS[key] == "image":
                self._check_case(key)
                if key != "text" or not isinstance(value, str):
                    self.read_unknown(value)

    def _facets(self, part: Mapping[str, object], kind: str) -> None:
        """Count what a part is by each of its keys, and by its type."""
        images = 0
        for name in {*part, kind}:
            what = _PARTS.get(name)
            if what is None:
                continue
            if what == "image":
                images += name in part
            elif what != "audio":
                self.add(what)
            # A video has sound, which is billed as audio; a file may be either.
            self.audio = self.audio or what.startswith(("audio", "a video")) or (what == "a file" and _sounds(part))
        self.images += max(images, _PARTS.get(kind) == "image")

    def _image_address(self, value: object) -> None:
        url = value.get("url") if is_object(value) else value
        if not isinstance(url, str):
            if value is not None:
                self.read_unknown(value)
            return
        head = url[:16].lstrip().lower()
        if head.startswith("data:image/"):
            self.image_bytes += len(url)  # characters: never more than its bytes in the body
        elif head.startswith("data:"):
            self.add("a file")
            self.audio = self.audio or _sounds(url)
        elif not head.startswith(("https://", "http://")):
            self.add("an image from elsewhere")

    def _audio_format(self, value: object) -> None:
        form = value.get("format") if is_object(value) else None
        if form not in _AUDIO_FORMATS:
            self.add("audio in this format")

    def _echoed(self, value: object) -> None:
        waiting = [value]
        while waiting:
            each = waiting.pop()
            if is_object(each):
                kind = each.get("type")
                if isinstance(kind, str) and _PARTS.get(kind) == "image":
                    self.images += 1
                waiting += each.values()
            elif is_array(each):
                waiting += each

    def _check_case(self, key: str) -> None:
        if key not in _WATCHED_KEYS and key.casefold() in _WATCHED_KEYS:
            self.misspelt = key

    def add(self, words: str) -> None:
        """Something that is not in the body has a part in the input."""
        self._unbounded[words] = None


def _reference(part: Mapping[str, object], kind: str) -> str | None:
    """The id of the file that a part is, if it is nothing else."""
    if not part.keys() <= _REFERENCE_KEYS:
        return None
    inner = part.get("file")
    named = part.get("file_id")
    if is_object(inner) and kind == "file" and named is None and inner.keys() <= {"file_id", "filename"}:
        named = inner.get("file_id")
    elif inner is not None or kind not in {"input_file", "input_image"}:
        return None
    return named if isinstance(named, str) else None


def names_in(value: object) -> list[Named]:
    """Everything at a provider that a value names by its id, at every depth. Whether it feeds a prompt is not told."""
    found: list[Named] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if is_object(each):
            for key, inner in each.items():
                kind = _NAMES.get(key)
                ids = [] if kind is None or inner is None else inner if is_array(inner) else [inner]
                if key != "container" or isinstance(inner, str):
                    found += [Named(one if isinstance(one, str) else "", kind) for one in ids if kind is not None]
            waiting += each.values()
        elif is_array(each):
            waiting += each
    return found


def _sounds(value: object) -> bool:
    """Whether a file says that it is audio or video: as its media type, or in an address that holds it."""
    if isinstance(value, str):
        return value[:24].lstrip().lower().startswith(_SOUNDS)
    if not is_object(value):
        return False
    inner = (each for part in value.values() for each in (part.values() if is_object(part) else (part,)))
    return any(isinstance(each, str) and _sounds(each) for each in inner)


def read_tools(tools: Sequence[object], contents: Contents) -> tuple[str, ...] | str:
    """The kinds of tools that run at the provider; or what is wrong with the list."""
    kinds: dict[str, None] = {}
    for tool in tools:
        if not is_object(tool):
            return f"Every entry of `tools` must be an object, and one is a {json_name(tool)}."
        kind = tool.get("type", "function")
        if not isinstance(kind, str) or any(key != "type" and key.casefold() == "type" for key in tool):
            return 'Every entry of `tools` must have one `type`, a string such as "function".'
        if kind not in {"function", "custom"}:
            contents.files += names_in(tool)
            kinds[kind] = None
        contents.read_cache_marks(tool)
        if is_object(function := tool.get("function")):
            contents.read_cache_marks(function)
    return tuple(kinds)
