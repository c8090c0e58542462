"""The routes of the admin plane that say how limits stand: a part of the table in api.py."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.control import budgets, rates
from comptroller.control.office import Office
from comptroller.control.route import Plain, Route


async def _budgets(office: Office, asked: Plain) -> Sequence[budgets.BudgetRow]:
    """What each window of each budget has spent, holds and has left, now."""
    return await budgets.list_budgets(office)


async def _rates(office: Office, asked: Plain) -> Sequence[rates.RateRow]:
    """What each rate lets through, how much of that is taken, and how many calls wait, now."""
    return rates.list_rates(office)


ROUTES: Sequence[Route] = (
    Route("GET", "/budgets", "viewer", _budgets),
    Route("GET", "/rates", "viewer", _rates),
)
