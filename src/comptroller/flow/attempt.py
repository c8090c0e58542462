"""One try upstream, as far as it got. `forward` fills it in; `settle` reads it, whatever has happened."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from comptroller.core.budget.settlement import Phase
from comptroller.core.pricing.deferral import Deferral
from comptroller.core.pricing.usage import Usage
from comptroller.core.tool.called import CalledTool
from comptroller.core.work.stored import StoredObject
from comptroller.flow.dialect import Answer, Dialect, Lasting, LastWord, Meter
from comptroller.flow.door import Reply
from comptroller.flow.gate import Gate
from comptroller.flow.lease import Lease
from comptroller.flow.live import Line, LiveCall
from comptroller.flow.outcome import Outcome
from comptroller.flow.reservation import Reservation
from comptroller.flow.upstream import Exchange


class Attempt:
    """The progress of one attempt: how far it got, what was seen, and how it ended."""

    # How it stands at first: on the class, since most of it stays so in most calls.
    exchange: Exchange | None = None
    outcome: Outcome = "fault"  # stands if nothing else is said
    detail = ""
    status: int | None = None  # what the provider answered
    answer_body: bytes | None = None  # a whole answer, not yet sent
    answer: Answer | None = None
    meter: Meter | None = None
    lease: Lease | None = None  # of a stream whose hold changes with it
    head: Sequence[tuple[bytes, bytes]] = ()  # of the stream that the caller gets
    sending = b""  # a piece of it that may not have left yet
    durable_ns: int | None = None  # when the hold was on disk, after it was taken
    first_byte_ns: int | None = None  # likewise
    kept: StoredObject | None = None  # the answer, which the provider keeps, as it is on record
    deferral: Deferral | None = None  # what its provider goes on with, as it is on record
    called: tuple[CalledTool, ...] = ()  # tools, by its answer, once it is settled
    probe = False  # it tries its provider for all
    journalled = False  # the hold is on its way to disk; if it fails there, it never will be
    unheard = False  # the caller is gone; the answer is read on only for its usage
    _phase: Phase = "held"
    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, gate: Gate, dialect: Dialect, reservation: Reservation, reply: Reply) -> None:
        self.line = Line()
        self.dialect = dialect
        self.reservation = reservation
        self.reply = reply
        stored = reservation.request.asked.stored
        # The answer will say something of an object at the provider, and that is not on record yet.
        self.object_unsaid = stored is not None and (stored.keeps or stored.deletes)
        self._hangup_s = gate.limits.finish_after_hangup_s

    @property
    def phase(self) -> Phase:
        """How far it got, by what is known for certain."""
        if self._phase == "held" and self.exchange is not None and self.exchange.written:
            return "written"
        return self._phase

    @property
    def reading(self) -> Answer | Meter | None:
        """Whatever read the provider's answer."""
        return self.meter if self.meter is not None else self.answer

    @property
    def usage(self) -> Usage | None:
        """The provider's own final report, if it came."""
        if self.meter is not None:
            usage = self.meter.usage if self.meter.usage_final else None
        else:
            usage = self.answer.usage if self.answer is not None and not self._is_interim else None
        if usage is None or usage.service_tier is None:
            return usage
        tier = self.reservation.decision.provider.mask.name(usage.service_tier)
        return usage if tier == usage.service_tier else msgspec.structs.replace(usage, service_tier=tier)

    @property
    def _is_interim(self) -> bool:
        """Whether the answer was given before the work is done."""
        asked, answer = self.reservation.request.asked, self.answer
        return asked.deferred and isinstance(answer, Lasting) and answer.pending

    @property
    def goes_on(self) -> Deferral | None:
        """What its hold waits for: the provider has not said what was used, and will."""
        return self.deferral if self.usage is None else None

    @property
    def served_model(self) -> str | None:
        """The model that answered, as the provider names it."""
        reading = self.reading
        return None if reading is None else self.reservation.decision.provider.mask.name(reading.served_model)

    def reached(self, phase: Phase) -> None:
        self._phase = phase

    def end(self, outcome: Outcome, detail: str = "") -> None:
        self.outcome = outcome
        self.detail = detail

    def unwritten(self) -> None:
        """The hold could not be written to disk; there is nothing to be sent and nothing to be settled there."""
        self.journalled = False
        self.end("ledger_unavailable", "the hold could not be written to disk")

    def end_by_cut(self) -> None:
        """The line was cut: its reason is how the attempt ended."""
        said = self.line.said
        if self.line.reason == "capped" and self.lease is not None:
            self.end("capped", self.lease.why)
        else:
            self.end(self.line.reason or "fault", "" if said is None else said.sentence)

    def caller_left(self) -> None:
        """The caller hung up. Stop, if that stops the bill; else read on for a while to learn it."""
        self.unheard = True
        asked = self.reservation.request.asked
        # What goes on anyhow is seen to its end by the poller.
        stops = asked.free or self.deferral is not None
        stops = stops or (asked.tool is not None and asked.tool.hanging_up_cancels)
        stops = stops or (self.reservation.decision.provider.abort_stops_billing and not asked.deferred)
        if stops or self.phase == "held":
            self.line.cut("client_gone")
        elif self._deadline is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(self._hangup_s, self.line.cut, "client_gone")

    def caller_slow(self) -> None:
        """The caller reads so slowly that the buffer is full: it is cut off, the meter is not."""
        self.line.cut("client_slow")

    def close(self) -> None:
        """Let go of the timer and the connection."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self.exchange is None:
            return
        if self.over:
            self.exchange.let_go()
        else:
            self.exchange.abort()

    @property
    def over(self) -> bool:
        """The answer is whole, though the exchange may not be at its end."""
        meter = self.meter
        return self.reservation.request.asked.tool is not None and isinstance(meter, LastWord) and meter.over


def live_call(reservation: Reservation, attempt: Attempt) -> LiveCall:
    """The entry of an attempt among the calls in flight."""
    facts = reservation.facts
    return LiveCall(
        reservation.call_id,
        reservation.attempt_id,
        facts.identity,
        facts.session,
        reservation.scope_facts,
        attempt.line,
        stop_keys=reservation.caller.stop_keys,
        stream=facts.stream,
    )
