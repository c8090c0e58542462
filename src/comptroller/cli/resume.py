"""`comptroller resume`."""

from __future__ import annotations

import typer

from comptroller.cli.options import AsJson, Config, Reason, ScopeOfStop, ValueOfStop, check_scope
from comptroller.cli.said import write, write_json


def resume(
    context: typer.Context,
    scope: ScopeOfStop,
    reason: Reason,
    value: ValueOfStop = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Lift a stop.

    SCOPE and VALUE as `comptroller stops` shows them. The next call works again, unless another stop says no.
    `bound PROVIDER/MODEL` opens a model that the gateway quarantined because it was billed above its holds: the
    factor by which they were raised stays.

    \b
    Example:
      comptroller resume team search --reason "the key is replaced"
      comptroller resume bound openai/gpt-x --reason "the provider counted a hidden prompt; it is in the registry now"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.bounds import BoundRow
    from comptroller.control.stops import StopRow

    check_scope(scope, "bound")
    provider, slash, model = value.partition("/")
    if scope == "bound" and not (slash and provider and model):
        raise typer.BadParameter("Write bound PROVIDER/MODEL, such as: bound openai/gpt-x.")
    with connect(context, config) as api:
        if scope == "bound":
            answer = api.post("bounds", "resume", sent={"provider": provider, "model": model, "reason": reason})
        else:
            answer = api.post("stops", "resume", sent={"scope": scope, "value": value, "reason": reason})
    if as_json:
        write_json(answer.body)
    elif scope == "bound":
        for row in answer.read(list[BoundRow]):
            state = "is quarantined again" if row.quarantined else "is open again"
            write(f"{row.provider}/{row.model} ({row.dialect}) {state}; its holds are {row.factor} times the bound")
    else:
        stop = answer.read(StopRow)
        write(f"{stop.scope} {stop.value}".rstrip() + " is stopped no longer")
