"""Delivering notices: one worker for each receiver, so that a slow or dead one delays nobody else.

A receiver gets one notice at a time, through the one way out of the process. A notice is delivered once the receiver
has answered with a 2xx; before that it may come more than once, under the same id. No redirect is followed, and what
is answered is not kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping

import msgspec

from comptroller.control.notices import Address, Outbox, Pending, Receiver
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.notice.envelope import headers, read_secret
from comptroller.core.problem import Fault
from comptroller.flow.fault import fault_facts
from comptroller.flow.gate import Gate
from comptroller.flow.signal import said_wait_ns
from comptroller.flow.upstream import Timeouts, UpstreamFailure, UpstreamRequest
from comptroller.settings import UnusableKey, read_key

_ANSWER_BYTES = 64 * 1024
_GONE = 410


class Try(msgspec.Struct, frozen=True):
    """How one try went. `error`: what was wrong, in words that hold no secret; empty if it arrived."""

    status: int | None = None
    error: str = ""
    wait_ns: int = 0  # for which the receiver asked

    @property
    def gone(self) -> bool:
        """The receiver wants nothing more, ever."""
        return self.status == _GONE


class Post:
    """Sends notices, one try at a time. It reads the secret anew for each, so a new one holds at once."""

    def __init__(self, gate: Gate, environ: Mapping[str, str]) -> None:
        self._gate = gate
        self._environ = environ

    async def send(self, address: Address, notice_id: str, body: bytes) -> Try:
        """Try once. Nothing is raised."""
        try:
            key = read_secret(read_key("The secret", address.secret, self._environ, []))
        except UnusableKey as reason:
            return Try(error=f"its secret cannot be had: {reason}")
        except Fault as fault:
            return Try(error=f"its secret cannot be used: {fault.sentence}")
        at_s = self._gate.clock.expiry_ns() // NANOS_PER_SECOND
        timeout_s = address.timeout_s
        request = UpstreamRequest(
            address.origin,
            address.path,
            headers(key, notice_id, at_s, body),
            body,
            Timeouts(connect_s=timeout_s, first_byte_s=timeout_s, idle_s=timeout_s, total_s=timeout_s),
        )
        try:
            exchange = self._gate.upstream.open(request, buffer_limit_bytes=_ANSWER_BYTES, on_overflow=lambda: None)
            try:
                await exchange.start()
                if 200 <= exchange.status < 300:
                    with contextlib.suppress(UpstreamFailure):  # it has arrived, however the answer goes on
                        await exchange.read(_ANSWER_BYTES)
                    return Try(exchange.status)
                wait_ns = said_wait_ns(exchange.headers, self._gate.clock.expiry_ns()) or 0
                return Try(exchange.status, f"it answered with status {exchange.status}", wait_ns)
            finally:
                exchange.abort()
        except (UpstreamFailure, ValueError) as error:
            return Try(error=str(error))


async def deliver_forever(gate: Gate, outbox: Outbox, post: Post, chance: random.Random) -> None:
    """Work for every receiver, until this is cancelled."""
    async with asyncio.TaskGroup() as group:
        for receiver in outbox.receivers.values():
            group.create_task(_Worker(gate, outbox, post, receiver, chance).run())


class _Worker:
    """One receiver's."""

    def __init__(self, gate: Gate, outbox: Outbox, post: Post, receiver: Receiver, chance: random.Random) -> None:
        self._gate = gate
        self._outbox = outbox
        self._post = post
        self._receiver = receiver
        self._chance = chance

    async def run(self) -> None:
        while True:
            self._receiver.woken.clear()
            pending = self._receiver.first()
            wait_s = self._wait_s(pending)
            if pending is not None and wait_s is not None and wait_s <= 0:
                await self._try(pending)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._receiver.woken.wait()

    def _wait_s(self, pending: Pending | None) -> float | None:
        """Until something is to be done; None: until something comes."""
        receiver = self._receiver
        if pending is None:
            return None
        if self._hopeless(pending):
            return 0.0
        due_ns = max(pending.next_ns, receiver.quiet_until_ns)
        return (due_ns - self._gate.clock.expiry_ns()) / NANOS_PER_SECOND

    def _hopeless(self, pending: Pending) -> str:
        """Why it is given up without another try, if it is."""
        receiver = self._receiver
        if receiver.gone:
            return f"it has answered with status {_GONE}: it wants nothing more"
        over = self._gate.clock.expiry_ns() > pending.since_ns + receiver.schedule.lasts_ns
        return receiver.error if over and receiver.failures else ""

    async def _try(self, pending: Pending) -> None:
        why = self._hopeless(pending)
        if why:
            self._outbox.give_up(self._receiver, pending, why)
            await asyncio.sleep(0)  # there may be very many
            return
        try:
            tried = await self._post.send(self._receiver.address, pending.id, pending.body)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one notice, the others are delivered
            self._gate.warn("loop_fault", fault_facts(error))
            tried = Try(error="a fault of the gateway")
        pending.tries += 1
        if tried.error:
            self._failed(pending, tried)
        else:
            self._outbox.delivered(self._receiver, pending)

    def _failed(self, pending: Pending, tried: Try) -> None:
        receiver, now_ns = self._receiver, self._gate.clock.expiry_ns()
        receiver.failures += 1
        receiver.error = tried.error
        if tried.gone:
            receiver.gone = True
            self._outbox.give_up(receiver, pending, tried.error)
            return
        schedule, draw = receiver.schedule, self._chance.random
        receiver.quiet_until_ns = now_ns + schedule.quiet_ns(receiver.failures, draw(), tried.wait_ns)
        next_ns = schedule.next_ns(pending.since_ns, now_ns, pending.tries, draw(), tried.wait_ns)
        if next_ns is None:
            self._outbox.give_up(receiver, pending, tried.error)
        else:
            self._outbox.later(receiver, pending, next_ns, tried.error)
