"""Loops: a session that takes the same step again and again, and what shows it.

A step is what a request goes on from: the last message of its user or of its tools, with the tool calls that were
answered. A step is new when none of the last 20 was like it, and what is new ends a loop: all counts begin anew. So
an agent that runs the same failing test between edits is not in a loop, and one that runs nothing but the test is.

What is counted is steps that were answered. A call of ours that was refused, or that its provider failed, is none,
and equal calls that are under way at the same time are one: samples of one prompt, or a fan-out.

State is a few hundred bytes a session (`Trail`), and two steps for a tree of sessions (`Rally`).
"""

from __future__ import annotations

from array import array
from hashlib import blake2b
from itertools import pairwise

import msgspec

from comptroller.core.detection.loop_rule import LoopRule, Signal
from comptroller.core.detection.masking import without_ids, without_numbers, without_times
from comptroller.core.detection.simhash import ALIKE_BITS, distance, simhash
from comptroller.core.work.outline import Step

WINDOW = 20  # steps that are remembered
_ERRORS_KEPT = 8
_OPEN_MOST = 64  # steps that are under way at once; of more, equal ones are not known as such
_SAMPLES = 4  # ids of calls that stand for a loop
_CHEAPER = 2  # the last of turns whose cost rises costs at least so many times the first
_NO_MORE = 4  # outputs are constant that differ from their mean by no more than this part of it ...
_NO_MORE_TOKENS = 8  # ... or by so few tokens


class Print(msgspec.Struct, frozen=True, gc=False):
    """A step as it is remembered: by digests. 0: there is none."""

    same: int  # of the step but for times, and for ids in what tools answered; 0: too little is known, it is new
    alike: int = 0  # of the step but for all numbers
    similar: int | None = None  # its SimHash; None: nobody asked for it
    error: int = 0  # of the failing call with its error but for all numbers
    tool: str = ""  # the tool, where one was called


class Sign(msgspec.Struct, frozen=True, gc=False):
    """One signal that is over its threshold."""

    signal: Signal
    count: int
    beyond: int  # steps: 0 at the threshold


def fingerprint(step: Step, rule: LoopRule, *, other: bytes = b"", size_bytes: int = 0) -> Print | None:
    """The digests that a rule asks for; None for a request that goes on from nothing.

    `other`: of what the request holds beside text. `size_bytes`: of a request that has nothing but this step.
    """
    if not step.text and not step.uses:
        return None
    if step.by == "tool" and not step.uses:
        return Print(0)  # the calls that were answered stand at the provider: nobody here knows them
    calls = repr([(each.name, each.arguments) for each in step.uses]) if step.uses else ""
    # In what tools answered to the very same call an id is noise. In a user's words it may be all that matters.
    text = without_ids(step.text) if step.by == "tool" else without_times(step.text)
    same, tool, failed = (
        _digest(f"{size_bytes} {other.hex()} {calls}", text),
        step.uses[-1].name if step.uses else "",
        step.failed,
    )
    wide = rule.looks_wide
    if not wide and not failed:
        return Print(same, tool=tool)
    masked = without_numbers(step.text)
    error = _digest(calls, masked) if failed else 0
    if not wide:
        return Print(same, error=error, tool=tool)
    near = without_numbers(calls)
    similar = simhash(f"{near} {masked}") if rule.similar_step is not None and not other else None
    return Print(same, _digest(f"{other.hex()} {near}", masked), similar, error, tool)


def _digest(calls: str, text: str) -> int:
    whole = f"{len(calls)} {calls}{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(whole, digest_size=8).digest()) or 1


