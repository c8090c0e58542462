"""`comptroller simulate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import say_relative, write, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.control.allowance import AllowanceRow, PlannedRow

_COLUMNS = (
    Column("limit"),
    Column("window"),
    Column("mode"),
    Column("of", "number"),
    Column("used", "number"),
    Column("held", "number"),
    Column("left", "number"),
    Column("unit"),
    Column("resets"),
)


def simulate(
    context: typer.Context,
    identity: Annotated[str | None, typer.Argument(help="As if it opened a session now.")] = None,
    *,
    session: Annotated[str | None, typer.Option(help="An open session instead.")] = None,
    model: Annotated[str | None, typer.Option(help="A call to this model is planned.")] = None,
    input_tokens: Annotated[int, typer.Option(help="Of the planned call, at most.")] = 0,
    max_output_tokens: Annotated[int | None, typer.Option(help="That it would ask for. [default: all it can]")] = None,
    dialect: Annotated[str | None, typer.Option(help="The API, such as openai_chat. [default: any]")] = None,
    task_type: Annotated[str | None, typer.Option(help="Of the session that would be opened.")] = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Ask what somebody may spend right now.

    Shows every limit that binds an identity or a session, and what would become of a call that it plans. Nothing is
    held, sent or written down. The caller itself asks /comptroller/v1/allowance. Exit code 0 whatever the answer is.

    \b
    Example:
      comptroller simulate agent/scout --model gpt-4o --input-tokens 20000 --max-output-tokens 2000
    """
    from comptroller.cli.transport import connect
    from comptroller.control.allowance import AllowanceRow, SimulateSent

    sent = SimulateSent(
        model=model,
        input_tokens=input_tokens,
        max_output_tokens=max_output_tokens,
        dialect=dialect,
        identity=identity,
        session=session,
        task_type=task_type,
    )
    with connect(context, config) as api:
        answer = api.post("simulation", sent=sent)
    if as_json:
        write_json(answer.body)
        return
    _show(answer.read(AllowanceRow), opened=session is None)


def _show(found: AllowanceRow, *, opened: bool) -> None:
    which = "in a session that it opened now" if opened else f"in the session {found.session}"
    write(f"{found.identity}, {which}:")
    rows = [
        (
            f"{each.name} {each.instance}".strip() if each.kind != "session" else f"session {each.name}",
            each.window or "",
            each.mode,
            each.limit or "hidden",
            each.used or "",
            each.held or "",
            each.remaining or "",
            "USD" if each.unit == "usd" else each.unit,
            say_relative(each.resets_at) or "never",
        )
        for each in found.limits
    ]
    print_table(_COLUMNS, rows, "Nothing limits it.")
    if found.planned is None:
        names = ", ".join(each.name for each in found.models) or "none"
        write(f"Models that it may use: {names}. Add --model to plan a call.")
    else:
        _show_plan(found.planned)


def _show_plan(plan: PlannedRow) -> None:
    if plan.refusal is not None:
        write(f"A call to {plan.model} would be refused ({plan.refusal.code}): {plan.refusal.message}")
    else:
        cost = "" if plan.estimate_usd is None else f" and cost at most {plan.estimate_usd} USD"
        lowered = "" if plan.binds is None else f", which {plan.binds} allows"
        write(
            f"A call to {plan.model} would go to {plan.served_model} at {plan.provider}, with at most "
            f"{plan.output_limit} output tokens{lowered}{cost}."
        )
    write(f"The largest output that it could ask for now: {plan.largest_output_tokens} tokens.")
    if plan.cheapest is not None and plan.cheapest.model != plan.model:
        write(f"It would cost the least on {plan.cheapest.model}: at most {plan.cheapest.estimate_usd} USD.")
