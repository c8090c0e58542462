"""`comptroller notify`: who is told of what, trying it, and what could not be delivered."""

from __future__ import annotations

from typing import Annotated

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import say_instant, write, write_json
from comptroller.cli.table import Column, print_table

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Receiver = Annotated[str, typer.Argument(metavar="RECEIVER", help="Its name in comptroller.toml.")]
Notice = Annotated[str | None, typer.Argument(metavar="NOTICE", help="Its id. Left out: all.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")]
Of = Annotated[str | None, typer.Option("--receiver", metavar="RECEIVER", help="Those of this one alone.")]

_RECEIVERS = (
    Column("receiver"),
    Column("url"),
    Column("events"),
    Column("state"),
    Column("waiting", "number"),
    Column("dead", "number"),
    Column("delivered", "number"),
    Column("last delivered"),
    Column("last error"),
)
_FAILED = (
    Column("failed"),
    Column("receiver"),
    Column("notice"),
    Column("about"),
    Column("tries", "number"),
    Column("error"),
    Column("id"),
)


@app.callback()
def notify(context: typer.Context, config: Config = None) -> None:
    """See who is told of what, try it, and send it again.

    Who is told stands in comptroller.toml, under [[notify]].

    \b
    Example:
      comptroller notify list
      comptroller notify test ops
      comptroller notify failed
    """
    if config is not None:
        context.obj = config


@app.command(name="list")
def list_(context: typer.Context, as_json: AsJson = False, config: Config = None) -> None:
    """List the receivers, what waits for them, and how they are doing.

    \b
    Example:
      comptroller notify list
    """
    from comptroller.cli.transport import connect
    from comptroller.control.notify import ReceiverRow

    with connect(context, config) as api:
        answer = api.get("notify")
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (
            row.name,
            row.url,
            " ".join(row.events) + ("" if row.min_severity == "info" else f" from {row.min_severity}"),
            row.state,
            str(row.waiting),
            str(row.dead_letters),
            str(row.delivered),
            say_instant(row.last_delivered_at),
            row.last_error or "",
        )
        for row in answer.read(list[ReceiverRow])
    ]
    print_table(_RECEIVERS, rows, "Nobody is told of anything: comptroller.toml has no [[notify]].")


@app.command(name="test")
def try_(context: typer.Context, receiver: Receiver, as_json: AsJson = False, config: Config = None) -> None:
    """Send a notice to one receiver now, and say how that went.

    It is tried once. Exit code 1 if it did not arrive.

    \b
    Example:
      comptroller notify test ops
    """
    from comptroller.cli.transport import connect
    from comptroller.control.notify import Tested

    with connect(context, config) as api:
        answer = api.post("notify", receiver, "test")
    tested = answer.read(Tested)
    if as_json:
        write_json(answer.body)
    elif tested.delivered:
        write(f"{receiver} took {tested.notice} in {tested.took_ms} ms, with status {tested.status}")
    if not tested.delivered:
        hint = "" if as_json else "See url and secret in comptroller.toml, and the log of the receiver."
        raise CommandError(f"{receiver} did not take it: {tested.error}", hint)


@app.command()
def failed(context: typer.Context, limit: Limit = 100, as_json: AsJson = False, config: Config = None) -> None:
    """List what could not be delivered and was given up.

    \b
    Example:
      comptroller notify failed
    """
    from comptroller.cli.transport import connect
    from comptroller.control.notify import FailedRow

    with connect(context, config) as api:
        answer = api.get("notify", "failed", limit=limit)
    if as_json:
        write_json(answer.body)
        return
    rows = [
        (say_instant(row.failed_at), row.receiver, row.name, row.subject, str(row.tries), row.error, row.id)
        for row in answer.read(list[FailedRow])
    ]
    print_table(_FAILED, rows, "Every notice was delivered, or is still tried.")


@app.command()
def retry(
    context: typer.Context,
    notice: Notice = None,
    receiver: Of = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Send again what was given up: all, of one receiver, or one.

    \b
    Example:
      comptroller notify retry --receiver ops
    """
    from comptroller.cli.transport import connect
    from comptroller.control.notify import Retried

    with connect(context, config) as api:
        answer = api.post("notify", "retry", sent={"receiver": receiver, "notice": notice})
    if as_json:
        write_json(answer.body)
        return
    done = answer.read(Retried)
    left = f", {done.left} not: their receiver is gone, or too much waits for it" if done.left else ""
    write(f"{done.retried} sent again{left}")
