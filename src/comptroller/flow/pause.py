"""Pause: a call waits for the answer of a person, because its caller would rather wait than be refused.

Nothing is held meanwhile, and nothing was decided for good: once somebody has answered, the call is admitted from the
start. `Prefer: wait=N` (RFC 7240) says for how long; N counts from the first question of the call.
"""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from comptroller.core.approval.ticket import Ticket
from comptroller.flow.answer import kept_preferences
from comptroller.flow.ask import ANSWERED_NO, ask_for, told_of
from comptroller.flow.decide import standing
from comptroller.flow.door import Reply
from comptroller.flow.gate import Gate
from comptroller.flow.identify import renewed
from comptroller.flow.incoming import IncomingCall
from comptroller.flow.permit import Denied
from comptroller.flow.reservation import Reservation

_LOOK_EVERY_S = 1.0  # whether the caller may still act at all: what ends that wakes nobody
_COMMENT_EVERY_S = 10.0
_EVENT_STREAMS = frozenset({"openai_chat", "openai_responses", "anthropic_messages"})  # whose SDKs pass over comments


class Pause:
    """The waits of one call, all together no longer than its caller would wait."""

    def __init__(self, gate: Gate, call: IncomingCall, reply: Reply) -> None:
        self._gate, self._call, self._reply = gate, call, reply
        preferred_s = call.sender.prefers_wait_s
        self.seconds = int(min(preferred_s or call.waits_s, gate.limits.approval_wait_s))
        self._said = kept_preferences(self.seconds if preferred_s else 0)
        self._began = asyncio.get_running_loop().time()
        self._said_at = self._began - _COMMENT_EVERY_S
        self._waited_for = ""  # the last ticket

    async def asked(self, denied: Denied) -> Denied:
        """A denial that a person could turn into a yes: with its ticket, and a wait for it if that is wanted."""
        if denied.ask is None:
            return denied
        last = self._gate.approvals.ticket(self._waited_for)
        if last is not None and last.state == "withdrawn":
            return told_of(denied, last)  # whoever takes a question back does not ask it again by waiting
        ticket, told = await ask_for(self._gate, self._call, denied, denied.ask)
        if ticket is None or ticket.state in ANSWERED_NO or not self.seconds:
            return told
        return msgspec.structs.replace(told, wait=_Answer(self, ticket))

    def told(self, admitted: Reservation | Denied) -> Reservation | Denied:
        """What became of it, with how long it would have waited."""
        if not (self.seconds and self._said):
            return admitted
        if isinstance(admitted, Denied):
            return msgspec.structs.replace(admitted, headers=(*admitted.headers, *self._said))
        return msgspec.structs.replace(admitted, waited_s=self.seconds)

    async def until(self, ticket: Ticket) -> bool:
        """Wait until the ticket is answered or something else changed. False: nobody answered, or the caller left."""
        gate, caller, sender = self._gate, renewed(self._gate, self._call.caller), self._call.sender
        self._waited_for = ticket.id
        now = gate.approvals.ticket(ticket.id)
        if now is None or not now.open:
            return True
        woken, registry = gate.waiting.join(ticket.id, caller.identity.id), gate.registry
        if woken is None:  # too many wait: it is told of its ticket at once
            self.seconds = 0
            return False
        gone = asyncio.Event()
        sender.watch(partial(_leave, gone, woken))
        caller.at_work(gate.clock.now_ns())  # a session that waits is not idle
        try:
            while not gone.is_set():
                left_s = self._began + self.seconds - asyncio.get_running_loop().time()
                if left_s <= 0:
                    return False
                await self._keep_alive(ticket)
                try:
                    async with asyncio.timeout(min(_LOOK_EVERY_S, left_s)):
                        await woken.wait()
                except TimeoutError:
                    pass
                if woken.is_set() or gate.registry is not registry or standing(gate, caller) is not None:
                    return not gone.is_set()
            return False
        finally:
            caller.at_rest(gate.clock.now_ns())
            sender.unwatch()
            gate.waiting.leave(ticket.id, woken)

    async def _keep_alive(self, ticket: Ticket) -> None:
        """A stream that would be silent for too long begins before its call is decided, with comments."""
        call, reply, now = self._call, self._reply, asyncio.get_running_loop().time()
        if not call.asked.stream or call.dialect.name not in _EVENT_STREAMS:
            return
        if now - self._began < self._gate.limits.early_headers_s or now - self._said_at < _COMMENT_EVERY_S:
            return
        if not reply.started:
            await reply.start(200, self._early_headers())
        self._said_at = now
        await reply.send(f": {ticket.id} waits for {ticket.role}\n\n".encode())

    def _early_headers(self) -> list[tuple[bytes, bytes]]:
        call = self._call
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-comptroller-call-id", call.id.encode()),
            *self._said,
        ]
        if call.dialect.request_id_header is not None:
            headers.append((call.dialect.request_id_header, call.id.encode()))
        return headers


class _Answer:
    """A wait (flow/permit.py) for the answer to one ticket."""

    def __init__(self, pause: Pause, ticket: Ticket) -> None:
        self._pause, self._ticket = pause, ticket

    async def over(self) -> bool:
        return await self._pause.until(self._ticket)


def _leave(gone: asyncio.Event, woken: asyncio.Event) -> None:
    gone.set()
    woken.set()
