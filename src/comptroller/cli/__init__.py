"""The command `comptroller`. One file a verb or noun; no rule lives here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import typer

from comptroller.cli import (
    admins,
    approvals,
    break_glass,
    grants,
    identities,
    keys,
    notify,
    policy,
    requests,
    secrets,
    sessions,
    tool_pins,
)
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
from comptroller.cli.rates import rates
from comptroller.cli.reprice import reprice
from comptroller.cli.restore import restore
from comptroller.cli.resume import resume
from comptroller.cli.said import note
from comptroller.cli.sandbox import sandbox
from comptroller.cli.savings import savings
from comptroller.cli.sections import in_sections
from comptroller.cli.serve import serve
from comptroller.cli.simulate import simulate
from comptroller.cli.spend import spend
from comptroller.cli.status import status
from comptroller.cli.stops import stops
from comptroller.cli.suspend import suspend
from comptroller.cli.token import token
from comptroller.cli.tree import tree
from comptroller.cli.version import version

# By what they are for, and what is used most first: so `--help` lists them.
_SECTIONS: Mapping[str, Mapping[str, Callable[..., None] | typer.Typer]] = {
    "Begin": {"demo": demo, "serve": serve, "status": status, "doctor": doctor, "sandbox": sandbox},
    "Look": {
        "spend": spend,
        "savings": savings,
        "budgets": budgets,
        "rates": rates,
        "simulate": simulate,
        "calls": calls,
        "explain": explain,
        "findings": findings,
        "prices": prices,
        "reprice": reprice,
    },
    "Stop": {"suspend": suspend, "resume": resume, "stops": stops, "break-glass": break_glass.app},
    "Approve": {"approvals": approvals.app, "grants": grants.app, "tools": tool_pins.app},
    "Credentials and sessions": {
        "token": token,
        "login": login,
        "logout": logout,
        "sessions": sessions.app,
        "tree": tree,
        "secrets": secrets.app,
    },
    "Registry and policies": {
        "plan": plan,
        "apply": apply,
        "identities": identities.app,
        "requests": requests.app,
        "policy": policy.app,
    },
    "Put right": {"correct": correct, "bounds": bounds, "notify": notify.app},
    "Keep": {"admins": admins.app, "keys": keys.app, "backup": backup, "restore": restore, "version": version},
}

# Plain help: rich would take longer to load than all the rest, and cut long lines.
app = typer.Typer(
    cls=in_sections({section: tuple(commands) for section, commands in _SECTIONS.items()}),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


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


for _commands in _SECTIONS.values():
    for _name, _command in _commands.items():
        if isinstance(_command, typer.Typer):
            app.add_typer(_command, name=_name)
        else:
            app.command(name=_name)(_command)


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
