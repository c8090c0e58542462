"""Lift: what grants in force let a call do beyond policies and budgets, and what a person could be asked about it.

Nothing here is taken: a grant's meter is among what the call draws on from then on, and is held with all the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from comptroller.core.approval.approvals import GrantKey
from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ask, rounded_up
from comptroller.core.budget.budget import label
from comptroller.core.budget.draw import Lift, Window
from comptroller.core.budget.meter import Meter, is_session_bound, ledger_key
from comptroller.core.budget.soft import Soft
from comptroller.core.effect import Effect
from comptroller.core.policy.request import LARGEST_LONG
from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.flow.approvals import asked_by, task_of
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate
from comptroller.flow.slices import amounts
from comptroller.flow.weigh import Weighed, known_bounds, weigh

NO_BUDGETS: frozenset[str] = frozenset()


class Lifted(NamedTuple):
    """The call as it draws by these grants."""

    weighed: Weighed
    grants: tuple[Grant, ...]


def lift(
    gate: Gate,
    caller: Caller,
    lifted: Lifted,
    role: str,
    *,
    suspending: bool,
    naming: frozenset[str] = NO_BUDGETS,
    budgets: frozenset[str] = NO_BUDGETS,
) -> Lifted | None:
    """By one more grant of a role, if there is one with enough left for the call: one that suspends what is marked by
    the role, where that is wanted, or that names these budgets. `budgets` have no say in the call any more.
    """
    if not gate.approvals.has_grants:
        return None
    weighed, used = lifted
    without = weighed.draw.lift.budgets | budgets
    counted = {ledger_key(each.id) for each in used}
    broken = [meter for meter in weighed.draw.lift.meters if meter.key not in counted]  # break-glass counts it still
    for grant in _candidates(gate, caller, used, role, weighed.asked):
        if not ((suspending and grant.suspends) or (naming and naming <= {*grant.budgets})):
            continue
        grants = used if grant in used else (*used, grant)
        meters = [meter for each in grants if (meter := gate.tree.meter(each.id)) is not None]
        if len(meters) < len(grants):
            continue
        again = weigh(gate, caller, weighed.decision, weighed.asked, Lift((*broken, *meters), without))
        if isinstance(again, Weighed) and _has_enough(meters, again):
            return Lifted(again, grants)
    return None


def pass_steps(gate: Gate, caller: Caller, lifted: Lifted) -> Lifted | tuple[Soft, Window]:
    """Past every soft step that wants an approval; else the first whose role has given none."""
    for step, window in lifted.weighed.draw.passed():
        if step.act != "approval" or window.budget.mode == "shadow":
            continue
        by_it = lift(gate, caller, lifted, step.value, suspending=True, naming=frozenset({window.budget.name}))
        if by_it is None:
            return step, window
        lifted = by_it
    return lifted


def lift_short(gate: Gate, caller: Caller, lifted: Lifted) -> Lifted | Ask | None:
    """With what has too little left lifted, as far as it takes one more role; else whom to ask for that. None: nobody
    could lift all of it.
    """
    short = _short(lifted.weighed)
    role = short[0].budget.owner_role if short else None
    if role is None or any(is_session_bound(w.budget) or w.budget.owner_role is None for w in short):
        return None
    unit = short[0].budget.unit
    names = frozenset(w.budget.name for w in short if w.budget.owner_role == role and w.budget.unit == unit)
    by_it = lift(gate, caller, lifted, role, suspending=False, naming=names, budgets=names)
    if by_it is not None:
        return by_it
    bound = lifted.weighed.bound
    needed = amounts(bound, bound.all_output(bound.wanted_output_tokens)).of(unit)
    asked = _ask(lifted.weighed, role)
    return msgspec.structs.replace(asked, budgets=tuple(sorted(names)), amount=rounded_up(needed), unit=unit)


def ask_about(weighed: Weighed, role: str, reason: str, policies: Iterable[str] = (), budget: str | None = None) -> Ask:
    """What a role would be asked: to suspend these forbids or a budget's soft step, and to lift what of its own has too
    little left for the call besides.
    """
    own = {w.budget.name for w in _short(weighed) if w.budget.owner_role == role and w.budget.unit == "usd"}
    asked, steps = _ask(weighed, role, reason), () if budget is None else (budget,)
    return msgspec.structs.replace(asked, policies=tuple(policies), thresholds=steps, budgets=tuple(sorted(own)))


def effects_of(weighed: Weighed, grants: Sequence[Grant]) -> tuple[Effect, ...]:
    """What grants did to the call, and what soft steps in shadow mode would have asked for."""
    if not (grants or weighed.draw.soft):
        return ()
    found = [Effect("lifted", each.id, _what(each, weighed)) for each in grants]
    shadow = [(s, w) for s, w in weighed.draw.passed() if s.act == "approval" and w.budget.mode == "shadow"]
    return (*found, *(Effect("shadowed", w.budget.name, _shown(step, w)) for step, w in shadow))


def step_refusal(step: Soft, window: Window) -> Refusal:
    """The no of a soft step that wants an approval."""
    name = label(window.budget.name, window.key.instance)
    far = f"{window.budget.share_of(step)} of its limit"
    sentence = f"The budget {name} has come to {far} from which on calls need the approval of {step.value}."
    return Refusal(code="approval_required", sentence=sentence, hint="", limit=name)


def _tool(asked: Asked) -> tuple[str, str]:
    """The tool that is called and the digest of what it is called with; nothing for a model."""
    return ("", "") if asked.tool is None else (asked.tool.name, asked.tool.arguments_digest)


def _candidates(gate: Gate, caller: Caller, used: Sequence[Grant], role: str, asked: Asked) -> Sequence[Grant]:
    """Those that count the call already, then the others."""
    found = gate.approvals.applying(keys_of(gate, caller), role, gate.clock.expiry_ns(), *_tool(asked))
    others = usable(gate, caller, [each for each in found if each not in used])
    return (*(each for each in used if each.role == role), *others)


def usable(gate: Gate, caller: Caller, grants: Sequence[Grant]) -> Sequence[Grant]:
    """Those of these that somebody else than whoever asks has given."""
    return gate.approvals.by_others(grants, asked_by(gate, caller.session)) if grants else grants


def keys_of(gate: Gate, caller: Caller) -> tuple[GrantKey, ...]:
    """What a grant can be bound to for it to be this caller's."""
    own: tuple[GrantKey, ...] = (("session", caller.claims.session), ("identity", caller.identity.id))
    task = task_of(gate, caller.session)
    return own if task is None else (*own, ("task", task))


