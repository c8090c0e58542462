"""`comptroller findings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import say_instant, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.findings import FindingRow

_MOST = 10_000
Limit = Annotated[int, typer.Option(min=1, max=_MOST, help="At most so many.")]

_COLUMNS = (Column("at"), Column("times", "number"), Column("finding"), Column("about"), Column("call"), Column("what"))


def findings(context: typer.Context, limit: Limit = 100, as_json: AsJson = False, config: Config = None) -> None:
    """List what a person should look at.

    What was found several times in the same words is one line, with its newest time and call, and how often it was
    among the newest 10,000. With --json each is a row of its own.

    \b
    Example:
      comptroller findings --limit 20
    """
    from comptroller.cli.transport import connect
    from comptroller.control.findings import FindingRow

    with connect(context, config) as api:
        answer = api.get("findings", limit=limit if as_json else _MOST)
    if as_json:
        write_json(answer.body)
        return
    found = _folded(answer.read(list[FindingRow]))
    rows = [
        (say_instant(same[0].at), str(len(same)), same[0].code, same[0].subject, same[0].call or "", same[0].sentence)
        for same in islice(found.values(), limit)
    ]
    print_table(_COLUMNS, rows, "Nothing was found.")


def _folded(rows: Sequence[FindingRow]) -> Mapping[tuple[str, str, str], Sequence[FindingRow]]:
    """Those in the same words together, the newest first."""
    found: dict[tuple[str, str, str], list[FindingRow]] = {}
    for row in rows:
        found.setdefault((row.code, row.subject, row.sentence), []).append(row)
    return found
