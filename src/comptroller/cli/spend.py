"""`comptroller spend`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import note, read_instant, say_count, say_instant, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from comptroller.control.spend import SpendAnswer, SpendRow

By = Annotated[
    str,
    typer.Option(
        metavar="WHAT", help="team, owner, identity, environment, session, task, model, provider, tool or server."
    ),
]
Since = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="From then on: 7d, or 2026-11-01.", show_default="the first of this month"),
]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Up to then.", show_default="now")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many rows.", show_default="50; with --json 10000")]
Team = Annotated[str | None, typer.Option(metavar="NAME", help="Only this team's.")]
Owner = Annotated[str | None, typer.Option(metavar="NAME", help="Only what this owner answered for.")]
Identity = Annotated[str | None, typer.Option(metavar="ID", help="Only this identity's.")]
Environment = Annotated[str | None, typer.Option(metavar="NAME", help="Only in this environment.")]
Session = Annotated[str | None, typer.Option(metavar="ID", help="Only in this session.")]
Model = Annotated[str | None, typer.Option(metavar="NAME", help="Only on this model.")]
Provider = Annotated[str | None, typer.Option(metavar="NAME", help="Only at this provider.")]
Tool = Annotated[str | None, typer.Option(metavar="SERVER/TOOL", help="Only for this tool.")]
Server = Annotated[str | None, typer.Option(metavar="NAME", help="Only for tools of this MCP server.")]

_SHOWN = 50
_BAR = 20  # characters


def spend(
    context: typer.Context,
    *,
    by: By = "team",
    since: Since = None,
    until: Until = None,
    team: Team = None,
    owner: Owner = None,
    identity: Identity = None,
    environment: Environment = None,
    session: Session = None,
    model: Model = None,
    provider: Provider = None,
    tool: Tool = None,
    server: Server = None,
    limit: Limit = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show who spent how much, those with the most first.

    A call counts for the team and the owner that it had when it was made. Presumed amounts stand apart: they are
    posted, too, but nobody knows yet what was billed.

    \b
    Example:
      comptroller spend --by team --since 30d
      comptroller spend --by model --team search --since 2026-11-01 --until 2026-12-01 --json
    """
    from comptroller.cli.transport import connect
    from comptroller.control.spend import DIMENSIONS, SpendAnswer

    if by not in DIMENSIONS:
        raise typer.BadParameter(f"{by!r} is not one of {', '.join(DIMENSIONS)}.", param_hint="--by")
    begins = _month() if since is None else read_instant(since)
    asked = {"team": team, "owner": owner, "identity": identity, "environment": environment}
    asked |= {"session": session, "model": model, "provider": provider, "tool": tool, "server": server}
    asked |= {"since": begins.isoformat(), "until": read_instant(until).isoformat() if until is not None else None}
    shown = _SHOWN if limit is None and not as_json else limit
    with connect(context, config) as api:
        answer = api.get("spend", by=by, limit=shown, **asked)
    found = answer.read(SpendAnswer)
    if as_json:
        import msgspec

        write_json(msgspec.json.encode(found.rows))
    else:
        _print(found, begins)


def _print(found: SpendAnswer, asked: datetime) -> None:
    span = f"{say_instant(found.since)} to {say_instant(found.until)}"
    empty = (
        f"Nothing was spent or refused from {span}. Is that the time you mean (--since), and is it the right gateway "
        "(`comptroller status`)? Make a call with a credential from `comptroller token IDENTITY`."
    )
    print_table(_columns(found), list(_table(found)), empty)
    if not found.rows:
        return
    note(f"From {span}, local time.")
    if datetime.fromisoformat(found.since) > asked:
        note("What single sessions spent is not kept for longer (retention.spend_recent_days).")
    if _counts(found):
        note(
            "Counted: as budgets in calls count them. A free call (counting tokens) counts none, a further attempt one."
        )
    if found.left_out:
        note(f"The total has {found.left_out} more; --limit N shows more of them.")
    if found.by == "task" and all(row.key is None for row in found.rows) and not found.left_out:
        note("No session has declared a task.")
    if found.total.presumed_usd != "0.00":
        note("Presumed: upper bounds, for nobody knows what was billed. `comptroller calls` marks them with ~.")


def _columns(found: SpendAnswer) -> list[Column]:
    tools = ["tool calls", "result bytes"] if found.total.posted_tool_calls else []
    numbers = ["calls", *(["counted"] if _counts(found) else []), *tools, "refused", "in", "out", "charge USD"]
    if found.total.presumed_usd != "0.00":
        numbers += ["presumed USD", "posted USD"]
    return [Column(found.by), *(Column(title, "number") for title in numbers), Column("share", "number"), Column("")]


def _table(found: SpendAnswer) -> Iterable[tuple[str, ...]]:
    if not found.rows:
        return
    apart, counts, tools = found.total.presumed_usd != "0.00", _counts(found), bool(found.total.posted_tool_calls)
    whole, most = _amount(found.total), max(_amount(row) for row in found.rows)
    for row in found.rows:
        share = f"{_amount(row) / whole:.1%}" if whole > 0 else ""
        bar = "#" * round(_BAR * _amount(row) / most) if most > 0 else ""
        yield (*_cells(row.key or f"(no {found.by})", row, apart=apart, counts=counts, tools=tools), share, bar)
    if len(found.rows) > 1 or found.left_out:
        yield (*_cells("total", found.total, apart=apart, counts=counts, tools=tools), "", "")


def _counts(found: SpendAnswer) -> bool:
    """Whether budgets in calls count others than those that have ended: some were free, or made several attempts."""
    return any(row.posted_calls + row.posted_tool_calls != row.calls for row in (found.total, *found.rows))


def _cells(name: str, row: SpendRow, *, apart: bool, counts: bool, tools: bool) -> tuple[str, ...]:
    calls = (row.calls, row.posted_calls) if counts else (row.calls,)
    calls += (row.posted_tool_calls, row.posted_result_bytes) if tools else ()
    numbers = (say_count(number) for number in (*calls, row.refused, row.input_tokens, row.output_tokens))
    return (name, *numbers, row.charge_usd, *((row.presumed_usd, row.posted_usd) if apart else ()))


def _amount(row: SpendRow) -> float:
    """For shares only: money is never a float where it counts."""
    return float(row.posted_usd)


def _month() -> datetime:
    now = datetime.now().astimezone()
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0, tzinfo=None).astimezone(UTC)
