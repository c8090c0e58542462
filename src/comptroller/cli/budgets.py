"""`comptroller budgets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import say_relative, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.budgets import BudgetRow

_COLUMNS = (
    Column("budget"),
    Column("for"),
    Column("window"),
    Column("mode"),
    Column("limit", "number"),
    Column("spent", "number"),
    Column("held", "number"),
    Column("left", "number"),
    Column("unit"),
    Column("resets"),
)


def budgets(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """Show what is spent, held and left, now.

    Held is what calls in flight may still cost. Spent and held together never pass a hard limit.

    \b
    Example:
      comptroller budgets
    """
    from comptroller.cli.transport import connect
    from comptroller.control.budgets import BudgetRow

    with connect(context, config) as api:
        answer = api.get("budgets")
    if as_json:
        write_json(answer.body)
        return
    print_table(
        _COLUMNS,
        [_cells(row) for row in answer.read(list[BudgetRow])],
        "No budget is in force: nothing limits anybody. Name some under [[budgets]] in registry.toml.",
    )


def _cells(row: BudgetRow) -> tuple[str, ...]:
    scope = ", ".join(f"{key} {' or '.join(values)}" for key, values in row.scope.items())
    each = f", each {row.per}" if row.per and not row.instance else ""
    return (
        row.name,
        f"{row.instance} ({scope})" if row.instance else scope + each,
        row.window,
        row.mode,
        str(row.limit),
        str(row.posted),
        str(row.held),
        str(row.remaining),
        "USD" if row.unit == "usd" else row.unit,
        say_relative(row.resets_at) or "never",
    )
