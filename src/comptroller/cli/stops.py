"""`comptroller stops`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import say_instant, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.stops import StopRow

Every = Annotated[bool, typer.Option("--all", help="What was lifted, too.")]

_COLUMNS = (
    Column("scope"),
    Column("value"),
    Column("kind"),
    Column("by"),
    Column("at"),
    Column("reason"),
    Column("state"),
)


def stops(context: typer.Context, every: Every = False, as_json: AsJson = False, config: Config = None) -> None:
    """List what is stopped, by whom and why.

    By a person (suspend) or by a rule (quarantine). `comptroller resume SCOPE VALUE` lifts a stop.

    \b
    Example:
      comptroller stops --all
    """
    from comptroller.cli.transport import connect
    from comptroller.control.stops import StopRow

    with connect(context, config) as api:
        answer = api.get("stops", all="true" if every else None)
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (row.scope, row.value, row.kind, row.actor, say_instant(row.at), row.reason, _state(row))
        for row in answer.read(list[StopRow])
    ]
    print_table(_COLUMNS, rows, "Nothing is stopped.")


def _state(row: StopRow) -> str:
    if row.lifted_at is None:
        return "in force"
    return f"lifted by {row.lifted_by} at {say_instant(row.lifted_at)}: {row.lifted_reason}"
