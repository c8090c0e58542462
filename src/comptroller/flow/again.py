"""Again: whether a call that is a retry may go out, and what calls that ended make of the next ones.

One attribute is looked at as long as nobody meets an error. The gateway's own further attempts at other providers are
no retries: they are bounded by themselves (failover.py), and the caller hears of one end only.
"""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.core.budget.retry_budget import RetryRule
from comptroller.core.budget.scope import Facts
from comptroller.core.effect import Effect
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.refusal import RETRY_AFTER_MOST_S, Refusal
from comptroller.flow.attempt import Attempt
from comptroller.flow.gate import Gate
from comptroller.flow.retries import rules_for
from comptroller.flow.signal import said_wait, signal_of


def look_at_retry(gate: Gate, identity: str, facts: Facts, body: bytes) -> Refusal | Sequence[Effect]:
    """Whether a call may go out if it is a retry, and what rules in shadow mode would have done. Changes nothing."""
    if not gate.retries:
        return ()
    now_ns = gate.clock.expiry_ns()
    failing = gate.retries.of(identity, now_ns)
    if failing is None:
        return ()
    digest = gate.credentials.digest(body)
    if not failing.is_retry(digest, now_ns):
        return ()
    effects: list[Effect] = []
    for rule, instance in rules_for(gate.registry.retries, facts):
        wait_ns = gate.retries.wait_ns(rule, instance, now_ns)
        if wait_ns == 0:
            continue
        if rule.mode == "hard":
            return _limited(rule, instance, wait_ns, failing.asked_to_wait_ns(digest, now_ns), now_ns)
        effects.append(Effect("shadowed", rule.name, "a retry beyond the retry budget"))
    return effects


def take_retry(gate: Gate, identity: str, facts: Facts, body: bytes) -> None:
    """The call goes out: a retry is paid for, any other call earns a share of one."""
    if not gate.retries:
        return
    now_ns = gate.clock.expiry_ns()
    failing = gate.retries.of(identity, now_ns)
    if failing is not None:
        retry = failing.is_retry(gate.credentials.digest(body), now_ns)
        for rule, instance in rules_for(gate.registry.retries, facts):
            gate.retries.called(rule, instance, now_ns, retry=retry)


def note_call(gate: Gate, attempt: Attempt) -> None:
    """A call has ended, with this as its last attempt."""
    reservation = attempt.reservation
    identity, digest = reservation.caller.identity.id, reservation.facts.body_digest or ""
    if attempt.outcome == "completed" and not gate.retries:
        return  # as nearly always
    now_ns = gate.clock.expiry_ns()
    wait_ns = said_wait(attempt, now_ns)
    match signal_of(attempt.outcome, attempt.status, said_wait=wait_ns is not None):
        case "answered":
            gate.retries.answered(identity, digest, now_ns)
        case "nothing":
            pass
        case _:
            gate.retries.failed(identity, digest, now_ns, wait_ns or 0)


def _limited(rule: RetryRule, instance: str, wait_ns: int | None, asked_ns: int, now_ns: int) -> Refusal:
    share = f"{rule.share_bp / 100:g}%"
    until_ns = None if wait_ns is None else now_ns + max(wait_ns, asked_ns)
    wait_s = RETRY_AFTER_MOST_S if until_ns is None else max(1, -(-(until_ns - now_ns) // NANOS_PER_SECOND))
    way = f"Wait {wait_s} s" if until_ns is not None else "Send something else first, or wait for a while"
    return Refusal(
        code="retry_limited",
        sentence=f"The calls of {instance} fail at the provider, and too many of those it sends are retries: "
        f"{rule.per_minute} a minute and {share} of its other calls may be.",
        hint=f"{way}. Wait longer after each error, and change nothing about the request only to send it again.",
        limit=rule.name,
        resets_at=None if until_ns is None else format_instant(until_ns),
        retry_after_s=min(wait_s, RETRY_AFTER_MOST_S),
    )
