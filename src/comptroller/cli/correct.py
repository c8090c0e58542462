"""`comptroller correct`."""

from __future__ import annotations

from typing import Annotated

import typer

from comptroller.cli.options import AsJson, Config, Reason
from comptroller.cli.said import write, write_json

CallId = Annotated[str, typer.Argument(metavar="CALL", help="Its id, or that of an attempt: CALL.2.")]
Charge = Annotated[str, typer.Option("--charge", metavar="USD", help="What it really cost, such as 0.0123.")]


def correct(
    context: typer.Context,
    call: CallId,
    charge: Charge,
    reason: Reason,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Put the charge of a settled call right.

    The difference is posted in the budgets that the call was settled in; the old charge stays on record. Of a call
    that was charged for several attempts, name the one: call_01k....2

    \b
    Example:
      comptroller correct call_01k... --charge 0.0123 --reason "invoice of November, line 17"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.correct import Correction

    with connect(context, config) as api:
        answer = api.post("calls", call, "corrections", sent={"charge_usd": charge, "reason": reason})
    if as_json:
        write_json(answer.body)
        return
    done = answer.read(Correction)
    write(f"{done.id}: {done.charge_before_usd} USD is now {done.charge_usd} USD ({done.delta_usd})")
