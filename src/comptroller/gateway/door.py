"""The door of the data plane: raw ASGI in, the story of a call behind it.

Every route stands in `routes.py`, and those that can cost money lead to `govern`; there is no other way through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import Kind
from comptroller.flow.answer import refuse
from comptroller.flow.call import govern
from comptroller.flow.dialect import Dialect
from comptroller.flow.door import CallerApi
from comptroller.flow.fault import fault_facts
from comptroller.flow.gate import Gate
from comptroller.flow.mcp.serve import serve_mcp
from comptroller.flow.models import reachable_model, reachable_models
from comptroller.flow.own_objects import own_objects
from comptroller.gateway.channel import Channel, channel_of
from comptroller.gateway.proxies import Network
from comptroller.gateway.reply import AsgiReply
from comptroller.gateway.request import Aim, AsgiRequest, Bodies
from comptroller.gateway.routes import NAME, Api, Found, ModelCall, ObjectList, Routes
from comptroller.wire.mcp.dialect import McpCall

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CALLER_BODY_BYTES = 64 * 1024  # of a request that is no call: tokens and small documents
_PATH_SHOWN = 200
_ROUTES_SHOWN = 3
_LONGEST_WORD = 32
# What a 426 has to say (RFC 9110, section 15.5.22): the protocol that is needed. The parser closes the connection.
_NEEDED = ((b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade"))


class Door:
    """The ASGI application of the data plane."""

    def __init__(
        self,
        gate: Gate,
        routes: Routes,
        ready: Callable[[], bool],
        caller_api: CallerApi,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self._gate = gate
        self._caller_api = caller_api
        smaller = min(CALLER_BODY_BYTES, gate.limits.body_bytes)
        self._caller_limits = msgspec.structs.replace(gate.limits, body_bytes=smaller)
        self._trusted = trusted_proxies
        self._routes = routes
        self._ready = ready
        self._bodies = Bodies(gate.limits.bodies_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        channel = channel_of(scope)
        reply = AsgiReply(channel, send)
        path = self._routes.meant(scope["path"], scope["headers"], scope["query_string"])
        found = self._routes.find(scope["method"], path)
        stays = b"upgrade" in channel.named and _asks_for_websocket(scope["method"], channel.named)
        if isinstance(found.target, ModelCall) and not stays:
            dialect = found.target.dialect
            request = self._request(scope, receive, channel, found, dialect.family)
            await self._govern(dialect, request, reply)
            return
        if found.target == "tools" and not stays:
            await self._serve_tools(found.name, self._request(scope, receive, channel, found, "mcp"), reply)
            return
        api = self._routes.api_of(scope["path"], scope["headers"], scope["query_string"])
        request = self._request(scope, receive, channel, found, api.family)
        if stays:
            await self._stay(scope, api, request, reply)
            return
        try:
            await self._serve_free(found, scope, api, request, reply)
        except Exception as error:  # noqa: BLE001 - the boundary, as below
            await self._say_fault(api.dialect, self._gate.clock.new_id("call"), error, reply)

    def _request(self, scope: Scope, receive: Receive, channel: Channel, found: Found, family: str) -> AsgiRequest:
        gate = self._gate
        limits = gate.limits if found.target != "caller" else self._caller_limits
        aim = Aim(found.name, family in self._routes.keys_in_query)
        return AsgiRequest(scope, receive, channel, gate.clock, limits, self._bodies, self._trusted, aim)

    async def _serve_tools(self, server: str, request: AsgiRequest, reply: AsgiReply) -> None:
        call_id = self._gate.clock.new_id("call")
        try:
            await serve_mcp(self._gate, server, call_id, request, reply)
        except Exception as error:  # noqa: BLE001 - the boundary, as below
            await self._say_fault(McpCall(server, None, request.headers), call_id, error, reply)
        finally:
            request.release()

    async def _govern(self, dialect: Dialect, request: AsgiRequest, reply: AsgiReply) -> None:
        call_id = self._gate.clock.new_id("call")
        try:
            await govern(self._gate, dialect, call_id, request, reply)
        except Exception as error:  # noqa: BLE001 - the boundary: our fault is said kindly and logged without values
            await self._say_fault(dialect, call_id, error, reply)
        finally:
            request.release()

    async def _say_fault(self, dialect: Dialect, call_id: str, error: Exception, reply: AsgiReply) -> None:
        self._gate.warn("fault", {"comptroller.call.id": call_id, **fault_facts(error)})
        refusal = Refusal(
            code="internal_error",
            sentence="The gateway failed on this call and stopped it.",
            hint=f"Give {call_id} to whoever runs the gateway.",
        )
        if not reply.finished:
            await refuse(dialect, reply, call_id, refusal)

    async def _serve_free(self, found: Found, scope: Scope, api: Api, request: AsgiRequest, reply: AsgiReply) -> None:
        match found.target:
            case "models" | "model":
                await self._list(api, request, reply, found.name)
            case ObjectList(kind=kind):
                await self._list_objects(api, kind, request, reply)
            case "hello":
                await _plain(reply, 200, b"")
            case "caller":
                await self._caller(scope["method"], scope["path"], request, reply)
            case "healthy":
                await _plain(reply, 200, b"ok\n")
            case "ready":
                await (_plain(reply, 200, b"ready\n") if self._ready() else _plain(reply, 503, b"not ready\n"))
            case _:
                await self._no_way(scope, api, request, reply, found.methods)

    async def _caller(self, method: str, path: str, request: AsgiRequest, reply: AsgiReply) -> None:
        """What is asked beside calls."""
        try:
            said = await self._caller_api(method, path, request)
        finally:
            request.release()
        length = (b"content-length", str(len(said.body)).encode())
        await reply.respond(said.status, [*said.headers, length], said.body)

    async def _list(self, api: Api, request: AsgiRequest, reply: AsgiReply, name: str) -> None:
        """The models that a caller can reach, or one of them."""
        if name:
            one = reachable_model(self._gate, api.family, request.credentials, name)
            said = one if isinstance(one, Refusal) else api.model_entry(one)
        else:
            many = reachable_models(self._gate, api.family, request.credentials)
            said = many if isinstance(many, Refusal) else api.model_page(many)
        if isinstance(said, Refusal):
            await self._refuse(api, request, reply, said)
        else:
            await _respond(reply, 200, b"application/json", said)

    async def _list_objects(self, api: Api, kind: Kind, request: AsgiRequest, reply: AsgiReply) -> None:
        """What of a kind is the caller's."""
        if api.object_page is None:
            raise ValueError(f"{api.family} has no lists of objects")
        objects = own_objects(self._gate, api.family, request.credentials, kind)
        said = objects if isinstance(objects, Refusal) else api.object_page(objects, request.query)
        if isinstance(said, Refusal):
            await self._refuse(api, request, reply, said)
        else:
            await _respond(reply, 200, b"application/json", said)

    async def _refuse(
        self, api: Api, request: AsgiRequest, reply: AsgiReply, refusal: Refusal, *more: tuple[bytes, bytes]
    ) -> None:
        call_id = self._gate.clock.new_id("call")
        self._gate.observer.refused(request, api.dialect.name, call_id, refusal, None)
        await refuse(api.dialect, reply, call_id, refusal, *more)

    async def _stay(self, scope: Scope, api: Api, request: AsgiRequest, reply: AsgiReply) -> None:
        """Nothing is said over a WebSocket here, whatever the path: clients that have another way take it at once."""
        refusal = Refusal(
            code="upgrade_refused",
            sentence=f"This gateway speaks HTTP/1.1 alone and opens no WebSocket at {_shown(scope['path'])}.",
            hint="Send the same as a POST, with `stream` where it shall come in pieces; there is no realtime API here.",
        )
        await self._refuse(api, request, reply, refusal, *_NEEDED)

    async def _no_way(
        self, scope: Scope, api: Api, request: AsgiRequest, reply: AsgiReply, methods: tuple[str, ...]
    ) -> None:
        method, path = scope["method"], _shown(scope["path"])
        if methods:
            refusal = Refusal(
                code="method_not_allowed",
                sentence=f"{path} takes {' or '.join(methods)}, not {method}.",
                hint="Check the SDK's base URL.",
            )
            return await self._refuse(api, request, reply, refusal, (b"allow", ", ".join(methods).encode()))
        table, sent = self._routes.table, scope["path"]
        meant = self._routes.meant(sent, scope["headers"], scope["query_string"])
        near_by = sorted(
            (each for each in table if meant == sent and _near(sent, each)),  # what is another API's is not near
            key=lambda e: (method not in table[e], len(e)),
        )
        close = near_by[:_ROUTES_SHOWN]
        named = (f"{'/'.join(self._routes.table[each])} {each}" for each in close)
        near = f" There is {' and '.join(named)}." if close else ""
        refusal = Refusal(
            code="route_unknown",
            sentence=f"This gateway has no route {method} {path}.",
            hint="OpenAI SDKs use base_url http://HOST:8787/v1, Anthropic and Gemini SDKs http://HOST:8787."
            f"{near} docs/reference/api.md has every route.",
        )
        return await self._refuse(api, request, reply, refusal)


