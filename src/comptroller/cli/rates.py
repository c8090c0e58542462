"""`comptroller rates`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import say_relative, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.rates import RateRow

_COLUMNS = (
    Column("rate"),
    Column("for"),
    Column("limit"),
    Column("burst", "number"),
    Column("mode"),
    Column("used", "number"),
    Column("left", "number"),
    Column("next free"),
    Column("waiting", "number"),
)


def rates(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """Show how fast calls may come, and how much of that is taken.

    What is taken is in the memory of a running gateway: where none runs, nothing is.

    \b
    Example:
      comptroller rates
    """
    from comptroller.cli.transport import connect
    from comptroller.control.rates import RateRow

    with connect(context, config) as api:
        answer = api.get("rates")
    if as_json:
        write_json(answer.body)
        return
    print_table(
        _COLUMNS,
        [_cells(row) for row in answer.read(list[RateRow])],
        "No rate is in force: calls may come as fast as they like. Name some under [[rates]] in registry.toml.",
    )


def _cells(row: RateRow) -> tuple[str, ...]:
    scope = ", ".join(f"{key} {' or '.join(values)}" for key, values in row.scope.items())
    each = f", each {row.per}" if row.per and not row.instance else ""
    free = "now" if row.remaining else "when one ends"
    return (
        row.name,
        f"{row.instance} ({scope})" if row.instance else scope + each,
        row.limit,
        str(row.burst),
        row.mode,
        str(row.used),
        str(row.remaining),
        say_relative(row.next_free_at) or free,
        str(row.waiting),
    )
