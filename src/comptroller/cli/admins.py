"""`comptroller admins`: who may steer the gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import AsJson, Config, Reason, chosen_config
from comptroller.cli.said import note, read_duration, say_instant, say_relative, write, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.admins import AdminMade, AdminRow

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As it stands on records: ada, ada@acme.example.")]
RoleWord = Annotated[str, typer.Option("--role", metavar="ROLE", help="viewer, operator, approver or admin.")]
Expires = Annotated[
    str | None,
    typer.Option("--expires", metavar="DURATION", help="When its right ends: 90d.", show_default="never"),
]
RotatedExpires = Annotated[
    str | None,
    typer.Option("--expires", metavar="DURATION", help="From now: 90d.", show_default="as long as before"),
]
IssuerName = Annotated[
    str | None, typer.Option("--issuer", metavar="NAME", help="An issuer of the registry, instead of a credential.")
]
Subject = Annotated[str | None, typer.Option("--subject", metavar="SUB", help="Exactly as `sub` of its tokens has it.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="PATH", help="A file with the token.")]
TokenVariable = Annotated[str | None, typer.Option("--token-env", metavar="NAME", help="A variable with the token.")]
Lifetime = Annotated[
    str | None, typer.Option(metavar="DURATION", help="How long the login lasts; at most 12h.", show_default="1h")
]

_COLUMNS = (Column("name"), Column("role"), Column("state"), Column("known by"), Column("expires"), Column("made by"))


@app.callback()
def admins(context: typer.Context, config: Config = None) -> None:
    """Make, list, rotate and disable admins.

    Roles: a viewer looks; an operator also stops, mints and corrects; an approver looks and approves; an admin does
    everything. The first of role admin ends the bootstrap credential of the state folder.

    \b
    Example:
      export COMPTROLLER_TOKEN=$(comptroller admins add ada --role admin --expires 90d)
    """
    if config is not None:
        context.obj = config


@app.command(name="list")
def list_(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """List who may steer the gateway, in which role, and until when.

    \b
    Example:
      comptroller admins list
    """
    from comptroller.cli.transport import connect
    from comptroller.control.admins import AdminRow

    with connect(context, config) as api:
        answer = api.get("admins")
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (row.name, row.role, row.state, _known_by(row), say_instant(row.expires_at) or "never", row.made_by)
        for row in answer.read(list[AdminRow])
    ]
    print_table(_COLUMNS, rows, "No admin has a name yet: the bootstrap credential opens everything.")


@app.command()
def add(
    context: typer.Context,
    name: Name,
    role: RoleWord,
    expires: Expires = None,
    issuer: IssuerName = None,
    subject: Subject = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make an admin.

    Prints its credential alone on standard output: it is shown this once. With --issuer and --subject there is none,
    and the admin logs in with a token of that issuer. A disabled or expired name can be added again.

    \b
    Example:
      comptroller admins add ada --role admin --expires 90d
      comptroller admins add bob --role operator --issuer keycloak --subject 2f1c7a0e
    """
    from comptroller.cli.transport import connect
    from comptroller.control.admins import AdminMade

    _check_role(role)
    sent = {"name": name, "role": role, "lifetime_s": _seconds(expires), "issuer": issuer, "subject": subject}
    with connect(context, config) as api:
        answer = api.post("admins", sent=sent)
    if as_json:
        write_json(answer.body)
    else:
        _say_made(answer.read(AdminMade))


@app.command()
def rotate(
    context: typer.Context, name: Name, expires: RotatedExpires = None, as_json: AsJson = False, config: Config = None
) -> None:
    """Give an admin a new credential.

    Prints it alone on standard output. The old one ends at once, and so do its logins.

    \b
    Example:
      comptroller admins rotate ada
    """
    from comptroller.cli.transport import connect
    from comptroller.control.admins import AdminMade

    with connect(context, config) as api:
        answer = api.post("admins", name, "rotate", sent={"lifetime_s": _seconds(expires)})
    if as_json:
        write_json(answer.body)
    else:
        _say_made(answer.read(AdminMade))


