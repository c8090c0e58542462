"""`comptroller tools`: which tools of MCP servers are held back, what changed, and deciding about one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.options import AsJson, Config, Reason
from comptroller.cli.said import say_instant, say_relative, write, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.tool_rows import ToolRow, ToolShown

app = typer.Typer(rich_markup_mode=None)

Server = Annotated[str | None, typer.Option("--server", metavar="NAME", help="Tools of this server alone.")]
Waiting = Annotated[bool, typer.Option("--waiting", help="Those alone that somebody should look at.")]
Name = Annotated[str, typer.Argument(metavar="SERVER/TOOL", help="`comptroller tools` lists them.")]
Digest = Annotated[
    str, typer.Option("--digest", metavar="DIGEST", help="Of the definition that you looked at, as `diff` printed it.")
]

_COLUMNS = (
    Column("tool"),
    Column("state"),
    Column("risks"),
    Column("described"),
    Column("decided by"),
    Column("look at"),
)


@app.callback(invoke_without_command=True)
def tools(
    context: typer.Context,
    server: Server = None,
    waiting: Waiting = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List tools of MCP servers, and decide about them.

    \b
    Example:
      comptroller tools list --waiting
      comptroller tools diff files/read_text_file
      comptroller tools accept files/read_text_file --digest 3f2a90c1 --reason "a new parameter, looked at with ada"
    """
    if config is not None:
        context.obj = config
    if context.invoked_subcommand is None:
        _list(context, server, waiting=waiting, as_json=as_json, config=config)


@app.command("list")
def list_them(
    context: typer.Context,
    server: Server = None,
    waiting: Waiting = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List every tool that a server has listed.

    `comptroller tools` alone does the same. `pinned`: usable, as it was accepted. `changed`: its server describes it
    otherwise. `waiting`: nobody has accepted it yet. `rejected`: somebody said no. `not in the registry`: no [tools]
    entry matches it, so nobody may call it anyway.

    \b
    Example:
      comptroller tools list --waiting
    """
    _list(context, server, waiting=waiting, as_json=as_json, config=config)


@app.command()
def show(context: typer.Context, name: Name, as_json: AsJson = False, config: Config = None) -> None:
    """Show one tool and its definition.

    \b
    Example:
      comptroller tools show files/read_text_file
    """
    answer, shown = _shown(context, name, config)
    if as_json:
        write_json(answer)
        return
    for line in _story(shown):
        write(line)
    for line in (shown.shown or shown.accepted or "").split("\n"):
        write(line)


@app.command()
def diff(context: typer.Context, name: Name, as_json: AsJson = False, config: Config = None) -> None:
    """Show what has changed in a definition.

    From the one that was accepted to the one that its server shows; all of it, where none was accepted. The last line
    is the command that accepts what is shown. What nobody would see in a text is written out, such as \\u{200B}.

    \b
    Example:
      comptroller tools diff files/read_text_file
    """
    answer, shown = _shown(context, name, config)
    if as_json:
        write_json(answer)
        return
    for line in (*_story(shown), *_difference(shown)):
        write(line)


@app.command()
def accept(
    context: typer.Context, name: Name, digest: Digest, reason: Reason, as_json: AsJson = False, config: Config = None
) -> None:
    """Accept what a server says of a tool.

    From now on it is listed and can be called. Only what you looked at is accepted: if the server says something else
    by now, the digest does not fit.

    \b
    Example:
      comptroller tools accept files/read_text_file --digest 3f2a90c1 --reason "a new parameter, looked at with ada"
    """
    _decide(context, "accept", name, digest, reason, as_json=as_json, config=config)


@app.command()
def reject(
    context: typer.Context, name: Name, digest: Digest, reason: Reason, as_json: AsJson = False, config: Config = None
) -> None:
    """Say no to what a server says of a tool.

    Accepted before or not. The tool is held back until its server says something else.

    \b
    Example:
      comptroller tools reject files/read_text_file --digest 3f2a90c1 --reason "it asks for keys"
    """
    _decide(context, "reject", name, digest, reason, as_json=as_json, config=config)


def _shown(context: typer.Context, name: str, config: Path | None) -> tuple[bytes, ToolShown]:
    from comptroller.cli.transport import connect
    from comptroller.control.tool_rows import ToolShown

    with connect(context, config) as api:
        answer = api.get("tools", "definition", name=name)
    return answer.body, answer.read(ToolShown)


def _decide(
    context: typer.Context, what: str, name: str, digest: str, reason: str, *, as_json: bool, config: Path | None
) -> None:
    from comptroller.cli.transport import connect
    from comptroller.control.tool_rows import ToolRow

    with connect(context, config) as api:
        answer = api.post("tools", what, sent={"name": name, "digest": digest, "reason": reason})
    if as_json:
        write_json(answer.body)
        return
    row = answer.read(ToolRow)
    write(f"{row.name} is {row.state}." if row.entry is not None else f"{row.name} is {row.state}; {_NO_ENTRY}.")


_NO_ENTRY = "no [tools] entry of the registry matches it, so nobody may call it"


def _list(context: typer.Context, server: str | None, *, waiting: bool, as_json: bool, config: Path | None) -> None:
    from comptroller.cli.transport import connect
    from comptroller.control.tool_rows import ToolRow

    with connect(context, config) as api:
        answer = api.get("tools", server=server, waiting="true" if waiting else None)
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (
            row.name,
            row.state if row.entry is not None else f"{row.state} (not in the registry)",
            ", ".join(row.risks),
            say_relative(row.shown_at),
            row.decided_by,
            _look_at(row),
        )
        for row in answer.read(list[ToolRow])
    ]
    empty = "No tool waits for anybody." if waiting else "No server has listed a tool here yet."
    print_table(_COLUMNS, rows, empty)


def _look_at(row: ToolRow) -> str:
    if row.fault:
        return f"cannot be accepted: {row.fault}"
    return f"{len(row.remarks)} remark{'s' if len(row.remarks) != 1 else ''}" if row.remarks else ""


def _story(shown: ToolShown) -> Iterator[str]:
    row = shown.tool
    yield f"{row.name}: {row.state}" + ("" if row.entry is not None else f"; {_NO_ENTRY}")
    if row.entry is not None:
        yield f"  its entry is {row.entry}: {', '.join(row.risks)}"
    if row.decided_at is not None:
        yield f"  decided by {row.decided_by} at {say_instant(row.decided_at)}: {row.reason}"
    yield f"  described so since {say_instant(row.shown_at)}"
    if row.fault:
        yield f"  cannot be accepted: {row.fault}"
    for remark in row.remarks:
        yield f"  looks suspicious: {remark}"
    if shown.moving:
        yield "  its server said something else again a moment ago: ask again in a minute"


def _difference(shown: ToolShown) -> Iterator[str]:
    from shlex import quote

    from comptroller.core.tool.difference import lines_of

    row = shown.tool
    if not shown.differences:
        if not shown.moving and not row.fault:
            yield "Nothing differs."
    else:
        yield ""
        for each in shown.differences:
            yield from lines_of(each)
        yield ""
    if row.state != "pinned" and not row.fault and not shown.moving:
        yield f"comptroller tools accept {quote(row.name)} --digest {row.shown} --reason ..."
