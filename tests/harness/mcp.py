"""Messages of MCP as a client without an SDK sends them, in both eras."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Row = dict[str, Any]

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


@dataclass(frozen=True)
class Said:
    """What came back."""

    status: int
    headers: Mapping[str, str]  # lower-case names
    message: Row  # the response; {} where there is none

    @property
    def result(self) -> Row:
        assert "result" in self.message, (self.status, self.message)
        return self.message["result"]

    @property
    def error(self) -> Row:
        assert "error" in self.message, (self.status, self.message)
        return self.message["error"]

    @property
    def refusal(self) -> str:
        """The code of our refusal, in whichever shape; "" where it is none."""
        if "error" in self.message:
            return self.error.get("data", {}).get("comptroller", {}).get("code", "")
        return self.result.get("_meta", {}).get("comptroller/refusal", {}).get("code", "")

    @property
    def text(self) -> str:
        if "error" in self.message:
            return self.error["message"]
        return " ".join(part.get("text", "") for part in self.result.get("content", []))


class McpClient:
    """One caller at one server, in the modern era: every message says all of itself."""

    def __init__(self, url: str, server: str, credential: str, **headers: str) -> None:
        self.url = f"{url}/mcp/{server}"
        self.headers = {"authorization": f"Bearer {credential}", **headers}
        self.meta: Row = META
        self._next_id = 0

    def ask(self, method: str, params: Row | None = None, name: str = "", **headers: str) -> Said:
        """A request and its response."""
        self._next_id += 1
        body = {
            "jsonrpc": "2.0",
            "id": self._next_id,
            "method": method,
            "params": {"_meta": self.meta, **(params or {})},
        }
        about = {"mcp-protocol-version": MODERN, "mcp-method": method} | ({"mcp-name": name} if name else {})
        return self.send(body, **about, **headers)

    def call(self, tool: str, /, _headers: dict[str, str] | None = None, **arguments: Any) -> Said:
        return self.ask("tools/call", {"name": tool, "arguments": arguments}, tool, **(_headers or {}))

    def tools(self) -> list[str]:
        return [tool["name"] for tool in self.ask("tools/list").result["tools"]]

    def send(self, body: Row, **headers: str) -> Said:
        accept = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        return self.http("POST", json.dumps(body).encode(), **accept, **headers)

    @contextmanager
    def unanswered(self, body: Row) -> Iterator[None]:
        """A request that was sent; leaving the block hangs up without having waited for an answer."""
        about = {"mcp-protocol-version": MODERN, "mcp-method": body["method"], "mcp-name": body["params"]["name"]}
        accept = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        try:
            connection.request("POST", where.path, json.dumps(body).encode(), {**self.headers, **accept, **about})
            yield
        finally:
            connection.close()

    def http(self, method: str, body: bytes | None = None, **headers: str) -> Said:
        """Any request, read to its end."""
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        try:
            connection.request(method, where.path, body, {**self.headers, **headers})
            answer = connection.getresponse()
            content, named = answer.read(), {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        return Said(answer.status, named, _message(content, named))


def _message(content: bytes, headers: Mapping[str, str]) -> Row:
    """The JSON, or the last message of the stream that is a response."""
    if headers.get("content-type", "").startswith("text/event-stream"):
        data = [line[5:].strip() for line in content.decode().splitlines() if line.startswith("data:")]
        messages = [json.loads(each) for each in data if each]
        return next((each for each in reversed(messages) if "method" not in each), {})
    return json.loads(content) if content else {}
