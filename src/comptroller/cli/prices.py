"""`comptroller prices`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import note, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.prices import PriceRow

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model's name, as callers ask for it.")]
Provider = Annotated[str | None, typer.Option(metavar="NAME", help="Only on this provider of comptroller.toml.")]
At = Annotated[
    datetime | None,
    typer.Option(metavar="DATE", formats=["%Y-%m-%d"], help="On this day (UTC): 2026-11-01.", show_default="today"),
]


def prices(
    context: typer.Context,
    model: Model,
    *,
    provider: Provider = None,
    at: At = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show what a model costs, and where each price is from.

    A line for each provider, service tier and size of prompt. Token prices are USD per million, fees USD
    per thousand. A meter that is not shown is billed as its whole: cached input as input, reasoning as
    output.

    \b
    Example:
      comptroller prices gpt-5
      comptroller prices claude-sonnet-4-5 --provider anthropic --at 2026-06-01 --json
    """
    from comptroller.cli.transport import connect
    from comptroller.control.prices import PriceSheet

    day = at.date().isoformat() if at is not None else None
    with connect(context, config) as api:
        answer = api.get("prices", model=model, provider=provider, at=day)
    if as_json:
        write_json(answer.body)
        return
    sheet = answer.read(PriceSheet)
    meters = [meter for meter in _order() if any(meter in _usd(row) for row in sheet.prices)]
    columns = [Column("provider"), Column("tier"), Column("prompt over", "number")]
    columns += [Column(meter, "number") for meter in meters]
    columns += [Column("since"), Column("source")]
    print_table(columns, [_cells(row, meters) for row in sheet.prices], f"{model} has no price on {sheet.day}.")
    for line in sheet.notes:
        note(line)
    note(f"Price book {sheet.version}, {sheet.day}; USD per million tokens, thousand fees, hour of audio.")


def _order() -> tuple[str, ...]:
    from comptroller.control.price_lines import WORDS

    return tuple(WORDS)


def _usd(row: PriceRow) -> dict[str, str]:
    return {**row.usd_per_million, **row.usd_per_thousand, **row.usd_per_hour}


def _cells(row: PriceRow, meters: list[str]) -> tuple[str, ...]:
    usd = _usd(row)
    over = str(row.over_input_tokens) if row.over_input_tokens else ""
    return (
        row.provider,
        row.service_tier,
        over,
        *(usd.get(meter, "") for meter in meters),
        row.first_day or "",
        row.source,
    )
