"""Forms with files (multipart/form-data) as bytes: taken apart strictly, and put together anew before they leave.

What goes upstream is written by us, so that no other parser can read it in another way than we did. Source: RFC 7578
and RFC 2046.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.wire.body import invalid, shown

MOST_PARTS = 200
_MOST_HEAD_BYTES = 4_096
_BOUNDARY = re.compile(rb'multipart/form-data\s*;\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}(?:\[[A-Za-z0-9_]{0,64}\])?", re.ASCII)
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9.+-]{1,64}/[A-Za-z0-9.+-]{1,64}", re.ASCII)
_PARAMETER = re.compile(r'\s*;\s*(name|filename)\s*=\s*(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s";]+))', re.IGNORECASE)
_HINT = "Send it as the official SDKs do: one part for each field, with its name."


class Part(msgspec.Struct, frozen=True, gc=False):
    """One field of a form; with a `filename` it is a file."""

    name: str
    data: bytes
    filename: str | None = None
    media_type: str | None = None


def is_form(content_type: bytes) -> bool:
    """Whether a body of this type is a form with files."""
    return content_type.strip().lower().startswith(b"multipart/form-data")


def read_form(body: bytes, content_type: bytes) -> list[Part] | Refusal:
    """The parts of a form in their order, or why it is none (`request_invalid`)."""
    said = _BOUNDARY.fullmatch(content_type.strip())
    if said is None:
        return invalid("The content-type of this form names no boundary, or more than that.", _HINT)
    mark = b"--" + (said[1] or said[2])
    if not body.startswith(mark):
        return invalid("The form does not begin with its boundary.", _HINT)
    pieces = body[len(mark) :].split(b"\r\n" + mark)
    if len(pieces) > MOST_PARTS + 1:
        return invalid(f"The form has more than {MOST_PARTS} parts.")
    if pieces.pop() not in {b"--", b"--\r\n"}:
        return invalid("The form does not end with its boundary.", _HINT)
    parts: list[Part] = []
    for piece in pieces:
        part = _part(piece)
        if isinstance(part, Refusal):
            return part
        parts.append(part)
    twice = _named_twice(parts)
    if twice is not None:
        return invalid(f"The form has two parts named {twice!r}.", "Send every field once.", twice)
    return parts


def write_form(parts: Sequence[Part], file: bytes | None = None) -> bytes:
    """The form of these parts; its type is `form_type` of it. `file`: what stands in the place of every file.

    The boundary is a digest of what it parts, so nobody can have made what is made of that contain it.
    """
    mark = _mark(parts)
    pieces: list[bytes] = []
    for part in parts:
        head = f'content-disposition: form-data; name="{part.name}"'
        if part.filename is not None:
            head += f'; filename="{part.filename}"'
        if part.media_type is not None:
            head += f"\r\ncontent-type: {part.media_type}"
        data = part.data if file is None or part.filename is None else file
        pieces.append(b"--%b\r\n%b\r\n\r\n%b\r\n" % (mark, head.encode(), data))
    return b"".join((*pieces, b"--", mark, b"--\r\n"))


def form_type(parts: Sequence[Part]) -> bytes:
    """The content-type of the form that `write_form` makes of these parts."""
    return b"multipart/form-data; boundary=" + _mark(parts)


def _mark(parts: Sequence[Part]) -> bytes:
    """A boundary that stands in none of the parts. The model may be replaced by another name and changes nothing."""
    lasting = [part.data for part in parts if part.name != "model"]
    digest = blake2b(digest_size=16)
    for data in lasting:
        digest.update(data)
    mark = digest.hexdigest().encode()
    while any(mark in data for data in lasting):
        digest.update(mark)
        mark = digest.hexdigest().encode()
    return mark


def _part(piece: bytes) -> Part | Refusal:
    head, blank, data = piece.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n") or len(head) > _MOST_HEAD_BYTES:
        return invalid("A part of the form has no head, or one that is too long.", _HINT)
    try:
        lines = head[2:].decode().split("\r\n")
    except UnicodeDecodeError:
        return invalid("The head of a part of the form is not valid UTF-8.", _HINT)
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name.strip().lower() in headers or not line.isprintable():
            return invalid(
                f"A part of the form has the header {shown(line)}, which is none or stands there twice.", _HINT
            )
        headers[name.strip().lower()] = value.strip()
    return _named(headers, data)


def _named(headers: dict[str, str], data: bytes) -> Part | Refusal:
    disposition, media_type = headers.pop("content-disposition", ""), headers.pop("content-type", None)
    headers.pop("content-length", None)
    if headers:
        return invalid(f"A part of the form has the header {shown(min(headers))}, which means nothing here.", _HINT)
    kind, _, _ = disposition.partition(";")
    found = _PARAMETER.findall(disposition[len(kind) :])
    named = {name.lower(): quoted or token for name, quoted, token in found}
    left = _PARAMETER.sub("", disposition[len(kind) :]).strip()
    if kind.strip().lower() != "form-data" or left or len(named) != len(found) or "name" not in named:
        return invalid("A part of the form has no plain `content-disposition` with its name.", _HINT)
    name, filename = named["name"], named.get("filename")
    if _NAME.fullmatch(name) is None:
        return invalid(f"{shown(name)} is not the name of a field.", _HINT)
    if filename is not None and ("\\" in filename or '"' in filename):
        return invalid("The name of a file in the form has quotes or backslashes in it.", "Send it under a plain name.")
    if media_type is not None and filename is None:
        media_type = None  # a text; what it says of its character set is not asked
    if media_type is not None and _MEDIA_TYPE.fullmatch(media_type) is None:
        return invalid(f"{shown(media_type)} is not the media type of a file.", _HINT)
    return Part(name, data, filename, media_type)


def _named_twice(parts: list[Part]) -> str | None:
    """A field that stands twice and is no list: parsers differ on which of the two counts."""
    seen: set[str] = set()
    for part in parts:
        plain = part.name.removesuffix("[]")
        if plain in seen and not part.name.endswith("[]"):
            return plain
        if part.name.endswith("[]") and plain in {each.name for each in parts}:
            return plain
        seen.add(plain)
    return None
