"""`comptroller suspend`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import AsJson, Config, Reason, ScopeOfStop, ValueOfStop, Yes, check_scope
from comptroller.cli.said import note, say_instant, write, write_json
from comptroller.core.money import format_usd, parse_usd

if TYPE_CHECKING:
    from comptroller.control.stops import SetAside


def suspend(
    context: typer.Context,
    scope: ScopeOfStop,
    reason: Reason,
    value: ValueOfStop = "",
    yes: Yes = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Stop something at once.

    Its next call is refused, its calls in flight are cut off and charged, and no credential is minted for it.
    SCOPE is credential, session (with all that it started), identity, owner, team, subject (on whose behalf: of a
    sandbox, who has it), tenant, model, provider or everything; VALUE names which one, and of models may be a
    pattern. `comptroller resume` lifts it.

    \b
    Example:
      comptroller suspend session ses_01k... --reason "runaway loop"
      comptroller suspend team search --reason "leaked key, see INC-7"
      comptroller suspend model "gpt-*" --reason "wrong answers"
      comptroller suspend subject main:4b1c --reason "plays with the sandbox"
      comptroller suspend everything --yes --reason "the bill is on fire"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.stops import StopMade

    check_scope(scope)
    if scope == "everything" and not yes:
        _agree()
    with connect(context, config) as api:
        answer = api.post("stops", sent={"scope": scope, "value": value, "reason": reason})
    if as_json:
        write_json(answer.body)
        return
    made = answer.read(StopMade)
    stop = made.stop
    name = f"{stop.scope} {stop.value}".rstrip()
    if made.already_stopped:
        write(f"{name} was stopped before, by {stop.actor} at {say_instant(stop.at)}: {stop.reason}")
    else:
        write(f"{name} is suspended; calls cut off: {made.cut_calls}")
    for warning in made.warnings:
        note(warning)
    if made.set_aside:
        _say_set_aside(made.set_aside)


def _say_set_aside(shares: Sequence[SetAside]) -> None:
    """A stop can be lifted, so it gives no share back."""
    usd = format_usd(sum(parse_usd(each.reserved_usd) for each in shares))
    sessions = "1 session" if len(shares) == 1 else f"{len(shares)} sessions"
    until = say_instant(max(each.expires_at for each in shares))
    note(f"{usd} USD stay set aside for {sessions} of it, until they end: {until} at the latest.")
    note(f'Give a share back: comptroller sessions end {shares[0].session} --reason "..."')


def _agree() -> None:
    if not sys.stdin.isatty():
        raise CommandError("Nothing was stopped: there is nobody to ask.", "Say --yes to stop every call of everybody.")
    if not typer.confirm("Stop every call of everybody?", err=True):
        raise CommandError("Nothing was stopped.")
