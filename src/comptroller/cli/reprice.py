"""`comptroller reprice`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import note, read_instant, say_instant, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.reprice import RepriceRow

Since = Annotated[str, typer.Option(metavar="WHEN", help="Calls since then: 7d, or 2026-11-01T00:00.")]
Identity = Annotated[str | None, typer.Option(metavar="ID", help="Only calls of this identity.")]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="Only calls that asked for this model.")]

_COLUMNS = (
    Column("identity"),
    Column("provider"),
    Column("model"),
    Column("calls", "number"),
    Column("recorded USD", "number"),
    Column("repriced USD", "number"),
    Column("difference USD", "number"),
    Column("presumed USD", "number"),
    Column("kept USD", "number"),
    Column("unpriced USD", "number"),
)


def reprice(
    context: typer.Context,
    *,
    since: Since = "7d",
    identity: Identity = None,
    model: Model = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show what today's prices would have meant for past calls. Changes nothing.

    Each call is priced by what its provider reported, at the prices that today's book has for its day: a
    price that was put right shows what it was wrong by. Presumed charges, those that somebody corrected
    and calls without a price stand apart. `comptroller correct` puts a single charge right.

    \b
    Example:
      comptroller reprice --since 7d
      comptroller reprice --since 2026-11-01T00:00 --identity agent/scout --json
    """
    import msgspec

    from comptroller.cli.transport import connect
    from comptroller.control.reprice import Repricing, joined

    instant = read_instant(since)
    parts: list[Repricing] = []
    asked = {"since": instant.isoformat(), "identity": identity, "model": model}
    with connect(context, config) as api:
        while not parts or parts[-1].next is not None:
            before = parts[-1].next if parts else None
            parts.append(api.get("reprice", **asked, before=before).read(Repricing))
            if parts[-1].version != parts[0].version:
                raise CommandError("The price book was changed in the middle of this.", "Ask again.")
            if parts[-1].next is not None:
                note(f"{sum(part.total.calls for part in parts)} calls compared so far ...")
    found = joined(parts)
    if as_json:
        write_json(msgspec.json.encode(found))
        return
    rows = [*found.rows, found.total] if len(found.rows) > 1 else found.rows
    print_table(_COLUMNS, [_cells(row) for row in rows], "No call was charged since then.")
    if datetime.fromisoformat(found.since) > instant:
        note(f"Calls are kept since {say_instant(found.since)} only; older ones are not in it.")
    note(f"Price book {found.version}. Nothing was changed.")


def _cells(row: RepriceRow) -> tuple[str, ...]:
    return (
        row.identity or "all",
        row.provider,
        row.model,
        str(row.calls),
        row.recorded_usd,
        row.repriced_usd,
        row.difference_usd,
        row.presumed_usd if row.presumed_calls else "",
        row.kept_usd if row.kept_calls else "",
        row.unpriced_usd if row.unpriced_calls else "",
    )
