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
Notices = Annotated[list[str] | None, typer.Argument(metavar="[NOTICE]...", help="Ids. Left out: all.")]
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
    """See who is told of what, try it, and send again what did not arrive.

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
    """Send a notice to one receiver now, once, and say how that went. Exit code 1 if it did not arrive.

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
    """List the notices that could not be delivered and were given up, newest first.

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
    notices: Notices = None,
    receiver: Of = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Send notices again that were given up: all, those of one receiver, or those that are named.

    \b
    Example:
      comptroller notify retry --receiver ops
    """
    import msgspec

    from comptroller.cli.transport import connect
    from comptroller.control.notify import Retried

    with connect(context, config) as api:
        answers = [
            api.post("notify", "retry", sent={"receiver": receiver, "notice": notice}) for notice in notices or [None]
        ]
    done = [answer.read(Retried) for answer in answers]
    again, left = sum(each.retried for each in done), sum(each.left for each in done)
    if as_json:
        write_json(msgspec.json.encode(Retried(again, left)))
        return
    write(f"{again} sent again" + (f", {left} not: their receiver is gone, or too much waits for it" if left else ""))
