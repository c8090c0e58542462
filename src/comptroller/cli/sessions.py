"""`comptroller sessions`: listing them, and ending one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli import session_acts
from comptroller.cli.options import AsJson, Config, Reason
from comptroller.cli.said import say_instant, say_relative, write, write_json
from comptroller.cli.table import Column, print_table

app = typer.Typer(rich_markup_mode=None)
app.command("open")(session_acts.open_)
app.command("close")(session_acts.close)
app.command("narrow")(session_acts.narrow)
app.command("renew")(session_acts.renew)

Identity = Annotated[str | None, typer.Option(metavar="ID", help="Only sessions of this identity.")]
Every = Annotated[bool, typer.Option("--all", help="Ended and expired ones too.")]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="Its id; `comptroller sessions` lists them.")]

_COLUMNS = (
    Column("session"),
    Column("identity"),
    Column("state"),
    Column("opened"),
    Column("ends"),
    Column("minted by"),
    Column("calls in flight", "number"),
    Column("set aside", "number"),
)


@app.callback(invoke_without_command=True)
def sessions(
    context: typer.Context,
    identity: Identity = None,
    every: Every = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the open sessions, or do something about one.

    \b
    Example:
      comptroller sessions --identity agent/scout
      comptroller sessions open agent/scout --task ticket:T-1042
      comptroller sessions end ses_01k... --reason "runaway loop"
    """
    if config is not None:
        context.obj = config
    if context.invoked_subcommand is None:
        _show(context, identity, every=every, as_json=as_json, config=config)


@app.command("list")
def list_them(
    context: typer.Context,
    identity: Identity = None,
    every: Every = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the active sessions.

    `comptroller sessions` alone does the same.

    \b
    Example:
      comptroller sessions list --all
    """
    _show(context, identity, every=every, as_json=as_json, config=config)


@app.command()
def end(
    context: typer.Context, session: SessionId, reason: Reason, as_json: AsJson = False, config: Config = None
) -> None:
    """End a session at once.

    Its next call is refused; its calls in flight are cut off and charged.

    \b
    Example:
      comptroller sessions end ses_01k... --reason "runaway loop"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.sessions import SessionEnd

    with connect(context, config) as api:
        answer = api.post("sessions", session, "end", sent={"reason": reason})
    if as_json:
        write_json(answer.body)
        return
    done = answer.read(SessionEnd)
    row = done.session
    if done.already_ended:
        write(f"{row.id} was ended before, by {row.ended_by} at {say_instant(row.ended_at)}: {row.ended_reason}")
    else:
        write(f"{row.id} of {row.identity} is ended; calls cut off: {done.cut_calls}")


def _show(context: typer.Context, identity: str | None, *, every: bool, as_json: bool, config: Path | None) -> None:
    from comptroller.cli.transport import connect
    from comptroller.control.session_rows import SessionRow

    with connect(context, config) as api:
        answer = api.get("sessions", identity=identity, all="true" if every else None)
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (
            row.id,
            row.identity,
            row.state if row.ended_reason is None else f"{row.state}: {row.ended_reason}",
            say_relative(row.opened_at),
            say_relative(row.ended_at or row.expires_at),
            row.minted_by,
            str(row.live_calls),
            row.reserved_usd or "-",
        )
        for row in answer.read(list[SessionRow])
    ]
    print_table(_COLUMNS, rows, "No session is active. `comptroller token IDENTITY` opens one.")
