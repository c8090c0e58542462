"""`comptroller requests`: who asks for an identity, and deciding."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli.options import AsJson, Config, Reason
from comptroller.cli.registry_file import write_lines
from comptroller.cli.said import note, say_relative, write, write_json
from comptroller.cli.table import Column, print_table

app = typer.Typer(rich_markup_mode=None)

Every = Annotated[bool, typer.Option("--all", help="Decided ones too.")]
RequestId = Annotated[str, typer.Argument(metavar="REQUEST", help="Its id; `comptroller requests` lists them.")]
Name = Annotated[
    str | None, typer.Option(metavar="ID", help="What it is called: agent/scout.", show_default="as it was wished for")
]
Team = Annotated[str | None, typer.Option(metavar="NAME", help="Who pays.", show_default="the team of its owner")]

_COLUMNS = (
    Column("request"),
    Column("state"),
    Column("asked"),
    Column("who"),
    Column("wants to be"),
    Column("environment"),
    Column("owner"),
    Column("purpose"),
)


@app.callback(invoke_without_command=True)
def requests(context: typer.Context, every: Every = False, as_json: AsJson = False, config: Config = None) -> None:
    """List who asks for an identity, or decide.

    \b
    Example:
      comptroller requests
      comptroller requests approve req_01k... --name agent/scout --reason "agreed with its owner"
      comptroller requests deny req_01k... --reason "name an owner who knows of it"
    """
    if config is not None:
        context.obj = config
    if context.invoked_subcommand is None:
        _show(context, every=every, as_json=as_json, config=config)


@app.command("list")
def list_them(context: typer.Context, every: Every = False, as_json: AsJson = False, config: Config = None) -> None:
    """List the requests that are open.

    `comptroller requests` alone does the same.

    \b
    Example:
      comptroller requests list --all
    """
    _show(context, every=every, as_json=as_json, config=config)


@app.command()
def approve(
    context: typer.Context,
    request: RequestId,
    reason: Reason,
    name: Name = None,
    team: Team = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Make whoever asked an identity of the registry, at once.

    Prints the lines that registry.toml needs, and nothing else, on standard output: without them the
    next `comptroller apply` of that file disables the identity.

    \b
    Example:
      comptroller requests approve req_01k... --name agent/scout --reason "agreed with its owner" >> registry.toml
    """
    from comptroller.cli.transport import connect
    from comptroller.control.identity_requests import IdentityApproval

    sent = {"name": name, "team": team, "reason": reason}
    with connect(context, config) as api:
        answer = api.post("identity-requests", request, "approve", sent=sent)
    if as_json:
        write_json(answer.body)
        return
    done = answer.read(IdentityApproval)
    row = done.request
    note(f"{row.issuer}:{row.subject} is {row.identity} from now on (version {done.version} of the registry).")
    for warning in done.warnings:
        note(f"warning: {warning}")
    note("Add these lines to registry.toml: without them, the next `comptroller apply` of it disables the identity.")
    write_lines(done.lines)


@app.command()
def deny(
    context: typer.Context, request: RequestId, reason: Reason, as_json: AsJson = False, config: Config = None
) -> None:
    """Say no; whoever asked is told why.

    A sandbox that they have ends at once. They can ask again; only an approval undoes it.

    \b
    Example:
      comptroller requests deny req_01k... --reason "name an owner who knows of it"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.identity_requests import RequestRow

    with connect(context, config) as api:
        answer = api.post("identity-requests", request, "deny", sent={"reason": reason})
    if as_json:
        write_json(answer.body)
        return
    row = answer.read(RequestRow)
    write(f"{row.id} of {row.issuer}:{row.subject} is denied.")


def _show(context: typer.Context, *, every: bool, as_json: bool, config: Path | None) -> None:
    from comptroller.cli.transport import connect
    from comptroller.control.identity_requests import RequestRow

    with connect(context, config) as api:
        answer = api.get("identity-requests", all="true" if every else None)
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (
            row.id,
            row.state if row.decided_by is None else f"{row.state} by {row.decided_by}",
            say_relative(row.asked_at),
            f"{row.issuer}:{row.subject}",
            row.identity or row.name or row.kind,
            row.environment,
            row.owner,
            row.purpose,
        )
        for row in answer.read(list[RequestRow])
    ]
    print_table(_COLUMNS, rows, "Nobody asks for an identity.")
