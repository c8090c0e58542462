"""`comptroller login`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import AsJson, Config, Gateway, chosen_config
from comptroller.cli.said import read_duration, say_seconds, write, write_json

if TYPE_CHECKING:
    from comptroller.cli.logins import Login, Logins

OnDevice = Annotated[bool, typer.Option("--device", help="Type a code on any device. Default where no browser is.")]
ByBrowser = Annotated[bool, typer.Option("--browser", help="Use a browser on this machine.")]
AtIssuer = Annotated[
    str | None, typer.Option("--issuer", metavar="NAME", help="Where, if the gateway trusts several issuers.")
]
Lifetime = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="How long each credential works; at most 24h.",
        show_default="1h, renewed; 8h where nothing renews it",
    ),
]
NoRefresh = Annotated[bool, typer.Option("--no-refresh", help="Keep no refresh token: one credential, then log in.")]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Where the browser comes back, if the issuer wants it fixed.")
]
Print = Annotated[bool, typer.Option("--print", help="Print the credential alone; log in only if nobody is.")]


def login(
    context: typer.Context,
    *,
    device: OnDevice = False,
    browser: ByBrowser = False,
    issuer: AtIssuer = None,
    lifetime: Lifetime = None,
    no_refresh: NoRefresh = False,
    port: Port = 0,
    print_: Print = False,
    gateway: Gateway = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Log in as a person, at your organization's issuer.

    The gateway says which issuer that is; the login is between you and the issuer. What comes of it is a
    credential of your identity, kept in a file for you alone and renewed as long as the issuer agrees.
    `comptroller token` prints it, for whatever asks for an API key; `comptroller logout` ends it.

    \b
    Example:
      comptroller login --gateway https://gateway.acme.example
      export OPENAI_API_KEY=$(comptroller token)
      comptroller login --device
    """
    from comptroller.cli.logins import Logins, current
    from comptroller.cli.target import find_data_plane

    if device and browser:
        raise typer.BadParameter("Say --device or --browser, and not both.")
    lifetime_s = None if lifetime is None else read_duration(lifetime)
    logins = Logins(find_data_plane(gateway, chosen_config(context, config)))
    if print_:
        try:
            kept = current(logins)
        except CommandError:
            kept = None  # over: log in anew
        if kept is not None:
            write(kept.credential)
            return
    by_browser = True if browser else False if device else None
    done = _log_in(logins, issuer, lifetime_s, by_browser=by_browser, refresh=not no_refresh, port=port)
    if print_:
        write(done.kept.credential)
    else:
        _tell(done, as_json=as_json)


def _log_in(
    logins: Logins, name: str | None, lifetime_s: int | None, *, by_browser: bool | None, refresh: bool, port: int
) -> Login:
    from comptroller.cli.browser_login import log_in_by_browser, may_open_browser
    from comptroller.cli.device_login import Clock, log_in_on_device
    from comptroller.cli.issuer import discover, find_issuer
    from comptroller.cli.logins import open_login

    at = find_issuer(logins.gateway, name)
    client = discover(at)
    refresh = refresh and at.refresh
    scope = client.scope(refresh=refresh)
    if may_open_browser() if by_browser is None else by_browser:
        tokens = log_in_by_browser(client, scope, port)
    else:
        tokens = log_in_on_device(client, scope, Clock())
    with logins.alone():
        return open_login(logins, client, tokens, lifetime_s, keep=refresh)


def _tell(login: Login, *, as_json: bool) -> None:
    kept, left_s = login.kept, int(login.kept.ends_at_s - time.time())
    if as_json:
        import msgspec

        said = {
            "identity": kept.identity,
            "session": kept.session,
            "issuer": login.at.name,
            "subject": login.subject,
            "ends_in_s": left_s,
            "renewed": bool(login.refresh_token),
        }
        write_json(msgspec.json.encode(said))
        return
    after = "and is renewed by itself" if login.refresh_token else "then log in again"
    write(f"You are {kept.identity}. Your credential works for {say_seconds(left_s)}, {after}.")
    write("`comptroller token` prints it.")
