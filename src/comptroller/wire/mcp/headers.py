"""What stands in headers of a message beside its body: they must say the same.

Source: MCP 2026-07-28, "Streamable HTTP", request headers. Whoever stands before us may route by them,
so a header that contradicts the body is refused in both eras. Decided is by the body alone.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]

VERSION = b"mcp-protocol-version"
METHOD = b"mcp-method"
NAME = b"mcp-name"
PARAMETER = b"mcp-param-"  # what its name begins with
_ROUTING = frozenset({VERSION, METHOD, NAME})
_LOCAL = re.compile(rb"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?")
_BEGIN, _END = b"=?base64?", b"?="


class Routing(dict[bytes, bytes]):
    """The headers that a message can be routed by, each once. `twice` names one that came more than once."""

    twice: bytes = b""


def routing(headers: Headers) -> Routing:
    """Reads them. Header names are in lower case."""
    found = Routing()
    for name, value in headers:
        if name in _ROUTING:
            if name in found:
                found.twice = name
            found[name] = value.strip(b" \t")  # not part of the value (RFC 9110, 5.5)
    return found


def foreign_origin(headers: Headers) -> bool:
    """Whether a page of somebody else's sends this (MCP, "Security warning": DNS rebinding).

    Programs send no Origin. A browser does, and a page that reaches us under a name of its own shows that name there.
    Only pages of the same machine, such as an inspector's, may ask.
    """
    return any(name == b"origin" and not _LOCAL.fullmatch(value) for name, value in headers)


def decoded(value: bytes) -> str | None:
    """A header's value as text: base64 in UTF-8 where it is marked as that. None for what is not well written."""
    if not (value.startswith(_BEGIN) and value.endswith(_END)):
        return value.decode("latin-1")
    written = value[len(_BEGIN) : -len(_END)]
    try:
        plain = base64.b64decode(written, validate=True)
        return plain.decode() if base64.b64encode(plain) == written else None
    except (binascii.Error, UnicodeDecodeError):
        return None
