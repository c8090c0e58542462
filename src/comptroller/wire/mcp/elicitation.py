"""A server that wants a person to open an address: as a request in a stream, as a result, or as an error.

Source: MCP 2025-11-25 (`elicitation/create` with mode `url`, error -32042) and 2026-07-28 (`inputRequests`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.wire.body import is_array, is_object
from comptroller.wire.mcp.addresses import unsafe_address
from comptroller.wire.mcp.rpc import URL_ELICITATION_REQUIRED

METHOD = "elicitation/create"
_ANY = msgspec.json.Decoder()


def in_request(params: msgspec.Raw, *, loopback: bool) -> str | None:
    """Why the address in the parameters of a server's own request goes to nobody; None: it has none, or a safe one."""
    read = _read(bytes(params))
    return read if isinstance(read, str) else _why(read, loopback)


def in_requests(requests: msgspec.Raw, *, loopback: bool) -> str | None:
    """The same of all that a result asks for."""
    asked = _read(bytes(requests))
    if isinstance(asked, str):
        return asked
    parts = asked.values() if is_object(asked) else ()
    return _first([each.get("params") for each in parts if is_object(each) and each.get("method") == METHOD], loopback)


def in_error(error: bytes, *, loopback: bool) -> str | None:
    """The same of an error that says that an address has to be opened first."""
    said = _read(error)
    if isinstance(said, str):
        return said
    if not is_object(said) or said.get("code") != URL_ELICITATION_REQUIRED:
        return None
    data = said.get("data")
    asked = data.get("elicitations") if is_object(data) else None
    return _first(asked, loopback) if is_array(asked) else None


def asks_first(error: bytes) -> bool:
    """Whether an error says that an address has to be opened before the same call is sent again."""
    said = _read(error)
    return is_object(said) and said.get("code") == URL_ELICITATION_REQUIRED


def _first(asked: Sequence[object], loopback: bool) -> str | None:
    return next(filter(None, [_why(params, loopback) for params in asked]), None)


def _why(params: object, loopback: bool) -> str | None:
    """Every mode that we do not know is taken for one with an address, if it has one."""
    if not is_object(params) or "url" not in params or params.get("mode") == "form":
        return None
    return unsafe_address(params["url"], loopback=loopback)


def _read(raw: bytes) -> object:
    """What is asked for; a text says why that cannot be told."""
    try:
        value: object = _ANY.decode(raw) if raw else None
    except (ValueError, RecursionError):
        return "it cannot be read"
    return None if isinstance(value, str) else value
