"""The trace that a request belongs to, as its `traceparent` says (W3C Trace Context)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_HEADER = b"traceparent"
_FORM = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext(NamedTuple):
    """Ids in lower-case hex: of the whole trace (32 digits), of the caller's span (16), and its flags (2)."""

    trace_id: str
    span_id: str
    flags: str


def trace_context(headers: Sequence[tuple[bytes, bytes]]) -> TraceContext | None:
    """What the one valid `traceparent` says; None without one. Later versions may add parts, which we do not read."""
    values = [value for name, value in headers if name == _HEADER]
    found = _FORM.fullmatch(values[0].strip()) if len(values) == 1 else None
    if found is None or (found[1] == b"00" and found[5] is not None):
        return None
    return TraceContext(found[2].decode(), found[3].decode(), found[4].decode())
