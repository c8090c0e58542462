"""`comptroller keys`: the keys that sign session credentials."""

from __future__ import annotations

from typing import Annotated

import typer

from comptroller.cli.options import AsJson, Config, Reason
from comptroller.cli.said import write, write_json

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Distrust = Annotated[bool, typer.Option("--distrust-old", help="End every credential that was issued so far.")]


@app.callback()
def keys(context: typer.Context, config: Config = None) -> None:
    """Replace the signing key.

    `comptroller status` shows which keys verify; the last one signs.

    \b
    Example:
      comptroller keys rotate --reason "quarterly"
    """
    if config is not None:
        context.obj = config


@app.command()
def rotate(
    context: typer.Context,
    reason: Reason,
    distrust_old: Distrust = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Sign with a new key from now on.

    Credentials that were issued before stay good until they expire. After a leak, --distrust-old ends them
    all at once: calls in flight are cut off and charged, and everybody needs a new credential.

    \b
    Example:
      comptroller keys rotate --reason "quarterly"
      comptroller keys rotate --distrust-old --reason "the state folder was in a backup that leaked"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.keys import Rotation

    with connect(context, config) as api:
        answer = api.post("keys", "rotate", sent={"reason": reason, "distrust_old": distrust_old})
    if as_json:
        write_json(answer.body)
        return
    done = answer.read(Rotation)
    write(f"{done.key} signs from now on; keys that verify: {', '.join(done.key_ids)}")
    if distrust_old:
        write(f"every earlier credential has ended; sessions: {done.ended_sessions}, calls cut off: {done.cut_calls}")
