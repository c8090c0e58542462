"""`comptroller grants`: the exceptions in force, giving one, taking one back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli.approvals import AmountOf, UsesOf, read_amount, read_bound, read_uses, say_amount, say_grant
from comptroller.cli.options import AsJson, Config, Reason
from comptroller.cli.said import read_duration, say_count, say_relative, write, write_json
from comptroller.cli.table import Column, print_table

app = typer.Typer(rich_markup_mode=None)

Every = Annotated[bool, typer.Option("--all", help="Those that are over, too, the newest first.")]
GrantId = Annotated[str, typer.Argument(metavar="GRANT", help="Its id; `comptroller grants` lists them.")]
Whose = Annotated[str, typer.Argument(metavar="WHOSE", help="session, identity or task.")]
Which = Annotated[str, typer.Argument(metavar="VALUE", help="Its id; of a task IDENTITY:TYPE:REFERENCE.")]
RoleOf = Annotated[str, typer.Option("--role", metavar="ROLE", help="As who: its forbids and budgets are lifted.")]
Lasts = Annotated[str, typer.Option("--for", metavar="DURATION", help="How long it lasts.")]
Budgets = Annotated[
    list[str] | None, typer.Option("--budget", metavar="NAME", help="A budget that it lifts; several: again.")
]
ToolOf = Annotated[
    str,
    typer.Option("--tool", metavar="NAME", help="For calls of this tool, SERVER/TOOL or a pattern; else of models."),
]
BudgetsAlone = Annotated[bool, typer.Option("--budgets-only", help="Suspend no forbid that is marked approval:ROLE.")]

_COLUMNS = (
    Column("grant"),
    Column("state"),
    Column("for"),
    Column("role"),
    Column("spent"),
    Column("of"),
    Column("used"),
    Column("of uses"),
    Column("ends"),
    Column("given by"),
    Column("reason"),
)


@app.callback(invoke_without_command=True)
def grants(context: typer.Context, every: Every = False, as_json: AsJson = False, config: Config = None) -> None:
    """List the exceptions in force, give one, or take one back.

    \b
    Example:
      comptroller grants
      comptroller grants make identity agent/scout --role finops --amount "50 USD" --for 8h --reason "INC-9"
      comptroller grants revoke grt_01k... --reason "the incident is over"
    """
    if config is not None:
        context.obj = config
    if context.invoked_subcommand is None:
        _list(context, every=every, as_json=as_json, config=config)


@app.command("list")
def list_them(context: typer.Context, every: Every = False, as_json: AsJson = False, config: Config = None) -> None:
    """List the grants in force, with what was spent by each.

    `comptroller grants` alone does the same.

    \b
    Example:
      comptroller grants list --all
    """
    _list(context, every=every, as_json=as_json, config=config)


@app.command()
def make(
    context: typer.Context,
    whose: Whose,
    value: Which,
    *,
    role: RoleOf,
    lasts: Lasts,
    reason: Reason,
    amount: AmountOf = None,
    uses: UsesOf = None,
    budget: Budgets = None,
    budgets_only: BudgetsAlone = False,
    tool: ToolOf = "",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Give a grant that nobody has asked for.

    It suspends what policies mark `approval:ROLE`, and lifts the budgets that are named by the amount; the role must
    own them. What takes two approvers has to be asked for by a call.

    \b
    Example:
      comptroller grants make identity agent/scout --role finops --amount "50 USD" --for 8h --reason "INC-9"
      comptroller grants make identity agent/scout --role ops --tool "files/*" --uses 5 --for 1h --reason "INC-9"
      comptroller grants make session ses_01k... --role finops --budget team --amount "5 USD" --for 1h --reason "INC-9"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.approval_rows import GrantRow

    number, unit = (None, "usd") if amount is None else read_amount(amount)
    sent = {
        "role": role,
        "bound": read_bound(whose),
        "value": value,
        "lasts_s": read_duration(lasts),
        "reason": reason,
        "amount": number,
        "unit": unit,
        "uses": None if uses is None else read_uses(uses),
        "suspends": not budgets_only,
        "budgets": budget or [],
        "tool": tool,
    }
    with connect(context, config) as api:
        answer = api.post("grants", sent={name: each for name, each in sent.items() if each is not None})
    if as_json:
        write_json(answer.body)
        return
    row = answer.read(GrantRow)
    write(f"{row.id} is given to {say_grant(row)}")


@app.command()
def revoke(
    context: typer.Context, grant: GrantId, reason: Reason, as_json: AsJson = False, config: Config = None
) -> None:
    """Take a grant back at once. Calls in flight go on.

    \b
    Example:
      comptroller grants revoke grt_01k... --reason "the incident is over"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.approval_rows import GrantRow

    with connect(context, config) as api:
        answer = api.post("grants", grant, "revoke", sent={"reason": reason})
    if as_json:
        write_json(answer.body)
        return
    row = answer.read(GrantRow)
    spent = say_amount(row.spent, row.unit)
    write(f"{row.id} for {row.bound} {row.value} is {row.state.replace('_', ' ')}: {spent} were spent by it.")


def _list(context: typer.Context, *, every: bool, as_json: bool, config: Path | None) -> None:
    from comptroller.cli.transport import connect
    from comptroller.control.approval_rows import GrantRow

    with connect(context, config) as api:
        answer = api.get("grants", all="true" if every else None)
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (
            row.id,
            row.state.replace("_", " "),
            f"{row.bound} {row.value}{f': {row.tool}' if row.tool else ''}",
            row.role,
            str(row.spent),
            say_amount(row.amount, row.unit) or "-",
            str(row.used),
            say_count(row.uses) or "-",
            say_relative(row.revoked_at or row.ended_at or row.expires_at),
            " and ".join(filter(None, (row.approver, row.second))),
            row.reason,
        )
        for row in answer.read(list[GrantRow])
    ]
    print_table(_COLUMNS, rows, "No grant is in force.")
