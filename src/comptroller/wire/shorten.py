"""Making the result of a tool shorter: its beginning and its end stay, and what is left out is said in between."""

from __future__ import annotations

from collections.abc import Iterator

from comptroller.wire.body import is_array, is_object
from comptroller.wire.parts import size

_TEXTS = ("text", "stdout", "stderr")  # keys of parts that hold text


def shortened(text: str, most_bytes: int, by: str) -> str:
    """A text of at most so many bytes of UTF-8, if the words about what is left out fit into them.

    `by`: what wants it so, as a name.
    """
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    room = max(0, most_bytes - len(_said(len(encoded), by).encode()))
    head, tail = room - room // 2, room // 2
    first = encoded[:head].decode(errors="ignore")
    last = encoded[len(encoded) - tail :].decode(errors="ignore") if tail else ""
    return f"{first}{_said(len(encoded) - len(first.encode()) - len(last.encode()), by)}{last}"


def shorten_content(content: object, most_bytes: int, by: str) -> object:
    """The content of a result with no more bytes than this, or as few as leaving out text can make it.

    Its parts stay, in their order: images and documents are never cut.
    """
    if isinstance(content, str):
        return shortened(content, most_bytes, by)
    whole = [dict(part) if is_object(part) else part for part in content] if is_array(content) else content
    whole = dict(whole) if is_object(whole) else whole
    over = size(whole) - most_bytes
    for length, part, key in sorted(_texts(whole), key=lambda found: -found[0]):
        # Words about what is left out come on top, and JSON spells their line breaks with two bytes.
        least = len(_said(length, by).encode()) + 2
        if over <= 0 or length <= least:
            break  # it fits, or this text and all that follow are too short to be cut
        text = str(part[key])
        part[key] = shortened(text, max(least, length - over - 2), by)
        over -= size([text]) - size([part[key]])  # as JSON, in which they stand
    return whole


def _said(bytes_left_out: int, by: str) -> str:
    return f"\n[... {bytes_left_out:,} bytes left out here by the gateway: {by} ...]\n"


def _texts(content: object) -> Iterator[tuple[int, dict[str, object], str]]:
    for part in content if is_array(content) else (content,):
        if is_object(part):
            for key in _TEXTS:
                text = part.get(key)
                if isinstance(text, str):
                    yield len(text.encode()), part, key
