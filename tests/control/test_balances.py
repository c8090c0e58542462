"""Which balances a start reads."""

from pathlib import Path

from comptroller.control.balances import standing_balances
from comptroller.core.budget.budget import Budget
from comptroller.core.budget.hold import WindowKey
from comptroller.core.budget.window import WindowKind, span_at
from tests.store.samples import CHARGE, NOW_NS, settled, started

HOUR_NS = 3_600_000_000_000


def budget(name: str, window: WindowKind, **other: str) -> Budget:
    known = {"scope": {}, "unit": "usd", "limit": 1, "time_zone": "UTC", "per": None, "mode": "hard"}
    return Budget(name=name, window=window, visible="operator", **(known | other))  # type: ignore[arg-type]


async def test_of_each_budget_only_the_current_windows_are_read(tmp_path: Path) -> None:
    """A month beside it does not make a budget of an hour read all the hours of that month."""
    hourly, monthly, ever = budget("h", "hour", per="identity"), budget("m", "month"), budget("l", "lifetime")
    sessional = budget("s", "day", per="session")

    def window(of: Budget, instance: str, hours_ago: int = 0) -> WindowKey:
        return WindowKey(of.key, instance, span_at(of.window, of.zone, NOW_NS - hours_ago * HOUR_NS).start_ns)

    current = (window(hourly, "agent/a"), window(monthly, ""), window(ever, ""), window(sessional, "ses_1"))
    past = (window(hourly, "agent/a", 1), window(hourly, "agent/b", 30), window(sessional, "ses_2"))
    async with started(tmp_path) as store:
        store.journal.append(settled(1, windows=(*current, *past)))
        await store.fold()
        found = await standing_balances(store, (hourly, monthly, ever, sessional), {"ses_1"}, NOW_NS)
    assert found == dict.fromkeys(current, CHARGE)
