"""`comptroller savings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import note, read_instant, say_count, say_instant, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comptroller.control.savings import NotNeededRow, SavingsAnswer, SavingsRow

By = Annotated[
    str, typer.Option(metavar="WHAT", help="task_type, identity, team, route or model (that was asked for).")
]
Since = Annotated[
    str | None, typer.Option(metavar="WHEN", help="From then on: 7d, or 2026-11-01.", show_default="the beginning")
]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Up to then.", show_default="now")]

_NOBODY = "(none)"
_EPOCH = "1970-"


def savings(
    context: typer.Context,
    *,
    by: By = "task_type",
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show what routing saved, and could save.

    It could where a model above the floor of a task type was used. Saved is the price of the same usage on the model
    that the call would have gone to, less what was charged. What the other model would have written, and how often it
    would have been asked again, nobody knows.

    \b
    Example:
      comptroller savings --by route --since 30d
      comptroller savings --by team --json
    """
    from typing import get_args

    from comptroller.cli.transport import connect
    from comptroller.control.savings import SavingsAnswer
    from comptroller.control.savings_books import SavingsDimension

    if by not in get_args(SavingsDimension):
        raise typer.BadParameter(f"{by!r} is not one of {', '.join(get_args(SavingsDimension))}.", param_hint="--by")
    asked = {"since": since, "until": until}
    span = {name: read_instant(said).isoformat() for name, said in asked.items() if said is not None}
    with connect(context, config) as api:
        answer = api.get("savings", by=by, **span)
    if as_json:
        write_json(answer.body)
    else:
        _print(answer.read(SavingsAnswer))


def _print(found: SavingsAnswer) -> None:
    numbers = ("calls", "charge USD", "unrouted USD", "saved USD")
    columns = [Column(found.by), *(Column(title, "number") for title in numbers)]
    empty = "No call was routed. `comptroller calls --json` has `routed_by`; docs/routing.md says how routes are made."
    print_table(columns, list(_saved(found)), empty)
    if found.total.unknown_calls:
        note(
            f"{say_count(found.total.unknown_calls)} more were routed and charged {found.total.unknown_usd} USD; what "
            "they would have cost is not known: presumed, or without a price."
        )
    if found.not_needed:
        print_table(_ABOVE, [_cells(row) for row in found.not_needed], "")
        note("Above the floor of their task type: the same usage on the cheapest model of the floor's class.")
    if found.not_needed_since != found.since:
        note(f"There were more than can be looked at: these are the calls since {say_instant(found.not_needed_since)}.")
    begins = "" if found.since.startswith(_EPOCH) else f"From {say_instant(found.since)} to "
    note(f"{begins or 'Up to '}{say_instant(found.until)}, local time: calls that are kept.")


_ABOVE = [
    Column("task type"),
    Column("floor"),
    Column("model"),
    Column("calls", "number"),
    Column("charge USD", "number"),
    Column("instead"),
    Column("instead USD", "number"),
    Column("difference USD", "number"),
]


def _saved(found: SavingsAnswer) -> Iterable[tuple[str, ...]]:
    for row in found.rows:
        if row.calls:
            yield _sums(row.key or _NOBODY, row)
    if sum(1 for row in found.rows if row.calls) > 1:
        yield _sums("total", found.total)


def _sums(name: str, row: SavingsRow) -> tuple[str, ...]:
    return name, say_count(row.calls), row.charge_usd, row.counterfactual_usd, row.saved_usd


def _cells(row: NotNeededRow) -> tuple[str, ...]:
    known = row.instead is not None
    amounts = (row.instead_usd, row.difference_usd) if known else ("", "")
    return (
        row.task_type,
        row.floor,
        row.model,
        say_count(row.calls),
        row.charge_usd,
        row.instead or "no price",
        *amounts,
    )
