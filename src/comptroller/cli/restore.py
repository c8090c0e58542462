"""`comptroller restore`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import AsJson, Config, Reason, Yes, chosen_config
from comptroller.cli.said import Progress, note, say_instant, say_relative, write, write_json
from comptroller.cli.table import Column, print_table

if TYPE_CHECKING:
    from comptroller.core.budget.restored import Missing
    from comptroller.store.restore import Restored, RestorePlan, Restoring

Source = Annotated[Path, typer.Argument(metavar="BACKUP", help="The folder that `comptroller backup` printed.")]
Unknown = Annotated[
    Literal["presume", "accept"] | None,
    typer.Option(
        "--unknown-spend",
        help="Where nobody knows what was spent since the backup. presume: open budgets count as used up until they "
        "reset. accept: go on as of the backup; what was left in them then may be spent twice.",
    ),
]

_COLUMNS = (
    Column("budget"),
    Column("limit", "number"),
    Column("spent", "number"),
    Column("may be missing", "number"),
    Column("resets"),
)


def restore(
    context: typer.Context,
    source: Source,
    reason: Reason,
    unknown_spend: Unknown = None,
    yes: Yes = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Put a backup in the place of the store of a stopped gateway.

    What stands there now is moved aside and kept. All session credentials end, and so does the admin credential: the
    next start makes new ones. Shows what comes back and what it may lack, and asks.

    \b
    Example:
      comptroller restore /var/backups/comptroller/comptroller-20261122T054711042000Z --reason "disk replaced"
    """
    import os
    import socket
    import time

    from comptroller.cli.holder import said_plainly
    from comptroller.cli.target import find_config, read_settings
    from comptroller.core.instant import format_instant
    from comptroller.store.backup import read_backup
    from comptroller.store.lock import OFFLINE, Holder
    from comptroller.store.restore import prepare_restore

    state = read_settings(find_config(chosen_config(context, config))).state
    now_ns = time.time_ns()
    holder = Holder(os.getpid(), socket.gethostname(), format_instant(now_ns), OFFLINE)
    with said_plainly("Nothing was restored: "):
        found = read_backup(source)
        with prepare_restore(state, found, now_ns=now_ns, holder=holder, progress=Progress("restore")) as restoring:
            if not as_json:
                _show(restoring.plan)
            _agree(restoring, unknown_spend, yes=yes)
            done = restoring.complete(unknown_spend, reason)
    if as_json:
        write_json(_encoded(restoring.plan, done))
    else:
        _say_done(restoring.plan, done)


def _show(plan: RestorePlan) -> None:
    """What would come back, for a person."""
    backup = plan.manifest
    write(
        f"A backup of {say_instant(backup.made_at)} ({say_relative(backup.made_at)}): calls {backup.calls}, registry "
        f"version {backup.registry_version}, schema {backup.schema}, epoch {backup.epoch}."
    )
    write(_say_replaced(plan))
    if plan.presumed_holds:
        write(f"Calls that were in flight when it was made, charged as presumed: {plan.presumed_holds}.")
    write(f"Sessions that end: {plan.live_sessions}.")
    write(plan.forgets)
    if plan.needs_choice:
        write(f"What was spent since {say_instant(plan.since)} is not known. These budgets are open now:")
        print_table(_COLUMNS, [_row(window) for window in plan.windows], "")


def _say_replaced(plan: RestorePlan) -> str:
    last = say_instant(plan.replaced_last_at)
    return {
        "empty": "There is no other store there.",
        "continues": f"The store there goes on from it until {last}: what its budgets show is carried over; its calls "
        "and changes since then are not, and stay in it.",
        "other": f"The store there has another history, until {last}: what it spent is added to the budgets.",
        "unreadable": f"The store there cannot be read: {plan.replaced_detail}.",
    }[plan.replaced]


def _row(window: Missing) -> tuple[str, ...]:
    from comptroller.core.budget.budget import label, say_amount
    from comptroller.core.budget.hold import EVERY
    from comptroller.core.instant import format_instant

    budget = window.budget
    end_ns = window.span.end_ns
    return (
        label(budget.name, "any other" if window.key.instance == EVERY else window.key.instance),
        say_amount(budget.limit, budget.unit),
        say_amount(window.posted, budget.unit),
        say_amount(window.most, budget.unit),
        "never" if end_ns is None else say_relative(format_instant(end_ns)),
    )


def _agree(restoring: Restoring, choice: str | None, *, yes: bool) -> None:
    """Go on only if everything that must be decided is decided."""
    if restoring.plan.needs_choice and choice is None:
        raise CommandError(
            "Nothing was restored: nobody knows what was spent since the backup.",
            "Say --unknown-spend presume (open budgets count as used up until they reset; raise a limit to open one "
            "earlier), or --unknown-spend accept (what was left in them may be spent twice).",
        )
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError("Nothing was restored: there is nobody to ask.", "Say --yes to restore without asking.")
    if not typer.confirm("Restore this?", err=True):
        raise CommandError("Nothing was restored.")


def _say_done(plan: RestorePlan, done: Restored) -> None:
    write(f"Restored, with epoch {done.epoch}. Every session has ended; mint new credentials.")
    if done.presumed:
        write(f"Windows that count as used up until they reset: {done.presumed}.")
    if done.replaced is not None:
        write(f"The store that stood there is in {done.replaced}.")
    if plan.replaced in {"empty", "unreadable"}:
        note(f"{plan.forgets} So stop everything, which works before the gateway is started, and look:")
        note('  comptroller suspend everything --yes --reason "restored"')
        note("  comptroller stops; comptroller admins; comptroller requests --all; comptroller plan")
        note('  comptroller resume everything --reason "looked through"')
    note("Start the gateway, look at `comptroller findings` and `comptroller budgets`, and compare with the bill.")
    note("`comptroller plan` shows what your registry file has beyond the version that came back.")


def _encoded(plan: RestorePlan, done: Restored) -> bytes:
    import msgspec

    from comptroller.core.budget.budget import format_amount
    from comptroller.core.budget.hold import EVERY

    windows = [
        {
            "name": window.budget.name,
            "instance": "*" if window.key.instance == EVERY else window.key.instance,
            "unit": window.budget.unit,
            "limit": format_amount(window.budget.limit, window.budget.unit),
            "posted": format_amount(window.posted, window.budget.unit),
            "missing_at_most": format_amount(window.most, window.budget.unit),
        }
        for window in plan.windows
    ]
    return msgspec.json.encode(
        {
            "backup": plan.manifest,
            "replaced": plan.replaced,
            "replaced_path": None if done.replaced is None else str(done.replaced),
            "since": plan.since,
            "unknown_spend": plan.needs_choice,
            "windows": windows,
            "presumed_windows": done.presumed,
            "presumed_calls": plan.presumed_holds,
            "ended_sessions": done.ended_sessions,
            "epoch": done.epoch,
            "stops_unknown": plan.replaced in {"empty", "unreadable"},
        }
    )
