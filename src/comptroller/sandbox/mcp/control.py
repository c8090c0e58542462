"""`/sandbox/mcp/*`: the bill of tool calls, and what is wrong with which server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import msgspec

from comptroller.sandbox.errors import invalid
from comptroller.sandbox.mcp.face import McpFace
from comptroller.sandbox.mcp.faults import McpPlan
from comptroller.sandbox.mcp.offer import price_list
from comptroller.sandbox.wire import Exchange

Handler = Callable[[Exchange], Awaitable[None]]

_ROOT = "/sandbox/mcp/"
_SERVERS = "servers/"
_LINES_PER_PAGE = 10_000
_MOST_PLAN_BYTES = 1 << 20


def mcp_methods(face: McpFace, path: str) -> dict[str, Handler]:
    """What stands behind /mcp/SERVER and /sandbox/mcp/...; empty for other paths."""
    if path == "/mcp" or path.startswith("/mcp/"):
        return dict.fromkeys(("POST", "GET", "DELETE"), face.serve)
    if not path.startswith(_ROOT):
        return {}
    name = path.removeprefix(_ROOT)
    if name.startswith(_SERVERS):
        return _Server(face, name.removeprefix(_SERVERS)).methods()
    return _Books(face).methods().get(name, {})


async def _respond(exchange: Exchange, value: object) -> None:
    await exchange.respond(200, msgspec.json.encode(value))


class _Books:
    """The bill, the prices and the sessions."""

    def __init__(self, face: McpFace) -> None:
        self._face = face

    def methods(self) -> dict[str, dict[str, Handler]]:
        return {
            "bill": {"GET": self._show, "DELETE": self._reset},
            "bill/calls": {"GET": self._lines},
            "prices": {"GET": self._prices},
            "sessions": {"DELETE": self._forget},
        }

    async def _show(self, exchange: Exchange) -> None:
        await _respond(exchange, self._face.bill.as_json())

    async def _reset(self, exchange: Exchange) -> None:
        """Answer with the bill as it was."""
        last = self._face.bill.as_json()
        self._face.bill.reset()
        await _respond(exchange, last)

    async def _lines(self, exchange: Exchange) -> None:
        after = parse_qs(exchange.query.decode("latin-1")).get("after", ["0"])[-1]
        if not after.isdecimal():
            raise invalid("'after' must be a whole number.", param="after")
        lines = self._face.bill.lines(int(after), _LINES_PER_PAGE)
        body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        await exchange.respond(200, body, content_type=b"application/x-ndjson")

    async def _prices(self, exchange: Exchange) -> None:
        await _respond(exchange, {"prices": price_list()})

    async def _forget(self, exchange: Exchange) -> None:
        """Forget every session, as a server does that is started anew."""
        self._face.sessions.clear()
        await _respond(exchange, {"status": "ok"})


class _Server:
    """What is wrong with one server."""

    def __init__(self, face: McpFace, name: str) -> None:
        self._face = face
        self._name = name

    def methods(self) -> dict[str, Handler]:
        return {"GET": self._show, "POST": self._set, "DELETE": self._clear} if self._name else {}

    async def _show(self, exchange: Exchange) -> None:
        await _respond(exchange, self._face.plans.get(self._name) or McpPlan())

    async def _set(self, exchange: Exchange) -> None:
        try:
            plan = msgspec.json.decode(await exchange.read_body(_MOST_PLAN_BYTES), type=McpPlan)
            plan.check()
        except (msgspec.DecodeError, ValueError) as error:
            raise invalid(f"This cannot be set: {error}.") from None
        self._face.plans[self._name] = plan
        await self._show(exchange)

    async def _clear(self, exchange: Exchange) -> None:
        self._face.plans.pop(self._name, None)
        await self._show(exchange)
