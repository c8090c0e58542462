"""Requests about objects that a provider keeps, in any API: what they ask, and what an answer says of an object.

Providers take nothing for these. The path names the object, and our records say whose it is.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

import msgspec

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import StoredUse
from comptroller.wire.body import invalid
from comptroller.wire.head import JSON, Head
from comptroller.wire.multipart import Part, is_form, read_form

# Of a text that is read as it is, no model makes more tokens than it has bytes. Other formats are unpacked, rendered
# or summed up by the provider: what becomes of them is not in their bytes.
_TEXTS = (".txt", ".md", ".py", ".js", ".ts", ".c", ".cpp", ".h", ".java", ".go", ".rs", ".sh", ".json", ".yaml")
_FRAME_TOKENS = 64  # around a file in a prompt; presumed: no number is published

_LATEST_S = 2**33  # the year 2242: a later instant is none


class AskedRequest(Protocol):
    """A request as any dialect hands it on; ours comes back to us as it was."""

    @property
    def asked(self) -> Asked: ...


class ObjectCall(msgspec.Struct, frozen=True, gc=False):
    """A request about objects alone: where it goes, and what goes with it."""

    asked: Asked
    path: str
    body: bytes = b""
    content_type: bytes = JSON


class ObjectAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer about an object. Nothing is used for it.

    `told`: all of it as JSON, for lists. `malformed`: it is not what its API answers.
    """

    object_id: str | None = None
    told: str = ""
    expires_at_ns: int | None = None
    malformed: bool = False
    usage: Usage | None = None
    served_model: str | None = None
    service_tier: str | None = None
    usage_malformed: bool = False


class Upload(msgspec.Struct, frozen=True, gc=False):
    """A form with one file."""

    file: Part
    parts: list[Part]


class _Body(msgspec.Struct, gc=False):
    id: Any = None
    expires_at: Any = None


_DECODER = msgspec.json.Decoder(_Body)


def asks_nothing(use: StoredUse) -> Asked:
    """What a request asks of models that is about objects alone: nothing."""
    return Asked(model="", stream=False, text_tokens=0, output_limit=0, free=True, stored=use)


def own_call(request: AskedRequest) -> ObjectCall:
    """A request of ours, as it was handed on."""
    if not isinstance(request, ObjectCall):
        raise TypeError("a request of another dialect")
    return request


def read_upload(body: bytes, head: Head) -> Upload | Refusal:
    """The form of an upload: one file, in the field `file`."""
    hint = "Send a form with one file, as the official SDKs do."
    if not is_form(head.content_type):
        return invalid("A file is uploaded as a form (multipart/form-data).", hint, "file")
    parts = read_form(body, head.content_type)
    if isinstance(parts, Refusal):
        return parts
    files = [part for part in parts if part.filename is not None]
    if [part.name for part in files] != ["file"]:
        return invalid("The form must have one file, in the field `file`.", hint, "file")
    return Upload(files[0], parts)


def file_tokens(file: Part) -> int | None:
    """No more tokens than this come of a file in a prompt; None where its bytes do not say that."""
    name = file.filename or ""
    if not name.lower().endswith(_TEXTS):
        return None
    try:
        file.data.decode()
    except UnicodeDecodeError:
        return None
    return len(file.data) + len(name.encode()) + _FRAME_TOKENS


def read_object_answer(body: bytes) -> ObjectAnswer:
    """The object that an answer is; never raises."""
    try:
        answer = _DECODER.decode(body)
        told = bytes(msgspec.json.format(body, indent=-1)).decode()
    except (ValueError, RecursionError):
        return ObjectAnswer(malformed=True)
    named = answer.id if answer.id.__class__ is str else None
    return ObjectAnswer(named, told, _instant(answer.expires_at))


def _instant(value: object) -> int | None:
    """An instant that is told in seconds, or as RFC 3339 has it."""
    if isinstance(value, str):
        try:
            value = int(msgspec.convert(value, datetime).timestamp())
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _LATEST_S:
        return None
    return value * NANOS_PER_SECOND
