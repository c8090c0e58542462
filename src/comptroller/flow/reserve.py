"""Reserve: take the hold, on all budgets in one step, and see it safely on disk."""

from __future__ import annotations

import msgspec

from comptroller.core.budget.budget import format_amount, label, say_amount
from comptroller.core.budget.draw import Draw, Window
from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.meter import COUNTED, is_session_bound
from comptroller.core.ids import attempt_id
from comptroller.core.instant import format_instant
from comptroller.core.pricing.estimate import Asked, Estimate
from comptroller.core.refusal import Refusal
from comptroller.flow.attempt import Attempt
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate
from comptroller.flow.incoming import IncomingCall
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.lift import effects_of
from comptroller.flow.permit import Permit
from comptroller.flow.record import call_facts, record_hold
from comptroller.flow.reservation import Reservation, Tried
from comptroller.flow.slices import amounts, first_slice, has_run_ahead, is_metered, size_key, tail_of
from comptroller.flow.weigh import Weighed

_WHATEVER_IS_SENT = frozenset({"calls", "tool_calls", "result_bytes"})  # units that a shorter request takes as much of


class OverdrawnError(Exception):
    """Something was spent between looking and drawing: a fault of ours."""


class Afforded(msgspec.Struct, frozen=True, gc=False):
    """What every budget would hold now, and the output limit that fits."""

    output_limit: int  # per choice
    whole_output: int  # tokens that it comes to, over all choices
    held_output: int  # those of them that the hold is for
    tail_tokens: int | None  # of a stream that may hold in slices
    amounts: Amounts
    lowered_by: str | None = None  # the budget or bound that lowered the limit


def afford(gate: Gate, caller: Caller, permit: Permit, *, full: bool) -> Afforded | Refusal:
    """What could be held for a call on all of its budgets, or which one has too little left. Changes nothing.

    `full`: the whole answer is held, whatever it may be. A stream in slices has to fit as a whole, too, or its limit is
    lowered: it ends by itself then, as it likes.
    """
    weighed = permit.weighed
    draw, bound, asked = weighed.draw, weighed.bound, weighed.asked
    limit = bound.wanted_output_tokens
    tail = None if full else tail_of(weighed)
    whole, lowered_by = bound.all_output(limit), None
    first = whole if tail is None else first_slice(gate, size_key(caller, weighed.decision), tail)
    if draw.binding(amounts(bound, whole)) is not None:
        limit, binding = _affordable(draw, bound)
        if limit < bound.least_output_tokens and binding is not None:
            return _of_lines(_too_dear(draw, binding, bound, limit), draw, binding, bound, asked)
        whole, lowered_by = bound.all_output(limit), None if binding is None else _name(binding)
        needed = amounts(bound, min(whole, first))
        short = draw.binding(needed)
        if short is not None:
            refusal = _exhausted(draw, short, needed.of(short.budget.unit), None)
            return _of_lines(refusal, draw, short, bound, asked)
    held = min(first, whole)
    return Afforded(limit, whole, held, tail, amounts(bound, held), lowered_by)


def reserve(
    gate: Gate, call: IncomingCall, caller: Caller, permit: Permit, afforded: Afforded, tried: tuple[Tried, ...]
) -> Reservation:
    """Draw on every budget what `afford` has just found there: nobody may have waited since.

    `tried`: earlier attempts of the same call; each has ended, and gave back what it did not spend. Raises
    OverdrawnError, and draws on none, if somebody has.
    """
    weighed = permit.weighed
    decision, bound, asked = weighed.decision, weighed.bound, weighed.asked
    number, digest = attempt_id(call.id, len(tried) + 1), gate.credentials.digest(call.body)
    effects = (*call.effects, *permit.effects, *effects_of(weighed, permit.grants))
    facts = call_facts(
        call.dialect, call.id, caller, weighed.now_ns, call.asked, decision, call.body, digest, call.sender,
        permit.ruling, effects, call.tools,
    )  # fmt: skip
    hold = gate.tree.hold(number, weighed.draw, afforded.amounts)
    if isinstance(hold, Window):
        raise OverdrawnError(f"{label(hold.budget.name, hold.key.instance)} has less left than a moment ago")
    if asked.tool is not None:
        gate.tools_used.add(caller.session.top, asked.tool.name)
    if permit.holding is not None:
        gate.affinity.hold(caller.session.id, permit.holding)
    changes = asked.stream and not asked.deferred
    leased = changes and is_metered(weighed) and not has_run_ahead(decision.bound, weighed.now_ns)
    return Reservation(
        call.id, number, facts, weighed.scope_facts, caller, decision, call.request, asked, weighed.rates, bound,
        _written(weighed, afforded.output_limit), hold, _shadowed(weighed.draw), weighed.now_ns, weighed.bounded, tried,
        afforded.whole_output, afforded.held_output, afforded.tail_tokens, leased,
        call.asked.text_tokens - asked.text_tokens,
        _counted(gate, caller, call, bound), call.sender.prefers_full_hold,
        None if permit.instead_of is None else permit.instead_of.rates,
    )  # fmt: skip


