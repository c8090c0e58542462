"""`comptroller token`."""

from __future__ import annotations

from typing import Annotated

import typer

from comptroller.cli.options import AsJson, Config
from comptroller.cli.said import note, read_duration, say_relative, write, write_json

Identity = Annotated[str, typer.Argument(metavar="IDENTITY", help="Such as agent/scout; `comptroller identities`.")]
Lifetime = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="How long it works: 30m, 8h; at most 24h.", show_default="8h"),
]


def token(
    context: typer.Context,
    identity: Identity,
    lifetime: Lifetime = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Mint a credential for an identity.

    Prints it alone on standard output. It is used as an ordinary API key by any SDK. It is shown this once
    and kept nowhere.

    \b
    Example:
      export OPENAI_API_KEY=$(comptroller token agent/scout --lifetime 8h)
    """
    from comptroller.cli.transport import connect
    from comptroller.control.tokens import Minted

    lifetime_s = read_duration(lifetime) if lifetime is not None else None
    with connect(context, config) as api:
        answer = api.post("sessions", sent={"identity": identity, "lifetime_s": lifetime_s})
    if as_json:
        write_json(answer.body)
        return
    minted = answer.read(Minted)
    write(minted.credential)
    note(f"session {minted.session} of {minted.identity}, ends {say_relative(minted.expires_at)}")
