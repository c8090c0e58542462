"""What clients and servers of both eras of MCP send: written after what the official SDK (2.3.0) puts on the wire."""

from __future__ import annotations

import json
from typing import Any

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "probe", "version": "1"},
}


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def legacy(method: str, params: dict[str, Any] | None = None, rpc_id: object = 1) -> bytes:
    """A request of the era with sessions."""
    return encoded({"jsonrpc": "2.0", "id": rpc_id, "method": method, **({} if params is None else {"params": params})})


def modern(
    method: str, params: dict[str, Any] | None = None, rpc_id: object = 1, **meta: Any
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A request of the era without, and its headers."""
    body = legacy(method, {**(params or {}), "_meta": {**META, **meta}}, rpc_id)
    headers = [(b"mcp-protocol-version", b"2026-07-28"), (b"mcp-method", method.encode())]
    name = (params or {}).get("uri" if method == "resources/read" else "name")
    if isinstance(name, str):
        headers.append((b"mcp-name", name.encode()))
    return body, headers


def response(result: object, rpc_id: object = 1) -> bytes:
    return encoded({"jsonrpc": "2.0", "id": rpc_id, "result": result})


def texts(*said: str) -> dict[str, Any]:
    """The result of a tool that says these texts."""
    return {"content": [{"type": "text", "text": text} for text in said]}


def sse(*messages: bytes) -> bytes:
    """As the SDK's server writes them."""
    return b"".join(b"event: message\r\ndata: " + each + b"\r\n\r\n" for each in messages)
