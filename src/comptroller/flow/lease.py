"""Lease: the hold of a stream, slice by slice.

A stream of which every billed token is seen as it comes, at a provider who stops billing when we hang up, does not
need its whole output limit held. It holds its input, what was seen of its output, the tail that may have been made
beyond that, and a piece more; it asks for the next piece ahead of need, and gives back what its input turns out not
to have cost. At every moment

    what is held on disk  >=  input + seen + tail

for a piece counts once it is durable, and the stream is cut before what comes breaks that. So whatever ends it, a kill
of this process too, finds the bill inside of the hold. Why it has this shape: docs/decisions/0016-slices.md.
"""

from __future__ import annotations

import asyncio
from functools import partial

from comptroller.core.budget.budget import label
from comptroller.core.budget.draw import Window
from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.pricing.estimate import Estimate
from comptroller.flow.dialect import Meter
from comptroller.flow.findings import report
from comptroller.flow.gate import Gate
from comptroller.flow.live import Line
from comptroller.flow.records import Extended, Finding
from comptroller.flow.reservation import Reservation
from comptroller.flow.slices import AT_ONCE, amounts, margin
from comptroller.flow.told import with_told

NEVER = 2**63
AHEAD_S = 1.0  # a stream asks as long before its need as this, at the speed it has
_TELLS_S = 0.25  # a shorter time says nothing about the speed
_ALWAYS = -1
_LATE = "what it needed next was not on disk in time"


