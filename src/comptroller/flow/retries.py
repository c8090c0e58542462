"""Who has lately met errors of a provider, and what is left of their retry budgets.

The rules are core/detection/retries.py (what a retry is) and core/budget/retry_budget.py (how many). Of whoever meets
no error nothing is kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence

from comptroller.core.budget.retry_budget import SHIPPED, RetryBudget, RetryRule
from comptroller.core.budget.scope import Facts, instances
from comptroller.core.detection.retries import Failing

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
        if budget is None or budget.rule != rule:
            budget = RetryBudget(rule, now_ns)
        return budget.wait_ns(now_ns)

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
