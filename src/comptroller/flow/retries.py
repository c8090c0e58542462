"""Retries: who has lately met errors of a provider, and whether a call that is a retry may go out.

The rules are core/detection/retries.py (what a retry is) and core/budget/retry_budget.py (how many). Of whoever meets
no error nothing is kept, and nothing is looked up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from comptroller.core.budget.retry_budget import SHIPPED, RetryBudget, RetryRule
from comptroller.core.budget.scope import Facts, instances
from comptroller.core.detection.retries import Failing
from comptroller.core.effect import Effect
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.refusal import RETRY_AFTER_MOST_S, Refusal

if TYPE_CHECKING:
    from comptroller.flow.gate import Gate

_FAILING_MOST = 10_000  # identities, and budgets of theirs: the names of children come from callers
_BUDGETS_MOST = 20_000


class Retries:
    """What identities have lately met, and what is left of their retry budgets. All of it is gone with the process."""

    def __init__(self) -> None:
        self._failing: OrderedDict[str, Failing] = OrderedDict()
        self._budgets: OrderedDict[tuple[str, str], RetryBudget] = OrderedDict()

    def __bool__(self) -> bool:
        """Whether there is anybody who has lately met an error."""
        return bool(self._failing)

    def of(self, identity: str, now_ns: int) -> Failing | None:
        """What this identity has lately met."""
        failing = self._failing.get(identity)
        return None if failing is None or failing.over(now_ns) else failing

    def failed(self, identity: str, digest: str, now_ns: int, wait_ns: int = 0) -> None:
        """A call of it ended with an error of the provider, after which that wants us to wait so long."""
        failing = self._failing.setdefault(identity, Failing())
        self._failing.move_to_end(identity)
        failing.failed(digest, now_ns, wait_ns)
        if len(self._failing) > _FAILING_MOST:
            self._failing.popitem(last=False)

    def answered(self, identity: str, digest: str, now_ns: int) -> None:
        """A call of it was answered."""
        failing = self._failing.get(identity)
        if failing is not None:
            failing.answered(digest)
            if failing.over(now_ns):
                del self._failing[identity]

    def wait_ns(self, rule: RetryRule, instance: str, now_ns: int) -> int | None:
        """As RetryBudget.wait_ns. Changes nothing."""
        budget = self._budgets.get((rule.name, instance))
        fresh = budget is None or budget.rule != rule
        return 0 if fresh else budget.wait_ns(now_ns)

    def called(self, rule: RetryRule, instance: str, now_ns: int, *, retry: bool) -> None:
        """A call goes out that this budget is for."""
        key = rule.name, instance
        budget = self._budgets.get(key)
        if budget is None or budget.rule != rule:
            budget = self._budgets[key] = RetryBudget(rule, now_ns)
        self._budgets.move_to_end(key)
        budget.called(now_ns, retry=retry)
        if len(self._budgets) > _BUDGETS_MOST:
            self._budgets.popitem(last=False)


def rules_for(rules: Sequence[RetryRule], facts: Facts) -> Iterator[tuple[RetryRule, str]]:
    """Every rule that is for a call, once for each instance; the shipped one if no other is."""
    found = [(rule, instance) for rule in rules for instance in instances(rule.per, rule.scope, facts)]
    yield from found or ((SHIPPED, instance) for instance in instances(SHIPPED.per, SHIPPED.scope, facts))


def look_at_retry(gate: Gate, identity: str, facts: Facts, body: bytes) -> Refusal | Sequence[Effect]:
    """Whether a call may go out if it is a retry, and what rules in shadow mode would have done. Changes nothing."""
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
    now_ns = gate.clock.expiry_ns()
    failing = gate.retries.of(identity, now_ns)
    if failing is not None:
        retry = failing.is_retry(gate.credentials.digest(body), now_ns)
        for rule, instance in rules_for(gate.registry.retries, facts):
            gate.retries.called(rule, instance, now_ns, retry=retry)


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
