"""The door of the data plane: raw ASGI in, the story of a call behind it.

Every route that can cost money stands in `routes` and leads to `govern`; there is no other way through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from comptroller.core.refusal import Refusal
from comptroller.flow.answer import refuse
from comptroller.flow.call import govern
from comptroller.flow.dialect import Dialect
from comptroller.flow.gate import Gate
from comptroller.gateway.reply import AsgiReply
from comptroller.gateway.request import AsgiRequest, Bodies

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Door:
    """The ASGI application of the data plane."""

    def __init__(self, gate: Gate, routes: Mapping[str, Dialect], default: Dialect, ready: Callable[[], bool]) -> None:
        self._gate = gate
        self._routes = routes
        self._default = default
        self._ready = ready
        self._bodies = Bodies(gate.limits.bodies_bytes)

    @property
    def routes(self) -> Mapping[str, Dialect]:
        """Every path that can cost money, and its dialect."""
        return self._routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = AsgiReply(scope, send)
        dialect = self._routes.get(scope["path"])
        if dialect is not None and scope["method"] == "POST":
            await self._govern(dialect, AsgiRequest(scope, receive, self._gate.limits, self._bodies), reply)
        elif dialect is not None:
            refusal = Refusal(
                code="method_not_allowed",
                sentence=f"{scope['path']} takes POST, not {scope['method']}.",
                hint="Check the SDK's base URL.",
            )
            await refuse(dialect, reply, self._gate.clock.new_id("call"), refusal)
        else:
            await self._elsewhere(scope, reply)

    async def _govern(self, dialect: Dialect, request: AsgiRequest, reply: AsgiReply) -> None:
        call_id = self._gate.clock.new_id("call")
        try:
            await govern(self._gate, dialect, call_id, request, reply)
        except Exception as error:  # noqa: BLE001 - the boundary: our fault is said kindly and logged without values
            self._gate.warn("fault", {"call": call_id, "where": _place(error), "error": type(error).__name__})
            refusal = Refusal(
                code="internal_error",
                sentence="The gateway failed on this call and stopped it.",
                hint=f"Give {call_id} to whoever runs the gateway.",
            )
            if not reply.finished:
                await refuse(dialect, reply, call_id, refusal)
        finally:
            request.release()

    async def _elsewhere(self, scope: Scope, reply: AsgiReply) -> None:
        path = scope["path"]
        if path == "/healthz":
            await _plain(reply, 200, b"ok\n")
        elif path == "/readyz":
            await (_plain(reply, 200, b"ready\n") if self._ready() else _plain(reply, 503, b"not ready\n"))
        else:
            refusal = Refusal(
                code="route_unknown",
                sentence=f"This gateway has no route {scope['method']} {path[:200]}.",
                hint="OpenAI SDKs use base_url http://HOST:8787/v1; routes: " + ", ".join(sorted(self._routes)) + ".",
            )
            await refuse(self._default, reply, self._gate.clock.new_id("call"), refusal)


def _place(error: BaseException) -> str:
    """File and line of the innermost frame: facts without values, since a message could hold a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "unknown"


async def _plain(reply: AsgiReply, status: int, body: bytes) -> None:
    await reply.start(status, [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())])
    await reply.finish(body)