def _counted(gate: Gate, caller: Caller, call: IncomingCall, bound: Estimate) -> int:
    """Tokens of input that context caps count for the session from now on; nobody counts where there are none."""
    return gate.inputs.take(caller.session.id, call.asked) if caller.registry.contexts and bound.calls else 0


def _written(weighed: Weighed, limit: int) -> int:
    """The output limit that goes upstream. What is uploaded for later costs nothing now, and is bound all the same."""
    uploaded = weighed.bound.free and weighed.asked.lines
    return weighed.decision.model.limits.max_output_tokens if uploaded else limit


async def make_durable(gate: Gate, reservation: Reservation, attempt: Attempt) -> bool:
    """Wait until the hold is on disk. False if it cannot be, or the call was cut meanwhile: nothing was sent."""
    with attempt.line:
        try:
            written = gate.journal.commit(record_hold(gate, reservation))
            attempt.journalled = True
            await written
            attempt.durable_ns = gate.clock.now_ns() - reservation.taken_at_ns
        except LedgerUnavailableError as error:
            gate.warn("ledger_unavailable", {"comptroller.call.id": reservation.call_id, "message": str(error)})
            attempt.unwritten()
            return False
        return True
    attempt.end_by_cut()
    return False


def _affordable(draw: Draw, bound: Estimate) -> tuple[int, Window | None]:
    """The binding output limit per choice, and the window that made it lower than what was wanted."""
    limit, binding = bound.wanted_output_tokens, None
    money, tokens, thinking = draw.tightest("usd"), draw.tightest("tokens"), draw.tightest("thinking_tokens")
    if money is not None:
        fits = bound.affordable_by_money(draw.left(money))
        if fits < limit:
            limit, binding = fits, money
    if tokens is not None:
        fits = bound.affordable_by_tokens(draw.left(tokens))
        if fits < limit:
            limit, binding = fits, tokens
    if thinking is not None:
        fits = bound.affordable_by_thinking(draw.left(thinking))
        if fits < limit:
            limit, binding = fits, thinking
    return limit, binding


def _name(window: Window) -> str:
    """What a caller knows it as."""
    if is_session_bound(window.budget):
        return f"session.{COUNTED[window.budget.unit].removesuffix('_nanos')}"
    return label(window.budget.name, window.key.instance)


def _shadowed(draw: Draw) -> tuple[str, ...]:
    """The shadow budgets that are overdrawn by this hold: in hard mode they would have refused it."""
    return tuple(label(w.budget.name, w.key.instance) for w in draw.shadow if draw.left(w) < 0)


def _too_dear(draw: Draw, window: Window, bound: Estimate, fits: int) -> Refusal:
    least = bound.least_output_tokens
    refusal = _exhausted(
        draw,
        window,
        amounts(bound, bound.all_output(least)).of(window.budget.unit),
        None if bound.fixed else max(0, fits),
    )
    if not refusal.largest_output_tokens or least == bound.wanted_output_tokens:  # hidden, or not the reason
        return refusal
    why = f" It is cut down to {least} output tokens at the least, unless it asks for fewer itself."
    return msgspec.structs.replace(refusal, sentence=refusal.sentence + why)


def _of_lines(refusal: Refusal, draw: Draw, window: Window, bound: Estimate, asked: Asked) -> Refusal:
    """Of a batch: how many of its lines would fit, taken as alike. It is refused whole: nobody wants half of one."""
    if not asked.lines or refusal.remaining is None:
        return refusal
    needed = amounts(bound, bound.all_output(bound.wanted_output_tokens)).of(window.budget.unit)
    fits = bound.calls * max(0, draw.left(window)) // max(1, needed)
    way = f"about {fits:,} of its {bound.calls:,} lines would fit" if fits else "not one of its lines would fit"
    return msgspec.structs.replace(refusal, sentence=f"{refusal.sentence} It is a batch: {way}.")


