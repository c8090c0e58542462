"""`comptroller resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from comptroller.cli.options import AsJson, Config, Reason
from comptroller.cli.said import write, write_json

Model = Annotated[str, typer.Argument(metavar="PROVIDER/MODEL", help="As `comptroller bounds` names them.")]


def resume(
    context: typer.Context, model: Model, reason: Reason, as_json: AsJson = False, config: Config = None
) -> None:
    """Open a quarantined model again.

    Once somebody has looked. The factor by which its holds were raised stays.

    \b
    Example:
      comptroller resume openai/gpt-x --reason "the provider counted a hidden prompt; overhead_tokens is set now"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.bounds import BoundRow

    provider, slash, name = model.partition("/")
    if not slash or not provider or not name:
        raise typer.BadParameter("Write PROVIDER/MODEL, such as openai/gpt-x.")
    with connect(context, config) as api:
        answer = api.post("bounds", "resume", sent={"provider": provider, "model": name, "reason": reason})
    if as_json:
        write_json(answer.body)
        return
    for row in answer.read(list[BoundRow]):
        state = "is quarantined again" if row.quarantined else "is open again"
        write(f"{row.provider}/{row.model} ({row.dialect}) {state}; its holds are {row.factor} times the bound")
