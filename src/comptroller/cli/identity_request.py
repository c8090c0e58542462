"""`comptroller identities request`: asking for an identity, with what one proves who one is with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import AsJson, Config, chosen_config
from comptroller.cli.said import note, say_instant, write, write_json

if TYPE_CHECKING:
    from comptroller.cli.target import Target
    from comptroller.cli.transport import Answer

PATH = "/comptroller/v1/identity-requests"

Owner = Annotated[str, typer.Option(metavar="OWNER", help="Who is to answer for it, as the registry calls them.")]
Purpose = Annotated[str, typer.Option(metavar="TEXT", help="What it is for; an approver reads it.")]
OfEnvironment = Annotated[str, typer.Option(metavar="WORD", help="production, testing or experimentation.")]
Name = Annotated[str | None, typer.Option(metavar="ID", help="What it should be called: agent/scout.")]
Kind = Annotated[
    str | None,
    typer.Option(metavar="WORD", help="agent, service, human or tool.", show_default="human by a login, else agent"),
]
Status = Annotated[bool, typer.Option("--status", help="Ask nothing: say what became of the last request.")]
TokenFile = Annotated[Path | None, typer.Option(metavar="PATH", help="Prove yourself by the token in this file.")]
TokenEnv = Annotated[str | None, typer.Option(metavar="NAME", help="Prove yourself by the token in this variable.")]
AtIssuer = Annotated[
    str | None, typer.Option("--issuer", metavar="NAME", help="Where to log in, if there are several.")
]
Device = Annotated[bool, typer.Option("--device", help="Log in by a code that is typed on any device.")]
Browser = Annotated[bool, typer.Option("--browser", help="Log in by a browser on this machine.")]
Gateway = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where agents call the gateway.",
        show_default="$COMPTROLLER_URL, $COMPTROLLER_ADDR, or the gateway beside",
    ),
]


def request(
    context: typer.Context,
    *,
    owner: Owner = "",
    purpose: Purpose = "",
    environment: OfEnvironment = "",
    name: Name = None,
    kind: Kind = None,
    status: Status = False,
    token_file: TokenFile = None,
    token_env: TokenEnv = None,
    issuer: AtIssuer = None,
    device: Device = False,
    browser: Browser = False,
    gateway: Gateway = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Ask for an identity of your own.

    For those who have a trusted issuer and are nobody in the registry. You prove who you are as for
    `comptroller token`: by a token in a file or a variable, or else by your login, at the organization's
    issuer. An approver decides (`comptroller requests`). From then on that token or login opens sessions of
    your identity. The same request twice is one.

    \b
    Example:
      comptroller identities request --owner lead@acme.example --purpose "answers tickets" --environment testing
      comptroller identities request --status --token-file /var/run/secrets/tokens/comptroller
    """
    from comptroller.cli.exchange import Source
    from comptroller.cli.target import find_data_plane
    from comptroller.core.identity.identity import Environment, IdentityKind

    source = Source(token_file, token_env)
    if source.named > 1:
        raise typer.BadParameter("Name one place where the token is, and no second one.")
    if device and browser:
        raise typer.BadParameter("Say --device or --browser, and not both.")
    _check_word("--environment", environment, get_args(Environment))
    _check_word("--kind", kind, get_args(IdentityKind))
    if not status and not (owner and purpose and environment):
        raise typer.BadParameter("A request needs --owner, --purpose and --environment; --status asks nothing.")
    target = find_data_plane(gateway, chosen_config(context, config))
    proof = (
        source.read(target.timeout_s) if source.named else _logged_in(target, issuer, device=device, browser=browser)
    )
    if status:
        answer = _ask(target, "GET", f"{PATH}/self", proof)
    else:
        sent = {"owner": owner, "purpose": purpose, "environment": environment}
        sent |= {"kind": kind or ("agent" if source.named else "human"), **({} if name is None else {"name": name})}
        answer = _ask(target, "POST", PATH, proof, sent)
    _say(answer, as_json=as_json)


def _check_word(option: str, word: str | None, known: tuple[str, ...]) -> None:
    if word and word not in known:
        raise typer.BadParameter(f"{word!r} is not one of {', '.join(known)}.", param_hint=option)


def _logged_in(target: Target, issuer: str | None, *, device: bool, browser: bool) -> str:
    """The credential of a login that opened a sandbox; else an ID token of a login that is made for this alone."""
    from comptroller.cli.browser_login import log_in_by_browser, may_open_browser
    from comptroller.cli.device_login import Clock, log_in_on_device
    from comptroller.cli.issuer import discover, find_issuer
    from comptroller.cli.logins import Logins

    login = Logins(target).read()
    if login is not None and login.kept.fresh:
        return login.kept.credential
    client = discover(find_issuer(target, issuer))
    scope = client.scope(refresh=False)
    by_browser = browser or (may_open_browser() and not device)
    tokens = log_in_by_browser(client, scope, 0) if by_browser else log_in_on_device(client, scope, Clock())
    client.claims(tokens)  # it is an answer to this login
    return tokens.id_token


def _ask(target: Target, method: str, path: str, proof: str, sent: object = None) -> Answer:
    import msgspec

    from comptroller.cli.transport import ask_once

    headers = {"authorization": f"Bearer {proof}", "accept": "application/json"}
    if sent is not None:
        headers["content-type"] = "application/json"
    answer = ask_once(target, method, path, headers, b"" if sent is None else msgspec.json.encode(sent))
    if answer.status not in {200, 201}:
        raise _refusal(target, answer)
    return answer


def _refusal(target: Target, answer: Answer) -> CommandError:
    import msgspec

    from comptroller.control.problem import ProblemBody

    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        said = msgspec.json.decode(answer.body, type=ProblemBody)
        return CommandError(said.detail, said.hint, said.errors)
    return CommandError(
        f"What listens on {target.where} is not the data plane of a gateway (HTTP {answer.status}).",
        "Check --gateway or COMPTROLLER_URL: the address that agents call, without /v1.",
    )


def _say(answer: Answer, *, as_json: bool) -> None:
    from comptroller.control.identity_requests import RequestRow

    if as_json:
        write_json(answer.body)
        return
    row = answer.read(RequestRow)
    if row.state == "open":
        write(f"{row.id} of {row.issuer}:{row.subject} waits for an approver.")
        note(f"An approver: comptroller requests approve {row.id} --name {row.name or 'KIND/NAME'} --reason ...")
        return
    decided = f"{row.id} was {row.state} by {row.decided_by} at {say_instant(row.decided_at)}: {row.decided_reason}"
    write(decided)
    if row.identity is not None:
        note(f"You are {row.identity}: `comptroller token --fresh`, or `comptroller login`, gets its credential.")
