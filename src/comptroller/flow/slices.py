"""Slices: which streams hold less than their whole output limit, and how much that is at first.

Amounts of output are tokens over all choices, as `Estimate.cost_nanos` takes them.
"""

from __future__ import annotations

from comptroller.core.budget.bounds import REPEATED_WITHIN_NS, Bound
from comptroller.core.budget.hold import Amounts
from comptroller.core.pricing.estimate import Estimate
from comptroller.core.pricing.sizes import Kind
from comptroller.flow.caller import Caller
from comptroller.flow.decide import Decision
from comptroller.flow.gate import Gate
from comptroller.flow.weigh import Weighed

AT_ONCE = 256  # tokens that one arrival may bring without being a burst: an event or two, and the half of another
MARGIN_LEAST = 1_024  # tokens left at which more is asked for, at the least
UNLEARNED = 3_072  # tokens that an answer is expected to have as long as nobody knows better: some 700 English words

_METERED = frozenset({"usd", "tokens", "thinking_tokens"})


def amounts(bound: Estimate, output: int) -> Amounts:
    """The most that a call with so much output can come to."""
    return Amounts(
        bound.cost_nanos(output),
        bound.raised(bound.input_tokens + output),
        bound.calls,
        bound.raised(output),
        bound.tool_calls,
        bound.result_bytes,
    )


def margin(tail: int) -> int:
    """How much has to be left for more to be asked for: a burst of the tail in plain text fits into it."""
    return max(MARGIN_LEAST, 4 * tail)


def is_metered(weighed: Weighed) -> bool:
    """Whether it is text that budgets which bind draw on, so that holding less of it is worth something."""
    asked = weighed.asked
    text = not (asked.fees or asked.output_fixed or asked.pictures or asked.characters or asked.sound or asked.variant)
    return text and weighed.bounded and not _METERED.isdisjoint(weighed.draw.units)


def tail_of(weighed: Weighed) -> int | None:
    """The tail of a stream that may hold in slices; None: it holds in full.

    All billed output has to be visible as it comes, and closing the connection has to end the bill. Several choices
    at once, predictions and audio are not counted finely enough for that; a request that turns thinking on, or says how
    it is shown, makes what the registry says of the model mean nothing.
    """
    asked, bound, decision = weighed.asked, weighed.bound, weighed.decision
    provider = decision.provider
    fine = (
        asked.stream
        and provider.abort_stops_billing
        and decision.model.visible_output
        and bound.choices == 1
        and not bound.extra_output_tokens
        and not asked.audio_output
        and not asked.hides_output
        and not asked.deferred
        and is_metered(weighed)
        and not has_run_ahead(decision.bound, weighed.now_ns)
    )
    return provider.tail_tokens if fine else None


def has_run_ahead(bound: Bound, now_ns: int) -> bool:
    """Whether it was billed above a hold lately: then it holds in full, and nothing is given back early."""
    return bound.overruns > 0 and now_ns - bound.last_overrun_ns < REPEATED_WITHIN_NS


def size_key(caller: Caller, decision: Decision) -> Kind:
    """The kind of call that learns from those before it how much they had."""
    return caller.identity.id, decision.name, caller.session.task_type or ""


def first_slice(gate: Gate, key: Kind, tail: int) -> int:
    """How much output is held at first: what such answers mostly have, the tail, and what has to be left."""
    expected = gate.sizes.expected(key)
    return (UNLEARNED if expected is None else expected) + tail + AT_ONCE + margin(tail)
