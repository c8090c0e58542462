"""The figures of a run as a table for people and as one JSON document."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from tests.bench.figures import Figure

_MET = {True: "[green]met[/green]", False: "[red]not met[/red]", None: ""}


def show(figures: Sequence[Figure], facts: Mapping[str, str], command: str, console: Console) -> None:
    about = Table(title=command, title_justify="left", show_header=False)
    for name, value in facts.items():
        about.add_row(name, value)
    console.print(about)
    table = Table("part", "figure", "median", "lowest", "highest", "unit", "aim", "", "")
    for each in figures:
        table.add_row(
            each.part, each.what, number(each.value), number(min(each.rounds)), number(max(each.rounds)),
            each.unit, "" if each.aim is None else each.aim.words, _MET[each.met], each.note,
        )  # fmt: skip
    console.print(table)


def document(figures: Sequence[Figure], facts: Mapping[str, str], command: str) -> dict[str, object]:
    return {"command": command, "machine": dict(facts), "figures": [each.as_json() for each in figures]}


def number(value: float) -> str:
    """Three digits that matter, and no more than two behind the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
