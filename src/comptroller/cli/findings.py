"""`comptroller findings`."""

from __future__ import annotations

from typing import Annotated

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import say_instant, write_json
from comptroller.cli.table import Column, print_table

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")]

_COLUMNS = (Column("at"), Column("finding"), Column("about"), Column("call"), Column("what"))


def findings(context: typer.Context, limit: Limit = 100, as_json: AsJson = False, config: Config = None) -> None:
    """List what a person should look at.

    \b
    Example:
      comptroller findings --limit 20
    """
    from comptroller.cli.transport import connect
    from comptroller.control.findings import FindingRow

    with connect(context, config) as api:
        answer = api.get("findings", limit=limit)
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (say_instant(row.at), row.code, row.subject, row.call or "", row.sentence)
        for row in answer.read(list[FindingRow])
    ]
    print_table(_COLUMNS, rows, "Nothing was found.")