class Lease:
    """One stream's. It is told what was seen whenever that is more than `due`, and cuts `line` at the end of money."""

    __slots__ = (
        *("_asking", "_began_s", "_behind_s", "_covered", "_gate", "_held", "_id", "_known", "_lacking", "_limit"),
        *("_line", "_margin", "_over", "_reservation", "_seen", "_tail", "bound", "due", "why"),
    )

    def __init__(self, gate: Gate, reservation: Reservation, line: Line) -> None:
        self.bound: Estimate = reservation.estimate  # with the exact input, once that is known
        self.due = _ALWAYS  # the first thing that comes may tell the input
        self.why = ""  # nothing more was to be had, in words
        self._gate = gate
        self._id = reservation.attempt_id
        self._reservation = reservation
        self._line = line
        self._limit = reservation.whole_output
        self._tail = reservation.tail_tokens or 0
        self._margin = margin(self._tail)
        self._held = self._covered = reservation.held_output  # output: in memory, and on disk
        self._asking = 0  # pieces that are on their way to disk
        self._known = False  # the input is exact, or nobody will tell it
        self._lacking = False  # its input was billed above all that could be held for it
        self._over = False
        self._seen = 0  # at the last look
        self._began_s = asyncio.get_running_loop().time()
        self._behind_s: float | None = None  # since when the disk has been behind what was seen

    def look(self, meter: Meter) -> None:
        """What to do about what was seen by now. Does not wait."""
        if self._over:
            return
        seen = meter.seen_output_tokens
        burst, self._seen = seen - self._seen > AT_ONCE, seen
        if not self._known:
            self._learn_input(meter)
        if self._lacking and self._reservation.tail_tokens is not None:
            self._cut(meter)
        elif self._covered < self._limit:
            line = seen + self._tail + AT_ONCE
            if line + self._ahead(seen) > self._held:
                self._ask(seen)
            late = self._is_late(line)
            if line > self._covered and (late or not burst or line > self._held):
                self._cut(meter)
        self._set_due(seen)

    def close(self) -> None:
        """The hold has ended."""
        self._over = True
        self.due = NEVER

    def left_behind(self, meter: Meter) -> bool:
        """Whether more was seen, with the tail, than was ever held for it."""
        return self._held < self._limit and meter.seen_output_tokens + self._tail > self._held

    def _set_due(self, seen: int) -> None:
        """When to look again: halfway to the need, so that a fast stream asks earlier than a slow one."""
        if not self._known:
            self.due = _ALWAYS
        elif self._covered >= self._limit:
            self.due = NEVER
        else:
            left = self._covered - self._tail - AT_ONCE - seen
            self.due = seen + (left // 2 if not self._asking else left)

    def _is_late(self, line: int) -> bool:
        """Whether the disk is behind for longer than a burst may wait: one after another would run on without it."""
        if line <= self._covered:
            self._behind_s = None
            return False
        now_s = asyncio.get_running_loop().time()
        if self._behind_s is None:
            self._behind_s = now_s
        return now_s - self._behind_s > AHEAD_S

    def _ahead(self, seen: int) -> int:
        """How much has to be left, or more is asked for: more in a fast stream."""
        lasted_s = max(_TELLS_S, asyncio.get_running_loop().time() - self._began_s)
        return max(self._margin, min(seen, int(seen * AHEAD_S / lasted_s)))

    def _cut(self, meter: Meter) -> None:
        if meter.done or meter.usage_final:
            return  # it came to its own end, and says what it was
        self.why = self.why or _LATE
        self._line.cut("capped")

    def _ask(self, seen: int) -> None:
        """Hold the next piece in memory, and have it written: it counts from then on.

        The longer the stream, the larger the piece, so that it asks seldom.
        """
        need = seen + self._tail + AT_ONCE
        wanted = min(self._limit, need + self._ahead(seen) + max(2 * self._margin, seen // 2))
        if wanted <= self._held:
            return
        self.why = ""
        short = self._extend(wanted)
        if short is not None:
            self.why = f"the budget {label(short.budget.name, short.key.instance)} has no more for it"
            fits = min(wanted, self._affordable())
            if fits > self._held:
                self._extend(fits)

    def _extend(self, output: int) -> Window | None:
        hold = self._gate.tree.holds[self._id]
        more = amounts(self.bound, output).less(hold.amounts).most(NOTHING)
        found = self._gate.tree.extend(self._id, more)
        if isinstance(found, Window):
            return found
        step, self._held = output - self._held, output
        self._asking += 1
        written = self._gate.journal.commit(Extended(self._id, more))
        written.add_done_callback(partial(self._written, step, more))
        return None

    def _written(self, step: int, more: Amounts, written: asyncio.Future[None]) -> None:
        self._asking -= 1
        failed = written.cancelled() or written.exception() is not None
        if self._over:
            return
        if failed:
            self._gate.tree.shrink(self._id, more)
            self._held -= step
            self._lacking = self._lacking or not step
            self.why = "the ledger could not be written"
        else:
            self._covered += step
        self.due = min(self.due, self._seen)  # look at what comes next

    def _learn_input(self, meter: Meter) -> None:
        """Give back what the input did not cost, as soon as the provider says what it was."""
        told = meter.input_usage
        if told is None:
            self._known = meter.started  # who tells it at all, tells it first
            return
        self._known = True
        exact = with_told(self._reservation, told) if not self._asking else None
        if exact is None:
            return
        hold = self._gate.tree.holds[self._id]
        less = hold.amounts.less(amounts(exact, self._held))
        if NOTHING.exceeds(less):
            self._hold_more_input(exact, hold.amounts)
        elif less.exceeds(NOTHING):
            self.bound = exact
            # Queued before anybody else can hold it: on disk it is free before it is taken again.
            self._gate.tree.shrink(self._id, less)
            self._gate.journal.append(Extended(self._id, NOTHING.less(less)))

    def _hold_more_input(self, exact: Estimate, held: Amounts) -> None:
        """Its input was billed above its bound. That is spent: the hold follows, or the stream is over."""
        bound, self.bound = self.bound, exact
        if amounts(exact, 0).exceeds(amounts(bound, 0)):
            self._find_more_input(bound, exact)
        short = self._extend(self._held)
        if short is not None:
            self._lacking = True
            self.why = f"the budget {label(short.budget.name, short.key.instance)} has no more for its input"

    def _find_more_input(self, bound: Estimate, exact: Estimate) -> None:
        reservation = self._reservation
        model = f"{reservation.decision.provider.name}/{reservation.decision.name}"
        sentence = (
            f"{model} says that the input of this stream is {exact.input_tokens} tokens, and no more than "
            f"{bound.input_tokens} were held for it; what it says counts from now on."
        )
        now_ns = self._gate.clock.now_ns()
        finding = Finding(now_ns, "input_above_bound", reservation.call_id, model, sentence)
        report(self._gate, finding, reservation.facts)

    def _affordable(self) -> int:
        """The most output that the hold can be extended to."""
        hold, bound, fits = self._gate.tree.holds[self._id], self.bound, self._limit
        money, tokens, thinking = (hold.draw.tightest(unit) for unit in ("usd", "tokens", "thinking_tokens"))
        if money is not None:
            fits = min(fits, bound.affordable_by_money(hold.draw.left(money) + hold.amounts.usd))
        if tokens is not None:
            fits = min(fits, bound.affordable_by_tokens(hold.draw.left(tokens) + hold.amounts.tokens))
        if thinking is not None:
            fits = min(fits, bound.affordable_by_thinking(hold.draw.left(thinking) + hold.amounts.thinking_tokens))
        return fits