@app.command()
def disable(context: typer.Context, name: Name, reason: Reason, as_json: AsJson = False, config: Config = None) -> None:
    """Let an admin in no longer, from now on.

    The last one of role admin stays: make another one first.

    \b
    Example:
      comptroller admins disable ada --reason "she has left"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.admins import AdminRow

    with connect(context, config) as api:
        answer = api.post("admins", name, "disable", sent={"reason": reason})
    if as_json:
        write_json(answer.body)
        return
    row = answer.read(AdminRow)
    write(f"{row.name} is disabled, by {row.disabled_by} at {say_instant(row.disabled_at)}: {row.disabled_reason}")


@app.command()
def login(
    context: typer.Context,
    token_file: TokenFile = None,
    token_env: TokenVariable = None,
    lifetime: Lifetime = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Get a credential for a while, for an issuer's token.

    Prints it alone on standard output. It ends with the gateway's process, too.

    \b
    Example:
      export COMPTROLLER_TOKEN=$(comptroller admins login --token-env ID_TOKEN)
    """
    from comptroller.cli.transport import connect
    from comptroller.control.login import LoggedIn

    token = _token(token_file, token_env)
    with connect(context, config) as api:
        answer = api.post("login", sent={"token": token, "lifetime_s": _seconds(lifetime)})
    if as_json:
        write_json(answer.body)
        return
    found = answer.read(LoggedIn)
    write(found.credential)
    ends = f"this ends {say_relative(found.expires_at)}, and when the gateway restarts"
    note(f"{found.admin} is logged in as {found.role}; {ends}")


@app.command()
def recover(context: typer.Context, name: Name, reason: Reason, config: Config = None) -> None:
    """Get in again where nobody can.

    On the gateway's machine, with the gateway stopped. Makes NAME an admin of role admin with a new credential,
    whatever it was before, and prints that. It is on record.

    \b
    Example:
      comptroller admins recover ada --reason "the only admin has left"
    """
    import asyncio

    from comptroller import app as house
    from comptroller.cli.holder import said_plainly
    from comptroller.cli.target import find_config

    path = find_config(chosen_config(context, config))
    with said_plainly("Nobody was let in, and nothing has changed: "):
        made = asyncio.run(house.recover(path, name, reason))
    _say_made(made)


def _say_made(made: AdminMade) -> None:
    row = made.admin
    ends = f", until {say_instant(row.expires_at)}" if row.expires_at else ""
    if made.credential is None:
        write(f"{row.name} is {row.role}{ends}, and logs in with tokens of {row.issuer}: comptroller admins login")
        return
    write(made.credential)
    note(f"{row.name} is {row.role}{ends}. This is shown once: export COMPTROLLER_TOKEN=... and keep it safe.")


def _known_by(row: AdminRow) -> str:
    ways = ["a credential"] if row.credential else []
    if row.issuer is not None:
        ways.append(f"{row.subject} of {row.issuer}")
    return ", ".join(ways)


def _seconds(text: str | None) -> int | None:
    return None if text is None else read_duration(text)


def _check_role(role: str) -> None:
    from comptroller.core.identity.admin import INCLUDES
    from comptroller.core.problem import did_you_mean

    if role not in INCLUDES:
        raise typer.BadParameter(f"There is no role {role!r}. {did_you_mean(role, INCLUDES)}".rstrip())


def _token(file: Path | None, variable: str | None) -> str:
    if (file is None) == (variable is None):
        raise typer.BadParameter("Say where the token is: --token-file PATH or --token-env NAME.")
    if file is None:
        token = os.environ.get(variable or "", "")
    else:
        try:
            token = file.read_text(encoding="ascii", errors="replace")
        except OSError as error:
            raise CommandError(f"The token cannot be read: {error}.") from error
    if not token.strip():
        raise CommandError(f"There is no token in {file or variable}.")
    return token.strip()
