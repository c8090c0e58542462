"""The servers that we run, as the story meets them: real processes of a small server, and a client's requests."""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from comptroller.flow.upstream import Exchange, Origin, Timeouts, UpstreamRequest
from comptroller.gateway.stdio.host import StdioServers
from comptroller.gateway.stdio.program import Program, User

SMALL_SERVER = Path(__file__).with_name("small_server.py")
PATIENCE_S = 20.0
MODERN = "2026-07-28"
PYTHON = str(Path(sys.executable).resolve())
# Where another user can read it, whatever folder this tree is in.
SOURCE = SMALL_SERVER.read_text(encoding="utf-8")
TIMEOUTS = Timeouts(connect_s=20.0, first_byte_s=20.0, idle_s=20.0, total_s=60.0)
_numbers = itertools.count(1)


def program(*arguments: str, user: User | None = None, python: str = PYTHON, **changes: Any) -> Program:
    """The small server. It is handed over as text, so nothing of this tree has to be readable for its user."""
    fields: dict[str, Any] = {
        "name": "small",
        "command": (python, "-I", "-S", "-c", SOURCE, *arguments),
        "user": user,
        "environ": {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        "processes": 4,
        "memory_bytes": 1 << 30,
        "idle_s": 1000.0,
    }
    return Program(**fields | changes)


class Log:
    """What was said to the log."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, str]]] = []

    def __call__(self, event: str, fields: Mapping[str, str]) -> None:
        self.lines.append((event, fields))

    def of(self, event: str) -> list[str]:
        return [fields.get("message", "") for each, fields in self.lines if each == event]


class Client:
    """A client of one server: the older era if it has a session, else the current one."""

    def __init__(self, servers: StdioServers, log: Log) -> None:
        self.servers, self.log = servers, log
        self.session: str | None = None

    def open(
        self,
        message: object = None,
        method: str = "POST",
        *,
        session: str | None = None,
        timeouts: Timeouts = TIMEOUTS,
        limit: int = 1 << 20,
        on_overflow: Callable[[], None] = lambda: None,
    ) -> Exchange:
        named = session or self.session
        headers = [] if named is None else [(b"mcp-session-id", named.encode())]
        body = b"" if message is None else message if isinstance(message, bytes) else json.dumps(message).encode()
        request = UpstreamRequest(Origin("stdio", "small", 0), "", headers, body, timeouts, method)
        return self.servers.open(request, buffer_limit_bytes=limit, on_overflow=on_overflow)

    async def ask(self, message: object = None, method: str = "POST", **how: Any) -> tuple[int, Any]:
        """Status and body: JSON, or the messages of a stream."""
        exchange = self.open(message, method, **how)
        await within(exchange.start())
        body = await within(exchange.read(1 << 24))
        kind = dict(exchange.headers).get(b"content-type")
        if kind == b"text/event-stream":
            return exchange.status, events(body)
        return exchange.status, json.loads(body) if body else None

    async def initialize(self, **params: Any) -> Any:
        """The handshake of the older era."""
        exchange = self.open(request("initialize", protocolVersion="2025-11-25", capabilities={}, **params))
        await within(exchange.start())
        given = dict(exchange.headers).get(b"mcp-session-id")
        self.session = None if given is None else given.decode()
        answer = json.loads(await within(exchange.read(1 << 20)))
        if self.session is not None:
            status, _ = await self.ask({"jsonrpc": "2.0", "method": "notifications/initialized"})
            assert status == 202
        return answer

    async def tool(self, name: str, arguments: Mapping[str, Any] | None = None, **how: Any) -> Any:
        """The text of a tool's result, parsed where it is JSON."""
        status, answer = await self.ask(self.call(name, arguments), **how)
        assert status == 200, answer
        return words(answer[-1] if isinstance(answer, list) else answer)

    def call(self, name: str, arguments: Mapping[str, Any] | None = None, id_: object = None, **meta: Any) -> Any:
        if self.session is None:
            meta |= {"io.modelcontextprotocol/protocolVersion": MODERN}
        return request("tools/call", id_=id_, name=name, arguments=arguments or {}, **({"_meta": meta} if meta else {}))


def request(method: str, id_: object = None, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": next(_numbers) if id_ is None else id_, "method": method, "params": params}


def words(answer: Any) -> Any:
    text = answer["result"]["content"][0]["text"]
    try:
        return json.loads(text)
    except ValueError:
        return text


def events(body: bytes) -> list[Any]:
    return [json.loads(line.removeprefix("data: ")) for line in body.decode().splitlines() if line.startswith("data: ")]


async def within(what: Any) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        return await what


async def until(fact: Callable[[], object]) -> None:
    """Wait for what must become true."""
    async with asyncio.timeout(PATIENCE_S):
        while not fact():  # noqa: ASYNC110 - another process, whose events nobody hears
            await asyncio.sleep(0.01)  # sleep: polling another process


@asynccontextmanager
async def client_of(small: Program | None = None, line_bytes: int = 1 << 22) -> AsyncGenerator[Client]:
    log = Log()
    servers = StdioServers({"small": small or program()}, line_bytes, log)
    try:
        yield Client(servers, log)
    finally:
        await within(servers.close())
