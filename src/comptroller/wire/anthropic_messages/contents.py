"""What messages hold beside text, and what they can make the provider read that is not in the body.

Everything here errs to the dear side: a block that we do not know counts all its bytes as text, and one that
points at something outside of the body has no bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from comptroller.core.work.stored import FILE, Named
from comptroller.wire.addresses import is_address
from comptroller.wire.anthropic_messages.blocks import (
    BLOCKS,
    DOCUMENT_SOURCES,
    IMAGE_KEYS,
    IMAGE_SOURCES,
    TEXT_KEYS,
    WATCHED_KEYS,
)
from comptroller.wire.body import is_array, is_object
from comptroller.wire.checks import punctuation

# Presumed, as nobody publishes them: what frames one argument of a tool's call, and one sentence of a document
# that can be cited. Both frames can have more tokens than they have bytes in the body.
_TOKENS_PER_ARGUMENT = 16
_TOKENS_PER_SENTENCE = 16

_ASCII = bytes(range(128))
_NO_END = b" _0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + bytes(range(128, 256))
_MESSAGE_KEYS = frozenset({"role", "clear_at", "output_config"})
_ENCODER = msgspec.json.Encoder()


class Contents:
    """What was found. `unbounded` and `fees` are words for people, in the order of the request, each once."""

    def __init__(self) -> None:
        self.images = 0
        self.image_bytes = 0  # of image data in base64: that is the image, not text
        self.extra_tokens = 0  # that the provider puts around what is in the body
        self.hour_cache = False  # the request may write to the cache that lives for an hour
        self.shown_tools: list[str] = []  # names of tools whose definition is put into the prompt once more
        self.defined_tools: list[object] = []  # definitions that stand in the messages
        self.named: list[Named] = []  # what is stored at the provider
        self.misspelt: str | None = None  # a key that only some parsers would take for one that counts
        self._unbounded: dict[str, None] = {}
        self._fees: dict[str, None] = {}

    @property
    def unbounded(self) -> tuple[str, ...]:
        return tuple(self._unbounded)

    @property
    def fees(self) -> tuple[str, ...]:
        return tuple(self._fees)

    def read_messages(self, messages: Iterable[Mapping[str, object]]) -> None:
        """Look through every message."""
        for message in messages:
            for key, value in message.items():
                if key == "content":
                    self.read_content(value)
                elif key not in _MESSAGE_KEYS:
                    self._unknown_key(key, value)

    def read_content(self, content: object) -> None:
        """Look through a content: a text, a block or an array of blocks."""
        if is_array(content):
            for block in content:
                if is_object(block):
                    self._block(block)
                else:
                    self.read_unknown(block)
        elif is_object(content):
            self._block(content)

    def read_cache_control(self, control: object) -> None:
        """Whether what is marked here is kept for longer than five minutes."""
        self.hour_cache = self.hour_cache or (is_object(control) and control.get("ttl") not in (None, "5m"))

    def read_unknown(self, value: object) -> None:
        """Look through the value of a field that we do not know, at every depth (which `read_object` bounds)."""
        if is_object(value):
            self._block(value)
        elif is_array(value):
            for each in value:
                self.read_unknown(each)
        elif isinstance(value, str) and is_address(value):
            self._add("what an address in a part of unknown type points at")

    def _block(self, block: dict[str, object]) -> None:
        kind = block.get("type")
        if kind == "text" and block.keys() <= TEXT_KEYS:
            return
        known = BLOCKS.get(kind) if isinstance(kind, str) else None
        if known is not None and known.words is not None:
            self._add(known.words, fee=known.fee)
        for key, value in block.items():
            if key == "cache_control":
                self.read_cache_control(value)
            elif known is not None and key in known.nested:
                self.read_content(value)
            elif known is None or key not in known.plain:
                self._unknown_key(key, value)
        if known is not None and known.special:
            self._special(kind, block)

    def _special(self, kind: object, block: dict[str, object]) -> None:
        match kind:
            case "image":
                self._image(block)
            case "document":
                self._document(block)
            case "container_upload":
                self._name(block.get("file_id"))
            case "tool_reference":
                names = (block.get("tool_name"), block.get("name"))
                self.shown_tools += [name for name in names if isinstance(name, str)]
            case "tool_definition":
                self.defined_tools.append(block.get("definition"))
                self.extra_tokens += punctuation(_ENCODER.encode(block.get("definition")))
            case _:
                self._call(block.get("input"))

    def _unknown_key(self, key: str, value: object) -> None:
        if key not in WATCHED_KEYS and key.casefold() in WATCHED_KEYS:
            self.misspelt = key
        if key == "file_id" and value is not None:
            self._add("a file")
            self._name(value)
        self.read_unknown(value)

    def _image(self, block: dict[str, object]) -> None:
        self.images += 1
        source = block.get("source")
        kind, known = _kind_of(source, IMAGE_SOURCES)
        if not is_object(source) or known is None:
            self._add("an image from elsewhere")
            return
        data = source.get("data")
        if kind == "base64" and isinstance(data, str) and block.keys() <= IMAGE_KEYS:
            self.image_bytes += len(data)  # characters: never more than its bytes in the body
        elif kind == "file":
            self._name(source.get("file_id"))
        self._rest(source, known)

    def _document(self, block: dict[str, object]) -> None:
        source = block.get("source")
        kind, known = _kind_of(source, DOCUMENT_SOURCES)
        if not is_object(source) or known is None:
            self._add("a document")
            if is_object(source) and "file_id" in source:
                self._name(source["file_id"])
            return
        if kind == "file":
            self._name(source.get("file_id"), context=True)
            if block.get("citations") is not None:
                self._add("a document")  # how many sentences it has is not known
        text = source.get("data")
        if kind == "content":
            self.read_content(source.get("content"))
        elif isinstance(text, str) and block.get("citations") is not None:
            self.extra_tokens += _TOKENS_PER_SENTENCE * (1 + _sentence_ends(text))
        self._rest(source, known)

    def _rest(self, source: dict[str, object], known: frozenset[str]) -> None:
        for key, value in source.items():
            if key not in known:
                self._unknown_key(key, value)

    def _name(self, named: object, *, context: bool = False) -> None:
        """What is no id names nothing that anybody has."""
        self.named.append(Named(named if isinstance(named, str) else "", FILE, context=context))

    def _call(self, arguments: object) -> None:
        if is_object(arguments) or is_array(arguments):
            self.extra_tokens += _TOKENS_PER_ARGUMENT * len(arguments) + punctuation(_ENCODER.encode(arguments))

    def _add(self, words: str, *, fee: bool = False) -> None:
        self._unbounded[words] = None
        if fee:
            self._fees[words] = None


def _sentence_ends(text: str) -> int:
    """How many characters may end a sentence: not in a word and no space. Texts are long: nothing is made of each."""
    encoded = text.encode()
    others = encoded.translate(None, _ASCII).decode()
    return len(encoded.translate(None, _NO_END)) + len(others) - sum(map(str.isalnum, others))


def _kind_of(source: object, kinds: Mapping[str, frozenset[str]]) -> tuple[str | None, frozenset[str] | None]:
    kind = source.get("type") if is_object(source) else None
    return (kind, kinds.get(kind)) if isinstance(kind, str) else (None, None)
