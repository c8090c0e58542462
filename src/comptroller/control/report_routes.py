"""The routes of the admin plane that report over many calls: a part of the table in api.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from comptroller.control import savings, spend
from comptroller.control.interfaces import SpendDimension
from comptroller.control.office import Office
from comptroller.control.reading import read_instant
from comptroller.control.requests import Instant, SpendQuery
from comptroller.control.route import Asked, Route, Sent
from comptroller.control.savings_books import SavingsDimension


class SavingsQuery(Sent, frozen=True):
    """Which calls, and what the rows are."""

    by: Annotated[SavingsDimension, Meta(description="What the rows are.")] = "task_type"
    since: Annotated[Instant, Meta(description="Left out: from the beginning.")] | None = None
    until: Annotated[Instant, Meta(description="Left out: until now.")] | None = None


async def _spend(office: Office, asked: Asked[SpendQuery, None]) -> spend.SpendAnswer:
    """Who spent how much on what, over any stretch of time: sums, not calls."""
    query = asked.query
    since_ns = read_instant(query.since) if query.since is not None else 0
    until_ns = read_instant(query.until) if query.until is not None else None
    only: dict[SpendDimension, str] = {}
    for name in spend.DIMENSIONS:
        value = getattr(query, name, None)
        if value is not None:
            only[name] = value
    return await spend.show_spend(office, query.by, since_ns, until_ns, query.limit, only)


async def _savings(office: Office, asked: Asked[SavingsQuery, None]) -> savings.SavingsAnswer:
    """What routing saved, and where a model above the floor of a task type was used."""
    query = asked.query
    since_ns = read_instant(query.since) if query.since is not None else 0
    until_ns = read_instant(query.until) if query.until is not None else None
    return await savings.show_savings(office, query.by, since_ns, until_ns)


ROUTES: Sequence[Route] = (
    Route("GET", "/spend", "viewer", _spend, problems=(422,)),
    Route("GET", "/savings", "viewer", _savings, problems=(422,)),
)
