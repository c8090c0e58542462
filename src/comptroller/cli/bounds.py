"""`comptroller bounds`."""

from __future__ import annotations

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import write_json
from comptroller.cli.table import Column, print_table

_COLUMNS = (
    Column("provider"),
    Column("model"),
    Column("dialect"),
    Column("overruns", "number"),
    Column("factor", "number"),
    Column("state"),
)


def bounds(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """List models that were billed above their bound.

    After repeats such a model is quarantined: refused until somebody has looked (`comptroller resume bound`).

    \b
    Example:
      comptroller bounds
    """
    from comptroller.cli.transport import connect
    from comptroller.control.bounds import BoundRow

    with connect(context, config) as api:
        answer = api.get("bounds")
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (r.provider, r.model, r.dialect, str(r.overruns), r.factor, "quarantined" if r.quarantined else "open")
        for r in answer.read(list[BoundRow])
    ]
    print_table(_COLUMNS, rows, "No model was ever billed above its bound.")
