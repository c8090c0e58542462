"""`comptroller approvals`: what waits for somebody's yes, and answering."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.options import AsJson, Config, Reason
from comptroller.cli.said import note, read_duration, say_instant, say_relative, say_seconds, write, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.approval_rows import Answered, GrantRow, TicketRow

app = typer.Typer(rich_markup_mode=None)

Every = Annotated[bool, typer.Option("--all", help="Answered ones too, the newest first.")]
TicketId = Annotated[str, typer.Argument(metavar="TICKET", help="Its id; `comptroller approvals` lists them.")]
AmountOf = Annotated[
    str | None, typer.Option("--amount", metavar="AMOUNT", help="What may be spent by it.", show_default="as it asks")
]
UsesOf = Annotated[
    str | None,
    typer.Option("--uses", metavar="NUMBER", help="Calls, or `any`.", show_default="one; any, if there is an amount"),
]
LastsFor = Annotated[
    str | None, typer.Option("--for", metavar="DURATION", help="How long it lasts.", show_default="as it asks: 1h")
]
BoundTo = Annotated[
    str | None,
    typer.Option("--bound", metavar="WHOSE", help="session, identity or task.", show_default="the session that asked"),
]

_COLUMNS = (
    Column("ticket"),
    Column("state"),
    Column("role"),
    Column("due"),
    Column("who"),
    Column("for"),
    Column("estimate"),
    Column("why"),
)


@app.callback(invoke_without_command=True)
def approvals(context: typer.Context, every: Every = False, as_json: AsJson = False, config: Config = None) -> None:
    """List what waits for a yes, or answer.

    \b
    Example:
      comptroller approvals
      comptroller approvals approve apr_01k... --reason "INC-9"
      comptroller approvals deny apr_01k... --reason "use the small model"
    """
    if config is not None:
        context.obj = config
    if context.invoked_subcommand is None:
        _list(context, every=every, as_json=as_json, config=config)


@app.command("list")
def list_them(context: typer.Context, every: Every = False, as_json: AsJson = False, config: Config = None) -> None:
    """List the tickets that nobody has answered, the oldest first.

    `comptroller approvals` alone does the same.

    \b
    Example:
      comptroller approvals list --all
    """
    _list(context, every=every, as_json=as_json, config=config)


@app.command()
def show(context: typer.Context, ticket: TicketId, as_json: AsJson = False, config: Config = None) -> None:
    """Show one ticket: who asks for what, and what became of it.

    \b
    Example:
      comptroller approvals show apr_01k...
    """
    from comptroller.cli.transport import connect
    from comptroller.control.approval_rows import Answered

    with connect(context, config) as api:
        answer = api.get("approvals", ticket)
    if as_json:
        write_json(answer.body)
        return
    for line in _story(answer.read(Answered)):
        write(line)


@app.command()
def approve(
    context: typer.Context,
    ticket: TicketId,
    *,
    reason: Reason,
    amount: AmountOf = None,
    uses: UsesOf = None,
    lasts: LastsFor = None,
    bound: BoundTo = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Say yes: a grant comes of it.

    Without terms it is for one call of the session that asked, up to what that call could cost. Above the amount that
    the role has for it, it takes two: the first one's terms wait for the second.

    \b
    Example:
      comptroller approvals approve apr_01k... --reason "INC-9"
      comptroller approvals approve apr_01k... --amount "50 USD" --for 8h --bound identity --reason "INC-9"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.approval_rows import Answered

    number, unit = (None, None) if amount is None else read_amount(amount)
    sent = {
        "reason": reason,
        "amount": number,
        "unit": unit,
        "uses": None if uses is None else read_uses(uses),
        "lasts_s": None if lasts is None else read_duration(lasts),
        "bound": None if bound is None else read_bound(bound),
    }
    with connect(context, config) as api:
        answer = api.post("approvals", ticket, "approve", sent={k: v for k, v in sent.items() if v is not None})
    if as_json:
        write_json(answer.body)
        return
    done = answer.read(Answered)
    if done.grant is None:
        note(f"{ticket} takes two. Another of {done.ticket.role}: comptroller approvals approve {ticket} --reason ...")
        return
    write(f"{done.grant.id} is given to {say_grant(done.grant)}")


@app.command()
def deny(
    context: typer.Context, ticket: TicketId, reason: Reason, as_json: AsJson = False, config: Config = None
) -> None:
    """Say no; whoever asked is told why.

    \b
    Example:
      comptroller approvals deny apr_01k... --reason "use the small model"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.approval_rows import TicketRow

    with connect(context, config) as api:
        answer = api.post("approvals", ticket, "deny", sent={"reason": reason})
    if as_json:
        write_json(answer.body)
        return
    row = answer.read(TicketRow)
    write(f"{row.id} of {row.identity} is denied.")


