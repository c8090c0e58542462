"""`comptroller calls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import note, read_instant, say_count, say_instant, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.cli.transport import Api
    from comptroller.control.calls import CallRow

Identity = Annotated[str | None, typer.Option(metavar="ID", help="Only calls of this identity.")]
Team = Annotated[str | None, typer.Option(metavar="NAME", help="Only calls of this team.")]
Session = Annotated[str | None, typer.Option(metavar="ID", help="Only calls of this session.")]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="Only calls that asked for this model.")]
Tool = Annotated[str | None, typer.Option(metavar="SERVER/TOOL", help="Only calls of this tool.")]
Outcome = Annotated[str | None, typer.Option(metavar="WORD", help="Only these: completed, refused, open, ...")]
Since = Annotated[str | None, typer.Option(metavar="WHEN", help="Only calls since then: 1h, or 2026-11-22T06:00.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many.", show_default="50; with --json all")]
Every = Annotated[bool, typer.Option("--all", help="However many there are.")]

_SHOWN = 50
_PAGE = 10_000

_COLUMNS = (
    Column("call"),
    Column("at"),
    Column("identity"),
    Column("model or tool"),
    Column("outcome"),
    Column("in", "number"),
    Column("out", "number"),
    Column("held USD", "number"),
    Column("charge USD", "number"),
)


def calls(
    context: typer.Context,
    *,
    identity: Identity = None,
    team: Team = None,
    session: Session = None,
    model: Model = None,
    tool: Tool = None,
    outcome: Outcome = None,
    since: Since = None,
    limit: Limit = None,
    every: Every = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List calls, newest first; refused ones too.

    \b
    Example:
      comptroller calls --identity agent/scout --since 1h
      comptroller calls --outcome refused --json
    """
    from comptroller.cli.transport import connect

    filters: dict[str, str | None] = {
        "identity": identity,
        "team": team,
        "session": session,
        "model": model,
        "tool": tool,
        "outcome": outcome,
        "since": read_instant(since).isoformat() if since is not None else None,
    }
    with connect(context, config) as api:
        rows = _read(api, filters, limit if limit is not None or every or as_json else _SHOWN + 1)
    if as_json:
        import msgspec

        write_json(msgspec.json.encode(rows))
        return
    shown = rows if limit is not None or every else rows[:_SHOWN]
    print_table(_COLUMNS, [_cells(row) for row in shown], "No such call.")
    if any(row.tool for row in shown):
        note("In and out are tokens; of a tool, out is the bytes of its result.")
    if any(row.presumed for row in shown):
        note("~ presumed: nobody knows what was billed. `comptroller explain CALL` says why.")
    if len(shown) < len(rows):
        note(f"The newest {_SHOWN} are shown; --limit N or --all shows more.")


def _read(api: Api, filters: dict[str, str | None], limit: int | None) -> list[CallRow]:
    """As many rows as are wanted, a page at a time: a gateway with millions of calls need not hold them at once."""
    from comptroller.control.calls import CallRow

    rows: list[CallRow] = []
    while limit is None or len(rows) < limit:
        page = _PAGE if limit is None else min(_PAGE, limit - len(rows))
        before = rows[-1].id if rows else None
        found = api.get("calls", **filters, before=before, limit=page).read(list[CallRow])
        if found and rows and found[0].id == rows[0].id:
            raise CommandError("The gateway gives the same page again.", "Ask for fewer with --since or --limit.")
        rows += found
        if len(found) < page:
            break
    return rows


def _outcome(row: CallRow) -> str:
    why = row.refusal or ("deferred" if row.deferred else None)
    return row.outcome if why is None else f"{row.outcome} ({why})"


def _cells(row: CallRow) -> tuple[str, ...]:
    mark = "~" if row.presumed else ""
    return (
        row.id,
        say_instant(row.at),
        row.identity,
        row.model or row.tool or "",
        _outcome(row),
        say_count(None if row.tool else row.input_tokens),
        say_count(row.result_bytes if row.tool else row.output_tokens),
        row.held_usd or "",
        mark + row.charge_usd if row.charge_usd is not None else "",
    )
