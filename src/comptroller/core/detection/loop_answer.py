"""What is done about a loop: warn, slow, refuse; and what is said, so that the model that reads it can act on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from comptroller.core.detection.loop_rule import LoopRule, Signal
from comptroller.core.detection.loops import Print, Rally, Sign, Trail
from comptroller.core.refusal import Refusal

Stage = Literal["warn", "slow", "refuse"]

_ORDER: tuple[Stage, ...] = ("warn", "slow", "refuse")
_LONGEST_NAME = 64  # characters of a tool's name: it comes from callers

# {n}: how often; {what}: the step; {who}: the tool.
_SENTENCES: Mapping[Signal, str] = {
    "same_step": "This is a loop: {what} has come {n} times in this session, with nothing new between.",
    "similar_step": "This is a loop: {what}, or nearly the same, has come {n} times in this session, with nothing new "
    "between.",
    "same_error": "This is a loop: {who} has failed {n} times with the same error for the same arguments.",
    "error_replan": "This is a loop: {n} plans that are nearly the same have failed, one after the other.",
    "ping_pong": "This is a loop: two agents of this run have sent each other the same {n} times.",
    "rising_cost": "This is a loop: over {n} turns each cost more than the one before, and none brought anything more.",
}
_HINTS: Mapping[Signal, str] = {
    "same_step": "Do something different now: {other}answer with what is known already, or say what is missing and "
    "stop.",
    "similar_step": "Do something different now: {other}answer with what is known already, or say what is missing and "
    "stop.",
    "same_error": "The same call will fail again. Change the arguments, use another tool, or report the error and "
    "stop.",
    "error_replan": "The next plan of this kind will fail as well. Report the error and what was tried, and stop, or "
    "take another way.",
    "ping_pong": "Neither of them will say anything new. End the exchange with a result, or with what is not agreed.",
    "rising_cost": "Begin anew with a short summary of what is known, or finish with it.",
}
_LAST = "The same step again is refused again, and costs nothing; a different one is let through."


class Loop(msgspec.Struct, frozen=True, gc=False):
    """A loop that was seen, and the step of the answer that it has come to."""

    stage: Stage
    sign: Sign
    tool: str
    samples: Sequence[str]  # ids of calls that belong to it

    @property
    def sentence(self) -> str:
        """What repeated, and how often."""
        who = f"the tool {self.tool!r}" if self.tool else "the same tool"
        what = f"the same answer of {who} to the same arguments" if self.tool else "the same message"
        return _SENTENCES[self.sign.signal].format(n=self.times, what=what, who=who)

    @property
    def times(self) -> int:
        """How often, this one included."""
        repeated = self.sign.signal in {"same_step", "similar_step"}
        return self.sign.count + repeated

    @property
    def detail(self) -> str:
        """For records and headers: nothing out of a prompt."""
        return f"{self.sign.signal} {self.times} times"

    def refusal(self, rule: LoopRule) -> Refusal:
        """What whoever sent the call is told: what repeated, how often, and what to do instead."""
        other = "other arguments, another tool, " if self.tool else ""
        hint = f"{_HINTS[self.sign.signal].format(other=other)} {_LAST}"
        if rule.quarantine_after is not None:
            hint += f" After {rule.quarantine_after} such refusals the session is quarantined."
        return Refusal(code="loop_detected", sentence=self.sentence, hint=hint, limit=rule.name)


def judge(trail: Trail, rally: Rally | None, actor: str, mark: Print, rule: LoopRule) -> Loop | None:
    """The gravest thing that is to be said of a next step. Changes nothing. `rally`: of the tree; None: it is alone."""
    signs = trail.signs(mark, rule)
    if rally is not None and rule.ping_pong is not None:
        exchanged = rally.sign(actor, mark, rule.ping_pong)
        if exchanged is not None:
            signs.append(exchanged)
    if not signs:
        return None
    stopped = trail.tries > 0 or (rally is not None and rally.stopped)
    stages: list[Stage] = [_stage(each, rule, stopped=stopped) for each in signs]
    gravest = max(range(len(signs)), key=lambda which: _ORDER.index(stages[which]))  # of equal ones the first
    return Loop(stages[gravest], signs[gravest], _named(mark.tool), trail.samples)


def _stage(sign: Sign, rule: LoopRule, *, stopped: bool) -> Stage:
    """How far the answer has come. Once a loop is refused, only what is new is let through."""
    if sign.signal in rule.warn_only:
        return "warn"
    # An error that came three times for the same arguments comes a fourth time.
    at_once = stopped or sign.signal == "same_error"
    if rule.refuse_after is not None and (at_once or sign.beyond >= rule.refuse_after):
        return "refuse"
    if rule.slow_after is not None and sign.beyond >= rule.slow_after:
        return "slow"
    return "warn"


def refused(trail: Trail, rally: Rally | None, loop: Loop) -> None:
    """A step was refused for it."""
    trail.tries += 1
    if rally is not None and loop.sign.signal == "ping_pong":
        rally.stopped = True


def _named(tool: str) -> str:
    return "".join(each for each in tool[:_LONGEST_NAME] if each.isprintable())