def _exhausted(draw: Draw, window: Window, needed: int, largest_output: int | None) -> Refusal:
    """A refusal that says which budget binds; amounts only where the caller may see them."""
    if is_session_bound(window.budget):
        shown = draw.shows(window)
        return _session_exhausted(draw, window, needed, largest_output) if shown else _exhausted_above(window)
    budget, key = window.budget, window.key
    name = label(budget.name, key.instance)
    resets_at = format_instant(window.span.end_ns) if window.span.end_ns is not None else None
    visible = budget.visible == "caller"
    return Refusal(
        code="budget_exhausted",
        sentence=_what_is_left(draw, window, name, needed) if visible else f"The budget {name} has too little left.",
        hint=_way_on(window, needed, resets_at, largest_output if visible else None),
        limit=name,
        unit=budget.unit,
        remaining=format_amount(max(0, draw.left(window)), budget.unit) if visible else None,
        needed=format_amount(needed, budget.unit) if visible else None,
        resets_at=resets_at,
        largest_output_tokens=largest_output if visible else None,
    )


def _session_exhausted(draw: Draw, window: Window, needed: int, largest_output: int | None) -> Refusal:
    """The same for a bound of a session of the chain: there is nothing to wait for, and a way to get more."""
    unit, session = window.budget.unit, window.key.instance
    left = max(0, draw.left(window))
    bound = COUNTED[unit].removesuffix("_nanos")
    fewer = f"ask for at most {largest_output} output tokens, " if largest_output else ""
    more = f"{fewer}open a new session for new work, or ask whoever runs the gateway for a wider bound"
    later = _fits_later(window, needed)
    return Refusal(
        code="session_limit",
        sentence=f"The session {session} has {say_amount(left, unit)} left of its "
        f"{say_amount(window.budget.limit, unit)} ({format_amount(window.posted, unit)} spent, "
        f"{_what_is_held(window)}); this call needs up to {say_amount(needed, unit)}.",
        hint=f"It fits once calls in flight have finished, or {more}." if later else f"You can {more}.",
        limit=f"session.{bound}",
        unit=unit,
        remaining=format_amount(left, unit),
        needed=format_amount(needed, unit),
        largest_output_tokens=largest_output,
    )


def _exhausted_above(window: Window) -> Refusal:
    """The same for a bound of a session of another identity: which one, and no amounts."""
    session, bound = window.key.instance, COUNTED[window.budget.unit].removesuffix("_nanos")
    return Refusal(
        code="session_limit",
        sentence=f"The session {session} above this one has too little left of its {bound}.",
        hint="Send a smaller request, or ask whoever runs that session for more.",
        limit=f"session.{bound}",
        unit=window.budget.unit,
    )


def _what_is_left(draw: Draw, window: Window, name: str, needed: int) -> str:
    unit = window.budget.unit
    return (
        f"The budget {name} has {say_amount(max(0, draw.left(window)), unit)} left of "
        f"{say_amount(window.budget.limit, unit)} ({format_amount(window.posted, unit)} spent, "
        f"{_what_is_held(window)}); this call needs up to {say_amount(needed, unit)}."
    )


def _what_is_held(window: Window) -> str:
    unit, aside = window.budget.unit, window.aside
    shares = f", {format_amount(aside, unit)} set aside for sessions below it" if aside else ""
    return f"{format_amount(window.held - aside, unit)} held by calls in flight{shares}"


def _fits_later(window: Window, needed: int) -> bool:
    """Whether there is room once the calls in flight have ended, and cost nothing."""
    free = window.budget.limit - window.posted - window.aside
    return window.held > window.aside and free >= needed


def _way_on(window: Window, needed: int, resets_at: str | None, largest_output: int | None) -> str:
    if _fits_later(window, needed) and window.budget.visible == "caller":
        return "It fits once calls in flight have finished: send fewer at once, or again in a moment."
    reset = f"wait until it resets at {resets_at}" if resets_at else "ask its owner to raise the limit"
    if window.budget.unit in _WHATEVER_IS_SENT:
        return f"You can {reset}."
    steps = [f"ask for at most {largest_output} output tokens"] if largest_output else []
    steps.append("send a shorter request" + (" or use a cheaper model" if window.budget.unit == "usd" else ""))
    return f"You can {', or '.join([*steps, reset])}."
