"""One process and those who speak with it: whose answer is whose, and where goes what is nobody's answer.

Of the older era: one client, which the process knows by its handshake. Of the current one: all clients, for their
messages say all of themselves. Then nothing is passed on that does not say which request it belongs to: it could be
about somebody else's.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Protocol

import msgspec

from comptroller.flow.upstream import UpstreamFailure
from comptroller.gateway.stdio import messages
from comptroller.gateway.stdio.child import Child
from comptroller.gateway.stdio.exchange import StdioExchange
from comptroller.gateway.stdio.messages import Message

_UNREAD_MOST_BYTES = 16 * 1024 * 1024  # a process that reads nothing holds no more of our memory
_CALLS_MOST = 1000  # at once
_ASKED_MOST = 1000  # questions of a process that its client has not answered
_KEPT_MOST, _KEPT_MOST_BYTES = 100, 256 * 1024  # for a client that does not listen just now
_ALIVE_S = 10.0  # a process that answers nothing for so long, not even a ping, after a call timed out, hangs


class _Call(msgspec.Struct, gc=False):
    exchange: StdioExchange
    message: Message
    token: msgspec.Raw


class Owner(Protocol):
    """Whoever has the processes of a server (host.py)."""

    def tell(self, event: str, text: str) -> None:
        """Something for the log."""
        ...

    def agreed(self, talk: Conversation) -> None:
        """The server has answered the handshake: from now on there is a session."""
        ...

    def is_older(self, talk: Conversation) -> None:
        """The server does not know the current era."""
        ...

    def ended(self, talk: Conversation, why: str) -> None:
        """The process is gone."""
        ...


class Conversation:
    """Implements `Listener`. `id`: what its client names it by; empty: it is for all."""

    def __init__(self, id_: str, owner: Owner) -> None:
        self.id = id_
        self.ready = not id_  # the handshake is over
        self.child: Child | None = None
        self.used_s = 0.0
        self._owner = owner
        self._calls: dict[int, _Call] = {}
        self._next = 0
        self._asked = OrderedDict[bytes, None]()
        self._stream: StdioExchange | None = None
        self._kept = deque[bytes]()
        self._kept_bytes = 0
        self._ping: tuple[int, asyncio.TimerHandle] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def busy(self) -> bool:
        """Somebody waits for an answer."""
        return bool(self._calls)

    @property
    def listened_to(self) -> bool:
        """Its client waits for what the server says by itself."""
        return self._stream is not None

    # What clients say.

    def ask(self, exchange: StdioExchange, message: Message) -> None:
        """Pass a request on. Raises UpstreamFailure where the process cannot take it; nothing was written then."""
        child = self._able()
        if len(self._calls) >= _CALLS_MOST:
            raise UpstreamFailure("connect", f"{_CALLS_MOST} requests to this process are waiting for answers")
        number = self._number()
        exchange.forever = message.method == "subscriptions/listen"
        exchange.sent()
        exchange.on_end = lambda: self._left(number)
        self._calls[number] = _Call(exchange, message, messages.progress_token(message))
        child.write(messages.numbered(message, number))

    def tell(self, message: Message, body: bytes) -> None:
        """Pass on what wants no answer: a notification, or an answer to what the process asked."""
        child = self._able()
        if message.method is None:
            if bytes(message.id) not in self._asked:
                return
            del self._asked[bytes(message.id)]
        elif message.method == "notifications/cancelled":
            wanted = bytes(messages.cancelled(message))
            numbers = [number for number, call in self._calls.items() if bytes(call.message.id) == wanted]
            for number in numbers[:1]:
                child.write(messages.cancellation(number))
            return
        child.write(messages.to_line(body))

    def listen(self, exchange: StdioExchange) -> None:
        """From now on this stream gets what the process says by itself; an earlier one ends."""
        if self._stream is not None:
            self._stream.close()
        self._stream = exchange
        exchange.forever = True
        exchange.on_end = lambda: self._deaf(exchange)
        exchange.stream()
        while self._kept:
            exchange.said(self._kept.popleft())
        self._kept_bytes = 0

    # What the process says.

    def line(self, line: bytes) -> None:
        message = messages.read(line)
        if message is None:
            self._waste(line)
            self._owner.tell("server_garbled", f"a line of {len(line)} bytes on its standard output is no message")
        elif message.method is None:
            self._answered(message, line)
        else:
            self._said(message, line)

    def note(self, text: str) -> None:
        self._owner.tell("server_said", text)

    def ended(self, why: str) -> None:
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.exchange.fail("cut", f"the server's process is gone: {why}")
        if self._stream is not None:
            self._stream.close()
        if self._ping is not None:
            self._ping[1].cancel()
        self._owner.ended(self, why)

    # Inside.

    def _able(self) -> Child:
        child = self.child
        if child is None or not child.listens:
            raise UpstreamFailure("connect", "the server's process is gone, or takes nothing more")
        if child.unread > _UNREAD_MOST_BYTES:
            raise UpstreamFailure("connect", "the server does not read what it is sent")
        self.used_s = self._loop.time()
        return child

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _answered(self, message: Message, line: bytes) -> None:
        number = message.number
        if self._ping is not None and number == self._ping[0]:
            self._ping[1].cancel()
            self._ping = None
            return None
        call = self._calls.pop(number, None) if number is not None else None
        if call is None:
            return self._waste(line)  # to a request that nobody waits for any more
        self.used_s = self._loop.time()
        body = messages.answered(message, number or 0, call.message.id)
        if call.message.method == "initialize" and not self.ready:
            return self._shaken(call.exchange, body, agreed=not bytes(message.error))
        call.exchange.respond(200, body)
        if call.message.method == "server/discover" and message.error_code == messages.METHOD_NOT_FOUND:
            self._owner.is_older(self)
        return None

    def _shaken(self, exchange: StdioExchange, body: bytes, *, agreed: bool) -> None:
        if agreed:
            self.ready = True
            self._owner.agreed(self)
            exchange.respond(200, body, [(b"mcp-session-id", self.id.encode())])
        else:
            exchange.respond(200, body)
            if self.child is not None:
                self.child.end("it agreed to no session")

    def _said(self, message: Message, line: bytes) -> None:
        number = messages.addressed_to(message)
        call = self._calls.get(number) if number is not None else None
        if call is not None:
            unwanted = message.method == "notifications/progress" and not bytes(call.token)  # nobody gave it a name
            if unwanted:
                self._waste(line)
            elif self.ready:
                call.exchange.said(messages.readdressed(message, call.message.id, call.token))
        elif not self.id:
            self._nobodys(message, line)
        else:
            if message.is_request:
                self._asked[bytes(message.id)] = None
                if len(self._asked) > _ASKED_MOST:
                    self._asked.popitem(last=False)
            self._to_client(line)

    def _nobodys(self, message: Message, line: bytes) -> None:
        self._waste(line)
        if message.is_request and self.child is not None and self.child.unread < _UNREAD_MOST_BYTES:
            self.child.write(messages.refused(message))

    def _to_client(self, line: bytes) -> None:
        """To the one request that waits, for it is likely about that; else to the stream; else to any request."""
        calls = list(self._calls.values()) if self.ready else []
        if len(calls) == 1 or (calls and self._stream is None):
            calls[-1].exchange.said(line)
        elif self._stream is not None:
            self._stream.said(line)
        else:
            self._keep(line)

    def _keep(self, line: bytes) -> None:
        self._waste(line)
        self._kept.append(line)
        self._kept_bytes += len(line)
        while len(self._kept) > _KEPT_MOST or self._kept_bytes > _KEPT_MOST_BYTES:
            self._kept_bytes -= len(self._kept.popleft())

    def _waste(self, line: bytes) -> None:
        if self.child is not None:
            self.child.wasted(len(line))

    def _left(self, number: int) -> None:
        """Nobody waits for this answer any more: it timed out, or its caller is gone."""
        call = self._calls.pop(number, None)
        child = self.child
        if call is None or child is None or not child.listens or child.unread > _UNREAD_MOST_BYTES:
            return
        if call.message.method == "initialize" and not self.ready:
            child.end("nobody waited for its handshake")
            return
        child.write(messages.cancellation(number))
        self._feel(child)

    def _feel(self, child: Child) -> None:
        """Find out whether the process hangs: then it is ended, and the next request gets another."""
        if self._ping is not None:
            return
        number, asked_s = self._number(), self._loop.time()

        def look() -> None:
            self._ping = None
            if child.heard_s < asked_s:
                child.kill(f"it hangs: it said nothing for {_ALIVE_S:g} s, not even to a ping")

        self._ping = number, self._loop.call_later(_ALIVE_S, look)
        child.write(messages.ping(number))

    def _deaf(self, exchange: StdioExchange) -> None:
        if self._stream is exchange:
            self._stream = None
