"""Tables for people: money under money, ids whole, no colour where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from comptroller.cli.said import printable

if TYPE_CHECKING:
    from rich.table import Table

# Characters. A pipe has no right edge; on a terminal a long line goes on below, so that an id can be copied whole.
_UNCUT = 100_000


class Column(NamedTuple):
    title: str
    kind: Literal["text", "number"] = "text"


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Print rows under titles, or one sentence where there are none."""
    if not rows:
        sys.stdout.write(f"{empty}\n")
        return
    from rich.console import Console

    console = Console(width=_UNCUT, highlight=False, emoji=False, markup=False)
    with console.capture() as captured:
        console.print(_table(columns, rows))
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    cells: list[Sequence[str]] = []
    for number, column in enumerate(columns):
        title, *below = _aligned(column, [printable(row[number]) for row in rows])
        table.add_column(title, overflow="fold")
        cells.append(below)
    for row in zip(*cells, strict=True):
        table.add_row(*(Text(cell) for cell in row))
    return table


def _aligned(column: Column, cells: Sequence[str]) -> Sequence[str]:
    """The title and what stands below it; of numbers, the decimal points under each other, and all to the right.

    Rich cannot: it takes the blanks at the end of a cell away before it justifies.
    """
    if column.kind != "number":
        return [column.title, *cells]
    longest = max(len(_decimals(cell)) for cell in cells)
    pointed = [cell + " " * (longest - len(_decimals(cell))) for cell in cells]
    width = max(len(column.title), *(len(cell) for cell in pointed))
    return [each.rjust(width) for each in (column.title, *pointed)]


def _decimals(cell: str) -> str:
    """The point and what follows it."""
    _, point, decimals = cell.partition(".")
    return point + decimals
