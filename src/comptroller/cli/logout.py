"""`comptroller logout`."""

from __future__ import annotations

import typer

from comptroller.cli.failure import FAILED, CommandError
from comptroller.cli.options import Config, Gateway, chosen_config
from comptroller.cli.said import note, write


def logout(context: typer.Context, gateway: Gateway = None, config: Config = None) -> None:
    """End your login, here and at the gateway.

    Its session ends, the issuer takes its refresh token back, and the file is gone.

    \b
    Example:
      comptroller logout --gateway https://gateway.acme.example
    """
    from urllib.parse import urlencode

    from comptroller.cli.exchange import FORM
    from comptroller.cli.issuer import discover
    from comptroller.cli.logins import Logins
    from comptroller.cli.target import find_data_plane
    from comptroller.cli.transport import ask_once

    target = find_data_plane(gateway, chosen_config(context, config))
    logins = Logins(target)
    with logins.alone():
        login = logins.read()
        if login is None:
            write(f"You are not logged in at {target.where}.")
            return
        logins.forget()
    troubles: list[str] = []
    try:
        answer = ask_once(target, "POST", "/oauth/revoke", FORM, urlencode({"token": login.kept.credential}).encode())
        if answer.status != 200:
            troubles.append(f"The gateway did not end the session {login.kept.session} (HTTP {answer.status}).")
    except CommandError as error:
        troubles.append(f"The session {login.kept.session} was not ended: {error.message}")
    if login.refresh_token:
        try:
            client = discover(login.at)
            endpoint = client.provider.revocation_endpoint
            form = {"token": login.refresh_token, "token_type_hint": "refresh_token"}  # RFC 7009
            if endpoint and client.post(endpoint, form).status != 200:
                troubles.append(f"{client.who} did not take its refresh token back.")
        except CommandError as error:
            troubles.append(f"The refresh token was not taken back: {error.message}")
    write(f"You are no longer {login.kept.identity} at {target.where}.")
    for trouble in troubles:
        note(trouble)
    if troubles:
        raise typer.Exit(FAILED)
