"""What can be done about one session: open it for some work, close it, take from it, give it more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.cli.options import AsJson, Config, Reason
from comptroller.cli.said import note, read_duration, say_relative, write, write_json

if TYPE_CHECKING:
    from comptroller.cli.transport import Answer

SessionId = Annotated[str, typer.Argument(metavar="SESSION", help="Its id; `comptroller sessions` lists them.")]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--bound",
        metavar="NAME=VALUE",
        help="usd=12.50, tokens=N, thinking_tokens=N, model_calls=N, tool_calls=N, wall_clock=8h, idle=10m, depth=N or "
        "fan_out=N; repeat it.",
    ),
]
Models = Annotated[list[str] | None, typer.Option("--model", metavar="PATTERN", help="Only these models; repeat it.")]

_COUNTS = ("tokens", "thinking_tokens", "model_calls", "tool_calls", "depth", "fan_out")
_DURATIONS = ("wall_clock", "idle")


def open_(
    context: typer.Context,
    identity: Annotated[str | None, typer.Argument(metavar="[IDENTITY]", help="Left out: a child without one.")] = None,
    *,
    parent: Annotated[str | None, typer.Option(metavar="SESSION", help="Open it below this session.")] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What an ephemeral child is called.")] = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="A profile of the registry.")] = None,
    subject: Annotated[str | None, typer.Option(metavar="WHO", help="On whose behalf.")] = None,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="The end customer.")] = None,
    task: Annotated[str | None, typer.Option(metavar="TYPE[:REFERENCE]", help="What it works on.")] = None,
    workflow: Annotated[str | None, typer.Option(metavar="NAME", help="The larger flow it is part of.")] = None,
    lifetime: Annotated[str | None, typer.Option(metavar="DURATION", help="How long the credential works.")] = None,
    bound: Given = None,
    models: Models = None,
    reserve: Annotated[bool, typer.Option("--reserve", help="Set the bound in USD aside for it.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Open a session for some work, or below another session.

    Prints its credential alone on standard output. It is shown this once and kept nowhere.

    \b
    Example:
      comptroller sessions open agent/scout --task ticket:T-1042 --bound usd=3.00 --bound idle=10m
      comptroller sessions open --parent ses_01k... --name reader --bound usd=0.50 --reserve
    """
    from comptroller.control.tokens import Minted

    task_type, _, reference = (task or "").partition(":")
    said: dict[str, Any] = {
        "identity": identity,
        "parent": parent,
        "name": name,
        "profile": profile,
        "subject": subject,
        "tenant": tenant,
        "task_type": task_type or None,
        "task": reference or None,
        "workflow": workflow,
        "lifetime_s": read_duration(lifetime) if lifetime is not None else None,
        "models": models or None,
        "bounds": _bounds(bound),
        "reserve": reserve or None,
    }
    from comptroller.cli.transport import connect

    with connect(context, config) as api:
        answer = api.post("sessions", "open", sent={key: value for key, value in said.items() if value is not None})
    if as_json:
        write_json(answer.body)
        return
    minted = answer.read(Minted)
    write(minted.credential)
    note(f"session {minted.session} of {minted.identity}; the credential ends {say_relative(minted.expires_at)}")


def close(
    context: typer.Context,
    session: SessionId,
    outcome: Annotated[str, typer.Option(metavar="OUTCOME", help="succeeded, failed or abandoned.")] = "succeeded",
    reason: Annotated[str, typer.Option(metavar="WORDS", help="What came of it.")] = "done",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Close a session that is done, and all below it.

    \b
    Example:
      comptroller sessions close ses_01k... --outcome failed --reason "no answer from the shop"
    """
    from comptroller.cli.transport import connect
    from comptroller.control.sessions import SessionEnd

    if outcome not in {"succeeded", "failed", "abandoned"}:
        raise typer.BadParameter(f"{outcome!r} is not one of succeeded, failed, abandoned.", param_hint="--outcome")

    with connect(context, config) as api:
        answer = api.post("sessions", session, "close", sent={"outcome": outcome, "reason": reason})
    if as_json:
        write_json(answer.body)
        return
    done = answer.read(SessionEnd)
    if done.already_ended:
        write(f"{done.session.id} had ended before, {done.session.outcome or 'without saying how'}.")
    else:
        write(f"{done.session.id} is closed, {done.session.outcome}; ended below it: {done.ended_below}")


def narrow(
    context: typer.Context,
    session: SessionId,
    reason: Reason,
    *,
    bound: Given = None,
    models: Models = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Take something from a live session and all below it.

    \b
    Example:
      comptroller sessions narrow ses_01k... --bound usd=1.00 --model "gpt-4o-mini*" --reason "it only reads"
    """
    bounds = _bounds(bound)
    sent = {"bounds": bounds, "reason": reason} | ({"models": models} if models else {})
    from comptroller.cli.transport import connect

    with connect(context, config) as api:
        answer = api.post("sessions", session, "narrow", sent=sent)
    _say_changed(answer, as_json=as_json)


def renew(
    context: typer.Context,
    session: SessionId,
    reason: Reason,
    *,
    bound: Given = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Give a live session other bounds.

    A bound is what it may have all in all, and not what is added: at most what the session above it has.

    \b
    Example:
      comptroller sessions renew ses_01k... --bound usd=80 --bound wall_clock=12h --reason "the migration takes longer"
    """
    bounds = _bounds(bound)
    from comptroller.cli.transport import connect

    with connect(context, config) as api:
        answer = api.post("sessions", session, "renew", sent={"bounds": bounds, "reason": reason})
    _say_changed(answer, as_json=as_json)


def _say_changed(answer: Answer, *, as_json: bool) -> None:
    from comptroller.control.session_rows import SessionRow

    if as_json:
        write_json(answer.body)
        return
    row = answer.read(SessionRow)
    has = row.bounds
    said = [f"{name} {value}" for name in has.__struct_fields__ if (value := getattr(has, name)) is not None]
    write(f"{row.id} of {row.name} may have: {', '.join(said) or 'anything'}; it ends {say_relative(row.expires_at)}")


def _bounds(given: list[str] | None) -> dict[str, str | int]:
    """The bounds that were given, as the API takes them."""
    found: dict[str, str | int] = {}
    for each in given or ():
        name, _, value = each.partition("=")
        if name == "usd":
            found[name] = value
        elif name in _DURATIONS:
            found[f"{name}_s"] = read_duration(value)
        elif name in _COUNTS and value.isdecimal():
            found[name] = int(value)
        else:
            known = ", ".join(("usd", *_COUNTS, *_DURATIONS))
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE with one of {known}.", param_hint="--bound")
    return found
