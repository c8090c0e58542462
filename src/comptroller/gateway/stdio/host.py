"""The servers that we run: processes are started when they are needed, and ended when they are not.

Implements `flow.upstream.Upstream` for origins of the scheme "stdio". A client of the older era has a process of its
own: the handshake, what a server asks of its client, and what it remembers are one client's. Clients of the current
era share one process, as they would share a server elsewhere.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping

from comptroller.flow.upstream import UpstreamFailure, UpstreamRequest
from comptroller.gateway.stdio import messages
from comptroller.gateway.stdio.backoff import Backoff
from comptroller.gateway.stdio.child import Child, start_child
from comptroller.gateway.stdio.conversation import Conversation
from comptroller.gateway.stdio.exchange import StdioExchange
from comptroller.gateway.stdio.messages import Message
from comptroller.gateway.stdio.program import Program

Say = Callable[[str, Mapping[str, str]], None]
"""Writes a line into the log: the event, and what there is to say of it."""

_SESSION = b"mcp-session-id"
_SWEEP_MOST_S = 15.0
_ROOM_S = 60.0  # where there is no room, a session that was idle for so long makes some
_CLOSE_MOST_S = 5.0
_LOST = "Session not found: initialize anew."
_NO_SESSION = "Initialize first, and send the mcp-session-id that the answer names."
_OLDER = "This server speaks revisions with a handshake only: initialize."
_FULL = "All processes that this server may have are in use. Try again later."


class StdioServers:
    """Implements `Upstream`. `line_bytes`: the longest message that a process may write."""

    def __init__(self, programs: Mapping[str, Program], line_bytes: int, say: Say) -> None:
        self._programs = programs
        self._line_bytes = line_bytes
        self._say = say
        self._servers: dict[str, _Server] = {}

    def open(
        self, request: UpstreamRequest, *, buffer_limit_bytes: int, on_overflow: Callable[[], None]
    ) -> StdioExchange:
        """Raises ValueError for a server that is not to be run."""
        name = request.origin.host
        server = self._servers.get(name)
        if server is None:
            program = self._programs.get(name)
            if program is None:
                raise ValueError(f"there is no program for the server {name!r}")
            server = self._servers[name] = _Server(program, self._line_bytes, self._say)
        return StdioExchange(server, request, buffer_limit_bytes, on_overflow)

    async def close(self) -> None:
        """End every process, and wait until it is gone."""
        gone = [each for server in self._servers.values() for each in server.close()]
        if gone:
            await asyncio.wait(gone, timeout=_CLOSE_MOST_S)
        for server in self._servers.values():
            server.kill()


class _Server:
    """One server and all its processes."""

    def __init__(self, program: Program, line_bytes: int, say: Say) -> None:
        self.program = program
        self._line_bytes = line_bytes
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._by_id: dict[str, Conversation] = {}
        self._all: dict[Conversation, float] = {}  # with a process or about to have one, and since when
        self._shared: Conversation | None = None
        self._starting: asyncio.Task[None] | None = None  # the shared one
        self._only_older = False  # it has answered that it does not know the current era
        self._children: set[Child] = set()
        self._backoff = Backoff()
        self._sweeping: asyncio.TimerHandle | None = None
        self._sweep_s = min(_SWEEP_MOST_S, program.idle_s)
        self._closed = False

    async def take(self, exchange: StdioExchange) -> None:
        """Serve one HTTP request, as streamable HTTP has it."""
        request = exchange.request
        given = next((value.decode("latin-1") for name, value in request.headers if name == _SESSION), None)
        talk = self._by_id.get(given) if given is not None else None
        if request.method != "POST":
            return self._without_body(exchange, given, talk)
        message = messages.read(request.body)
        if message is None:
            return exchange.respond(400, messages.error(b"", messages.INVALID_REQUEST, "This is no message."))
        if given is not None and talk is None:
            return exchange.respond(404, messages.error(bytes(message.id), messages.SESSION_LOST, _LOST))
        if talk is not None:
            return self._go_on(exchange, talk, message)
        if message.is_request and message.method == "initialize":
            return await self._begin(exchange, message)
        if message.modern or not message.is_request:
            return await self._share(exchange, message)
        return exchange.respond(400, messages.error(bytes(message.id), messages.INVALID_REQUEST, _NO_SESSION))

    # What a request can be.

    def _without_body(self, exchange: StdioExchange, given: str | None, talk: Conversation | None) -> None:
        method = exchange.request.method
        if method not in {"GET", "DELETE"} or given is None:
            exchange.respond(405, messages.error(b"", messages.INVALID_REQUEST, _NO_SESSION), [(b"allow", b"POST")])
        elif talk is None:
            exchange.respond(404, messages.error(b"", messages.SESSION_LOST, _LOST))
        elif method == "DELETE":
            self._end(talk, "its client ended the session")
            exchange.respond(200)
        else:
            talk.listen(exchange)

    def _go_on(self, exchange: StdioExchange, talk: Conversation, message: Message) -> None:
        if message.is_request:
            talk.ask(exchange, message)
            return
        talk.tell(message, exchange.request.body)
        exchange.written = True
        exchange.respond(202)

    async def _begin(self, exchange: StdioExchange, message: Message) -> None:
        """A handshake: a process of its own, and an id for it once the server has agreed."""
        refused = self._make_room()
        if refused is not None:
            return exchange.respond(503, messages.error(bytes(message.id), messages.INVALID_REQUEST, refused))
        talk = self._talk(secrets.token_urlsafe(24))
        await self._start(talk, exchange.request.timeouts.connect_s)
        if exchange.finished:
            return self._end(talk, "its client is gone")
        talk.ask(exchange, message)
        return None

    async def _share(self, exchange: StdioExchange, message: Message) -> None:
        if not message.is_request:
            return exchange.respond(202)  # the current era has none of these, and whose it is nobody says
        if self._only_older:
            data = {"supported": messages.LEGACY_VERSIONS, "requested": ""}
            body = messages.error(bytes(message.id), messages.UNSUPPORTED_VERSION, _OLDER, data)
            return exchange.respond(400, body)
        talk = await self._shared_talk(exchange.request.timeouts.connect_s)
        talk.ask(exchange, message)
        return None

    # Processes.

    def _make_room(self) -> str | None:
        """Why no further process may be started; None: one may. One that has long been idle is ended for it."""
        own = [talk for talk in self._all if talk.id]
        if len(own) < self.program.processes:
            return None
        now_s = self._loop.time()
        idle = [talk for talk in own if talk.ready and not talk.busy and now_s - talk.used_s > _ROOM_S]
        if not idle:
            return _FULL
        self._end(min(idle, key=lambda talk: (talk.listened_to, talk.used_s)), "another client needed its place")
        return None

    async def _shared_talk(self, connect_s: float) -> Conversation:
        """The process for all clients of the current era, which several may wait for at once."""
        while (talk := self._shared) is None or talk.child is None:
            if self._starting is None:
                self._shared = self._talk("")
                self._starting = asyncio.create_task(self._start(self._shared, connect_s))
                self._starting.add_done_callback(lambda done: done.cancelled() or done.exception())
            starting = self._starting
            try:
                await asyncio.shield(starting)
            finally:
                if starting.done() and self._starting is starting:
                    self._starting = None
        return talk

    def _talk(self, id_: str) -> Conversation:
        talk = Conversation(id_, self)
        self._all[talk] = self._loop.time()
        return talk

    async def _start(self, talk: Conversation, connect_s: float) -> None:
        """Raises UpstreamFailure, kind `connect`."""
        try:
            child = await self._child(talk, connect_s)
        except BaseException:
            self._forget(talk)
            raise
        self._children.add(child)
        child.gone.add_done_callback(lambda _: self._children.discard(child))
        talk.child, talk.used_s = child, self._loop.time()
        self._all[talk] = talk.used_s
        self._tell("server_started", {"process.pid": str(child.pid)})
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(self._sweep_s, self._sweep)

    async def _child(self, talk: Conversation, connect_s: float) -> Child:
        wait_s = self._backoff.wait_s(self._loop.time())
        if self._closed:
            raise UpstreamFailure("connect", "the gateway is shutting down")
        if wait_s:
            why = f"it ended {self._backoff.failures} times right after its start; the next is in {wait_s:.1f} s"
            raise UpstreamFailure("connect", why)
        try:
            async with asyncio.timeout(connect_s):
                return await start_child(self.program, talk, self._line_bytes)
        except TimeoutError:
            raise UpstreamFailure("connect", f"it was not started after {connect_s:g} s") from None

    def _end(self, talk: Conversation, why: str) -> None:
        self._forget(talk)
        if talk.child is not None:
            talk.child.end(why)

    def _forget(self, talk: Conversation) -> None:
        self._all.pop(talk, None)
        self._by_id.pop(talk.id, None)
        if self._shared is talk:
            self._shared = None

    def _sweep(self) -> None:
        now_s = self._loop.time()
        for talk in list(self._all):
            quiet = talk.child is not None and not talk.busy and not talk.listened_to
            if quiet and now_s - talk.used_s > self.program.idle_s:
                self._end(talk, f"nobody asked it anything for {self.program.idle_s:g} s")
        self._sweeping = self._loop.call_later(self._sweep_s, self._sweep) if self._all else None

    def close(self) -> list[asyncio.Future[None]]:
        """Take nothing more, and end what runs. Returns what to wait for."""
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        for child in self._children:
            child.end("the gateway stops")
        return [child.gone for child in self._children]

    def kill(self) -> None:
        """End what did not end when it was asked to."""
        for child in tuple(self._children):
            child.kill("the gateway stops")

    # What conversations say (`conversation.Owner`).

    def tell(self, event: str, text: str) -> None:
        self._tell(event, {"message": text})

    def agreed(self, talk: Conversation) -> None:
        self._by_id[talk.id] = talk
        self._backoff.answered()

    def is_older(self, talk: Conversation) -> None:
        self._only_older = True
        self._end(talk, "it does not know the current revision")

    def ended(self, talk: Conversation, why: str) -> None:
        asked = talk.child is not None and talk.child.asked_to_end
        now_s, since_s = self._loop.time(), self._all.get(talk)
        self._forget(talk)
        if not asked and since_s is not None:
            self._backoff.ended(now_s - since_s, now_s)
        self._tell("server_ended" if asked else "server_failed", {"message": why})

    def _tell(self, event: str, fields: Mapping[str, str]) -> None:
        self._say(event, {"comptroller.server": self.program.name, **fields})
