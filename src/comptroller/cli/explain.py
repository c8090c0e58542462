"""`comptroller explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import write, write_json

CallId = Annotated[str, typer.Argument(metavar="CALL", help="Its id; `comptroller calls` lists them.")]


def explain(context: typer.Context, call: CallId, as_json: AsJson = False, config: Config = None) -> None:
    """Tell the whole story of one call.

    Who and what, why it was allowed or refused, which budgets it drew on, what it cost and why. An answer
    names its call in the header x-comptroller-call-id.

    \b
    Example:
      comptroller explain call_01k...
    """
    from comptroller.cli.transport import connect
    from comptroller.control.explain import Explanation

    with connect(context, config) as api:
        answer = api.get("calls", call, "explanation")
    if as_json:
        write_json(answer.body)
        return
    told = answer.read(Explanation)
    write(f"{told.id} ({told.state})")
    for sentence in told.sentences:
        write(f"  {sentence}")