def _near(sent: str, route: str) -> bool:
    """Whether a path is a route but for its base URL (/v1 twice, or not at all), or is something below a route, or does
    something else with what a route does something with.
    """
    before, named, after = route.partition(NAME)
    if named:
        return bool(after) and sent.startswith(before) and len(sent) > len(before)
    return len(sent) > 1 and (route.endswith(sent) or sent.endswith(route) or sent.startswith(f"{route}/"))


def _asks_for_websocket(method: str, named: Mapping[bytes, bytes]) -> bool:
    """Whether a request is the opening handshake of a WebSocket (RFC 6455, section 4.1)."""
    return (
        method == "GET" and b"upgrade" in _tokens(named, b"connection") and b"websocket" in _tokens(named, b"upgrade")
    )


def _tokens(named: Mapping[bytes, bytes], name: bytes) -> list[bytes]:
    return [token.strip().lower() for token in named.get(name, b"").split(b",")]


def _shown(path: str) -> str:
    """A caller's path, for a sentence: words, and nothing as long as a credential that strayed into it."""
    words = (word if len(word) <= _LONGEST_WORD else "..." for word in path[:_PATH_SHOWN].split("/"))
    return "/".join(words)


async def _plain(reply: AsgiReply, status: int, body: bytes) -> None:
    await _respond(reply, status, b"text/plain", body)


async def _respond(reply: AsgiReply, status: int, kind: bytes, body: bytes) -> None:
    await reply.respond(status, [(b"content-type", kind), (b"content-length", str(len(body)).encode())], body)
