"""`comptroller break-glass`: in an emergency, what policies say no to, for a while and up to an amount."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from comptroller.cli.options import AsJson, Config, Reason, ValueOfStop
from comptroller.cli.said import note, read_duration, say_instant, write, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.cli.transport import Answer
    from comptroller.control.break_glass import BreakGlassRow


class _AskFirst(TyperGroup):
    """`break-glass team search ...` asks, as `break-glass ask team search ...` does."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = args and (args[0] in self.commands or args[0].startswith("-"))
        return super().resolve_command(ctx, args if known else ["ask", *args])


app = typer.Typer(cls=_AskFirst, rich_markup_mode=None, no_args_is_help=True)

GrantScopeWord = Annotated[
    str, typer.Argument(metavar="SCOPE", help="session, identity, owner, team, tenant or everything.")
]
Lasts = Annotated[str, typer.Option("--for", metavar="DURATION", help="From its confirmation; at most 24h.")]
LimitUsd = Annotated[str, typer.Option("--limit", metavar="AMOUNT", help="What may be spent by it: 50 USD.")]
Grant = Annotated[str, typer.Argument(metavar="GRANT", help="Its id, as it was printed.")]

_COLUMNS = (
    Column("id"),
    Column("scope"),
    Column("state"),
    Column("spent"),
    Column("limit"),
    Column("ends"),
    Column("asked by"),
    Column("confirmed by"),
    Column("reason"),
)


@app.callback()
def break_glass(context: typer.Context, config: Config = None) -> None:
    """Let calls through that policies deny, in an emergency.

    One admin asks, another one confirms. Budgets, stops and records are as ever, and each call names the grant.

    \b
    Example:
      comptroller break-glass team search --for 1h --limit "50 USD" --reason "INC-9: the policy is wrong"
      comptroller break-glass confirm brg_01k...
    """
    if config is not None:
        context.obj = config


@app.command()
def ask(
    context: typer.Context,
    scope: GrantScopeWord,
    lasts: Lasts,
    limit: LimitUsd,
    reason: Reason,
    value: ValueOfStop = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Ask for it; nothing changes until somebody confirms.

    The word `ask` may be left out. What nobody confirms within an hour is over.

    \b
    Example:
      comptroller break-glass ask team search --for 1h --limit "50 USD" --reason "INC-9: the policy is wrong"
    """
    from comptroller.cli.transport import connect

    _check_scope(scope)
    sent = {
        "scope": scope,
        "value": value,
        "lasts_s": read_duration(lasts),
        "limit_usd": limit.upper().removesuffix("USD").strip(),
        "reason": reason,
    }
    with connect(context, config) as api:
        row = _answered(api.post("break-glass", sent=sent), as_json=as_json)
    if row is not None:
        write(row.id)
        note(f"Nothing has changed yet. Another admin: comptroller break-glass confirm {row.id}")


@app.command()
def confirm(context: typer.Context, grant: Grant, as_json: AsJson = False, config: Config = None) -> None:
    """Put into force what another admin has asked for.

    \b
    Example:
      comptroller break-glass confirm brg_01k...
    """
    from comptroller.cli.transport import connect

    with connect(context, config) as api:
        row = _answered(api.post("break-glass", grant, "confirm"), as_json=as_json)
    if row is not None:
        write(f"policies are skipped for {_scope(row)} until {say_instant(row.ends_at)}, up to {row.limit_usd} USD")


@app.command()
def end(context: typer.Context, grant: Grant, as_json: AsJson = False, config: Config = None) -> None:
    """End it at once, or take back what was asked for.

    \b
    Example:
      comptroller break-glass end brg_01k...
    """
    from comptroller.cli.transport import connect

    with connect(context, config) as api:
        row = _answered(api.post("break-glass", grant, "end"), as_json=as_json)
    if row is not None:
        write(f"{row.id} is over: policies hold again for {_scope(row)}")


@app.command(name="list")
def list_(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """List what was asked for, is in force, or is over.

    \b
    Example:
      comptroller break-glass list
    """
    from comptroller.cli.transport import connect
    from comptroller.control.break_glass import BreakGlassRow

    with connect(context, config) as api:
        answer = api.get("break-glass")
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (
            row.id,
            _scope(row),
            row.state.replace("_", " "),
            row.spent_usd or "",
            row.limit_usd,
            say_instant(row.ended_at or row.ends_at),
            row.asked_by,
            row.confirmed_by or "",
            row.reason,
        )
        for row in answer.read(list[BreakGlassRow])
    ]
    print_table(_COLUMNS, rows, "The glass was never broken.")


def _answered(answer: Answer, *, as_json: bool) -> BreakGlassRow | None:
    """The row; None if it was printed as JSON."""
    from comptroller.control.break_glass import BreakGlassRow

    if as_json:
        write_json(answer.body)
        return None
    return answer.read(BreakGlassRow)


def _scope(row: BreakGlassRow) -> str:
    return f"{row.scope} {row.value}".rstrip()


def _check_scope(scope: str) -> None:
    from typing import get_args

    from comptroller.core.policy.break_glass import BreakGlassScope
    from comptroller.core.problem import did_you_mean

    known = get_args(BreakGlassScope)
    if scope not in known:
        raise typer.BadParameter(f"There is no scope {scope!r}. {did_you_mean(scope, known)}".rstrip())