class Trail:
    """The last steps of one session."""

    __slots__ = (
        "_alike", "_alike_run", "_costs", "_error_run", "_errors", "_open", "_outputs", "_repeats", "_same",
        "_same_run", "_similar", "samples", "told", "tries",
    )  # fmt: skip

    def __init__(self) -> None:
        self._same = array("Q")
        self._alike = array("Q")
        self._similar = array("Q")
        self._same_run = 0  # steps up to now, none of them new
        self._alike_run = 0
        self._repeats = 0  # a bit for each of the last steps: it was like an earlier one
        self._errors = dict[int, int]()  # how often each came since the last new step that did not fail
        self._error_run = 0  # steps that failed among those of `_alike_run`
        self._costs = array("q")
        self._outputs = array("q")
        self._open = list[int]()  # steps that are under way
        self.samples: tuple[str, ...] = ()  # ids of calls since the last new step
        self.told = set[Signal]()  # signals of this loop that somebody was told about
        self.tries = 0  # refused since the last new step

    def signs(self, mark: Print, rule: LoopRule) -> list[Sign]:
        """What is over its threshold if this is the next step. Changes nothing."""
        if not self._same or not mark.same:
            return []
        found: list[Sign] = []
        if rule.same_step is not None:
            _add(found, "same_step", _again(self._same.count(mark.same), self._same_run), rule.same_step)
        if rule.same_error is not None and mark.error:
            _add(found, "same_error", self._errors.get(mark.error, 0) + 1, rule.same_error)
        near = self._near(mark) if rule.looks_wide else 0
        if not near:
            return found
        if rule.error_replan is not None:
            _add(found, "error_replan", self._error_run + bool(mark.error), rule.error_replan)
        if rule.rising_cost is not None and self._rises(rule.rising_cost):
            found.append(Sign("rising_cost", rule.rising_cost, 0))
        if rule.similar_step is not None:
            _add(found, "similar_step", _again(near, self._alike_run), rule.similar_step)
        return found

    def begin(self, mark: Print) -> bool:
        """A call with this step was admitted. Whether it is a step of its own: an equal one may be under way."""
        alone = not mark.same or mark.same not in self._open
        if alone and mark.same and len(self._open) < _OPEN_MOST:
            self._open.append(mark.same)
        return alone

    def end(self, mark: Print, call_id: str, *, counts: bool, charge_nanos: int = 0, output_tokens: int = 0) -> None:
        """That call is over. `counts`: it was a step of its own, and was answered."""
        if mark.same in self._open:
            self._open.remove(mark.same)
        if not counts:
            return
        known, near = mark.same != 0 and mark.same in self._same, self._near(mark) > 0
        if not known and not mark.error:
            self._errors.clear()
        if not (known or near):
            self.samples, self.tries = (), 0
            self.told.clear()
        self.samples = (*self.samples[: _SAMPLES - 1], call_id)
        self._same_run = self._same_run + 1 if known else 0
        self._alike_run = self._alike_run + 1 if near else 0
        self._error_run = (self._error_run if near else 0) + bool(mark.error)
        self._repeats = (self._repeats << 1 | (known or near)) & 2**WINDOW - 1
        self._note_error(mark.error)
        _push(self._same, mark.same)
        _push(self._alike, mark.alike)
        _push(self._similar, mark.similar or 0)
        _push(self._costs, charge_nanos)
        _push(self._outputs, output_tokens)

    def abandon(self, mark: Print) -> None:
        """That call was not a step after all."""
        self.end(mark, "", counts=False)

    def _note_error(self, error: int) -> None:
        if not error:
            return
        count = self._errors.pop(error, 0)
        if len(self._errors) >= _ERRORS_KEPT:
            del self._errors[next(iter(self._errors))]  # the one that came longest ago
        self._errors[error] = count + 1

    def _near(self, mark: Print) -> int:
        """How many of the last steps this one is like."""
        if not mark.same:
            return 0
        if mark.similar is None:
            return self._alike.count(mark.alike) if mark.alike else self._same.count(mark.same)
        found = 0
        for alike, similar in zip(self._alike, self._similar, strict=True):
            found += alike == mark.alike or (similar != 0 and distance(similar, mark.similar) <= ALIKE_BITS)
        return found

    def _rises(self, turns: int) -> bool:
        """Whether each of the last turns cost at least what the one before it did, the last far more than the first,
        half of them being like earlier ones, and none brought more output.
        """
        costs, outputs = self._costs[-turns:], self._outputs[-turns:]
        if len(costs) < turns or (self._repeats & 2**turns - 1).bit_count() * 2 < turns:
            return False
        mean = sum(outputs) // turns
        return (
            costs[-1] >= _CHEAPER * costs[0] > 0
            and all(one <= other for one, other in pairwise(costs))
            and all(abs(each - mean) <= max(mean // _NO_MORE, _NO_MORE_TOKENS) for each in outputs)
        )


class Rally:
    """Two identities of one tree that send each other the same again. Kept at the root: two steps, and a count."""

    __slots__ = ("_before", "_last", "_run", "stopped")

    def __init__(self) -> None:
        self.stopped = False  # one of them was refused for it
        self._before: tuple[str, Print] | None = None
        self._last: tuple[str, Print] | None = None
        self._run = 0

    def sign(self, actor: str, mark: Print, exchanges: int) -> Sign | None:
        """Whether they have had so many exchanges, if this is the next step of the tree."""
        run = self._next(actor, mark)
        return None if run < 2 * exchanges else Sign("ping_pong", (run + 1) // 2, run - 2 * exchanges)

    def note(self, actor: str, mark: Print) -> None:
        """A step of the tree was answered."""
        self._run = self._next(actor, mark)
        self.stopped = self.stopped and self._run > 0
        if self._last is not None and actor != self._last[0]:
            self._before = self._last
        self._last = actor, mark

    def _next(self, actor: str, mark: Print) -> int:
        """Steps in a row, this one included, each of which repeats its actor's last one, or the other's."""
        if self._before is None or self._last is None:
            return 0
        if actor == self._last[0]:  # the other was refused, or had nothing to say
            return self._run if _alike(mark, self._last[1]) else 0
        if actor != self._before[0]:
            return 0
        return self._run + 1 if _alike(mark, self._before[1]) or _alike(mark, self._last[1]) else 0


def _alike(one: Print, other: Print) -> bool:
    if one.alike and one.alike == other.alike:
        return True
    if one.similar is None or other.similar is None:
        return False
    return distance(one.similar, other.similar) <= ALIKE_BITS


def _again(matches: int, run: int) -> int:
    """How often a step came already, with nothing new between: this one is the last of `run` + 1 that are not new.

    A whole window without anything new counts, however long the circle is.
    """
    return max(min(matches, run + 1), run + 1 - WINDOW) if matches else 0


def _add(found: list[Sign], signal: Signal, count: int, threshold: int) -> None:
    if count >= threshold:
        found.append(Sign(signal, count, count - threshold))


def _push(ring: array[int], value: int) -> None:
    ring.append(value)
    if len(ring) > WINDOW:
        ring.pop(0)