def read_amount(text: str) -> tuple[str, str]:
    """An amount as the API takes it, and its unit: `50 USD`, `10_000 tokens`, `5 calls`; USD if nothing is said."""
    number, _, unit = text.strip().partition(" ")
    unit = unit.strip().lower() or "usd"
    if unit not in {"usd", "tokens", "calls", "tool_calls"}:
        raise typer.BadParameter(f'{text!r} is no amount; write "50 USD", "10_000 tokens" or "5 calls".')
    return number.replace("_", ""), unit


def read_uses(text: str) -> int | str:
    """A number of calls, or `any`."""
    if text != "any" and not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"{text!r} is no number of calls; write a number, or any.")
    return text if text == "any" else int(text)


def read_bound(text: str) -> str:
    from typing import get_args

    from comptroller.core.approval.ticket import GrantBound
    from comptroller.core.problem import did_you_mean

    known = get_args(GrantBound)
    if text not in known:
        raise typer.BadParameter(f"{text!r} is not session, identity or task. {did_you_mean(text, known)}".rstrip())
    return text


def say_grant(row: GrantRow) -> str:
    """Whom a grant is for, and what it allows, in words."""
    times = "" if row.uses is None else f", {row.uses} call{'s' if row.uses != 1 else ''}"
    most = "" if row.amount is None else f", up to {say_amount(row.amount, row.unit)}"
    just = " with the arguments that were asked for" if row.arguments_digest else ""
    what = f"{' of' if times else ', calls of'} {row.tool}{just}" if row.tool else ""
    return f"{row.bound} {row.value}{times}{what}{most}, until {say_instant(row.expires_at)}"


def say_amount(amount: str | int | None, unit: str) -> str:
    return "" if amount is None else f"{amount} {'USD' if unit == 'usd' else unit}"


def _list(context: typer.Context, *, every: bool, as_json: bool, config: Path | None) -> None:
    from comptroller.cli.transport import connect
    from comptroller.control.approval_rows import TicketRow

    with connect(context, config) as api:
        answer = api.get("approvals", all="true" if every else None)
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (
            row.id,
            _state(row),
            row.role,
            say_relative(row.due_at) if row.decided_at is None else "",
            row.identity,
            row.tool or row.model,
            row.estimate_usd or "?",
            row.reason,
        )
        for row in answer.read(list[TicketRow])
    ]
    print_table(_COLUMNS, rows, "Nothing waits for an approval.")


def _state(row: TicketRow) -> str:
    if row.decided_by is not None:
        return f"{row.state} by {row.decided_by}"
    return row.state if row.proposed_by is None else f"{row.state}, {row.proposed_by} agrees"


def _arguments(row: TicketRow) -> list[str]:
    """What a tool would be called with, as far as it may be seen."""
    known = f"digest {row.arguments_digest}, {row.arguments_bytes} bytes"
    kinds = [f"{words} {', '.join(each)}" for words, each in (("risks", row.risks), ("holds", row.classes)) if each]
    found = [f"  arguments: {'; '.join([known, *kinds])}"]
    if row.arguments:
        found.append(f"    {row.arguments}")
    if row.decided_at is None:
        found.append("  a yes is for one call with these arguments; another, or the same again, asks anew")
    return found


def _story(answered: Answered) -> list[str]:
    row, grant = answered.ticket, answered.grant
    most = f"at most {row.estimate_usd} USD" if row.estimate_usd is not None else "nobody knows how much"
    what = row.tool or row.model
    found = [
        f"{row.id}: {_state(row)}",
        f"  {row.identity} asks {row.asked_role} for {what} ({most}), session {row.session}, call {row.call}",
        f"  why: {row.reason}",
    ]
    if row.tool:
        found += _arguments(row)
    for words, names in (("forbids", row.policies), ("thresholds", row.thresholds), ("budgets", row.budgets)):
        if names:
            found.append(f"  {words}: {', '.join(names)}")
    if row.decided_at is None:
        if (row.policies or row.thresholds) and not row.tool:
            found.append(f"  a grant suspends all that is marked approval:{row.asked_role}, not only these")
        found.append(f"  {row.role} may answer until {say_instant(row.due_at)}; not {', '.join(row.requested_by)}")
    if row.proposed is not None and row.decided_at is None:
        amount = say_amount(row.proposed.amount, row.proposed.unit) or "no amount"
        found.append(f"  {row.proposed_by} agrees to {amount} for {say_seconds(row.proposed.lasts_s)}; it takes two")
    if row.said:
        found.append(f"  {row.decided_by} said: {row.said}")
    if grant is not None:
        found.append(f"  grant {grant.id} ({grant.state.replace('_', ' ')}): {say_grant(grant)}")
    return found
