"""The command `comptroller`. One file a verb or noun; no rule lives here."""

from __future__ import annotations

import sys

import typer

from comptroller.cli import admins, break_glass, identities, keys, policy, requests, secrets, sessions
from comptroller.cli.apply import apply
from comptroller.cli.backup import backup
from comptroller.cli.bounds import bounds
from comptroller.cli.budgets import budgets
from comptroller.cli.calls import calls
from comptroller.cli.correct import correct
from comptroller.cli.demo import demo
from comptroller.cli.doctor import doctor
from comptroller.cli.explain import explain
from comptroller.cli.failure import FAILED, CommandError
from comptroller.cli.findings import findings
from comptroller.cli.login import login
from comptroller.cli.logout import logout
from comptroller.cli.options import Config
from comptroller.cli.plan import plan
from comptroller.cli.prices import prices
from comptroller.cli.reprice import reprice
from comptroller.cli.restore import restore
from comptroller.cli.resume import resume
from comptroller.cli.said import note
from comptroller.cli.sandbox import sandbox
from comptroller.cli.serve import serve
from comptroller.cli.spend import spend
from comptroller.cli.status import status
from comptroller.cli.stops import stops
from comptroller.cli.suspend import suspend
from comptroller.cli.token import token
from comptroller.cli.tree import tree
from comptroller.cli.version import version

# Plain help: rich would take longer to load than all the rest, and cut long lines.
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.callback()
def comptroller(context: typer.Context, config: Config = None) -> None:
    """Comptroller: an identity-bound spend gateway for AI.

    Exit codes: 0 done; 1 an error, or refused; 2 `plan` found a difference, or the command was not
    understood. A running gateway is asked over its admin plane; where none runs, the command opens the
    store itself.

    \b
    Example:
      comptroller demo
      comptroller budgets --config .comptroller/comptroller.toml
    """
    context.obj = config


for _section, _commands in {
    "Run": (demo, serve, sandbox),
    "Registry": (plan, apply),
    "Sessions": (login, logout, token, tree),
    "Stop": (suspend, resume, stops),
    "Spend": (spend, budgets, calls, explain, correct, bounds, findings, prices, reprice),
    "Process": (status, doctor, backup, restore, version),
}.items():
    for _command in _commands:
        app.command(rich_help_panel=_section)(_command)
app.add_typer(identities.app, name="identities")
app.add_typer(requests.app, name="requests")
app.add_typer(sessions.app, name="sessions")
app.add_typer(secrets.app, name="secrets")
app.add_typer(keys.app, name="keys")
app.add_typer(admins.app, name="admins")
app.add_typer(break_glass.app, name="break-glass")
app.add_typer(policy.app, name="policy")


def run() -> int:
    """Run the command that the arguments name; returns the exit code."""
    try:
        app(prog_name="comptroller", standalone_mode=True)
    except CommandError as error:
        sys.stdout.flush()
        for line in error.lines:
            note(line)
        return FAILED
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else FAILED
    return 0