def _has_enough(meters: Sequence[Meter], weighed: Weighed) -> bool:
    """Whether the call, cut down as far as it may be, fits what is left of these grants; of nothing, nothing fits."""
    bound = weighed.bound
    needed = amounts(bound, bound.all_output(bound.least_output_tokens))
    return all(w.remaining >= max(1, needed.of(w.budget.unit)) for meter in meters for w in meter.windows)


def _short(weighed: Weighed) -> Sequence[Window]:
    """What has too little left for the call, cut down as far as it may be."""
    draw, bound = weighed.draw, weighed.bound
    needed = amounts(bound, bound.all_output(bound.least_output_tokens))
    return [w for windows in draw.hard.values() for w in windows if draw.left(w) < needed.of(w.budget.unit)]


def _ask(weighed: Weighed, role: str, reason: str = "") -> Ask:
    estimate_nanos, input_tokens = known_bounds(weighed)
    known = estimate_nanos < LARGEST_LONG
    amount = rounded_up(estimate_nanos) if known and estimate_nanos > 0 else None
    return Ask(
        role=role,
        reason=reason,
        model=weighed.decision.name,
        estimate_nanos=estimate_nanos if known else None,
        input_tokens=input_tokens if input_tokens < LARGEST_LONG else None,
        amount=amount,
    )


def _shown(step: Soft, window: Window) -> str:
    return f"{window.budget.share_of(step)} {step.act}:{step.value}"


def _what(grant: Grant, weighed: Weighed) -> str:
    lifted = sorted(weighed.draw.lift.budgets & {*grant.budgets})
    words = [f"approval:{grant.role}"] if grant.suspends else []
    return ", ".join([*words, *(f"budget {name}" for name in lifted)])
