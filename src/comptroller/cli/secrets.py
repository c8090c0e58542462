"""`comptroller secrets`: bootstrap secrets, for identities that have nothing else to prove who they are with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli.options import AsJson, Config, Reason
from comptroller.cli.said import note, read_duration, say_instant, say_relative, write, write_json
from comptroller.cli.table import Column, print_table

app = typer.Typer(rich_markup_mode=None)

Identity = Annotated[str, typer.Argument(metavar="IDENTITY", help="Such as agent/scout; `comptroller identities`.")]
OfIdentity = Annotated[str | None, typer.Option("--identity", metavar="ID", help="Only secrets of this identity.")]
Every = Annotated[bool, typer.Option("--all", help="Those that ended or were taken back, too.")]
Expires = Annotated[str, typer.Option(metavar="DURATION", help="When it ends: 12h, 30d; at most 90d.")]
SecretId = Annotated[
    str, typer.Argument(metavar="SECRET", help="Its id (`comptroller secrets` lists them), or itself.")
]

_COLUMNS = (Column("secret"), Column("identity"), Column("state"), Column("made"), Column("ends"), Column("made by"))


@app.callback(invoke_without_command=True)
def secrets(
    context: typer.Context,
    identity: OfIdentity = None,
    every: Every = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List, issue or take back bootstrap secrets.

    \b
    Example:
      comptroller secrets --identity agent/scout
      comptroller secrets issue agent/scout --expires 30d
    """
    if config is not None:
        context.obj = config
    if context.invoked_subcommand is None:
        _show(context, identity, every=every, as_json=as_json, config=config)


@app.command("list")
def list_them(
    context: typer.Context,
    identity: OfIdentity = None,
    every: Every = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List the secrets that can be used.

    `comptroller secrets` alone does the same.

    \b
    Example:
      comptroller secrets list --all
    """
    _show(context, identity, every=every, as_json=as_json, config=config)


@app.command()
def issue(
    context: typer.Context, identity: Identity, expires: Expires, as_json: AsJson = False, config: Config = None
) -> None:
    """Issue a bootstrap secret.

    Prints it alone on standard output, this once: only a digest is kept. The workload exchanges it for a session
    credential (`comptroller token IDENTITY --secret-file PATH`) as often as it likes, until it ends.

    \b
    Example:
      (umask 077; comptroller secrets issue agent/scout --expires 30d > scout.secret)
    """
    from comptroller.cli.transport import connect
    from comptroller.control.bootstrap import IssuedSecret

    expires_s = read_duration(expires)
    with connect(context, config) as api:
        answer = api.post("secrets", sent={"identity": identity, "expires_s": expires_s})
    if as_json:
        write_json(answer.body)
        return
    issued = answer.read(IssuedSecret)
    write(issued.secret)
    note(f"secret {issued.id} of {issued.identity}, ends {say_relative(issued.expires_at)}; it is shown this once")


@app.command()
def revoke(
    context: typer.Context, secret: SecretId, reason: Reason, as_json: AsJson = False, config: Config = None
) -> None:
    """Take a secret back.

    It opens no session any more. Those that it opened go on: it says which they are, and how to end them.

    \b
    Example:
      comptroller secrets revoke sec_01k... --reason "it was in a chat"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.bootstrap import SecretRow

    with connect(context, config) as api:
        answer = api.post("secrets", secret, "revoke", sent={"reason": reason})
    if as_json:
        write_json(answer.body)
        return
    row = answer.read(SecretRow)
    write(f"{row.id} of {row.identity} was taken back by {row.revoked_by} at {say_instant(row.revoked_at)}")
    if row.sessions:
        count = len(row.sessions)
        goes = "1 session that it opened goes on" if count == 1 else f"{count} sessions that it opened go on"
        note(f"{goes}. To end {'it' if count == 1 else 'them'}, with all below:")
        for session in row.sessions:
            note(f'  comptroller sessions end {session} --reason "its secret was taken back"')


def _show(context: typer.Context, identity: str | None, *, every: bool, as_json: bool, config: Path | None) -> None:
    from comptroller.cli.transport import connect
    from comptroller.control.bootstrap import SecretRow

    with connect(context, config) as api:
        answer = api.get("secrets", identity=identity, all="true" if every else None)
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (
            row.id,
            row.identity,
            row.state if row.revoked_reason is None else f"{row.state}: {row.revoked_reason}",
            say_relative(row.created_at),
            say_relative(row.expires_at),
            row.created_by,
        )
        for row in answer.read(list[SecretRow])
    ]
    print_table(_COLUMNS, rows, "No secret can be used. `comptroller secrets issue IDENTITY --expires 30d` makes one.")
