"""Tables for people: money under money, ids whole, no colour where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from comptroller.cli.said import printable

if TYPE_CHECKING:
    from rich.table import Table

_UNCUT = 100_000  # characters: a pipe has no right edge


class Column(NamedTuple):
    title: str
    kind: Literal["text", "number"] = "text"


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], empty: str) -> None:
    """Print rows under titles, or one sentence where there are none."""
    if not rows:
        sys.stdout.write(f"{empty}\n")
        return
    from rich.console import Console

    tty = sys.stdout.isatty()
    console = Console(width=None if tty else _UNCUT, highlight=False, emoji=False, markup=False)
    with console.capture() as captured:
        console.print(_table(columns, rows))
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    cells = [_points_aligned(c.kind, [row[i] for row in rows]) for i, c in enumerate(columns)]
    for column in columns:
        table.add_column(column.title, justify="right" if column.kind == "number" else "left", overflow="fold")
    for row in zip(*cells, strict=True):
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def _points_aligned(kind: str, cells: Sequence[str]) -> Sequence[str]:
    """Numbers with their decimal points under each other."""
    if kind != "number":
        return cells
    longest = max(len(_decimals(cell)) for cell in cells)
    return [cell + " " * (longest - len(_decimals(cell))) for cell in cells]


def _decimals(cell: str) -> str:
    """The point and what follows it."""
    _, point, decimals = cell.partition(".")
    return point + decimals
