"""`comptroller token`."""

from __future__ import annotations

import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from comptroller.cli.failure import CommandError
from comptroller.cli.options import AsJson, Config, Gateway, chosen_config
from comptroller.cli.said import note, read_duration, say_relative, say_seconds, write, write_json

if TYPE_CHECKING:
    from comptroller.cli.credential_cache import Kept
    from comptroller.cli.exchange import Source

Identity = Annotated[
    str | None, typer.Argument(metavar="[IDENTITY]", help="Such as agent/scout; `comptroller identities`.")
]
Lifetime = Annotated[
    str | None,
    typer.Option(metavar="DURATION", help="How long it works: 30m, 8h; at most 24h.", show_default="8h; exchanged: 1h"),
]
TokenFile = Annotated[Path | None, typer.Option(metavar="PATH", help="Exchange the token in this file.")]
TokenEnv = Annotated[str | None, typer.Option(metavar="NAME", help="Exchange the token in this variable.")]
GithubAudience = Annotated[
    str | None, typer.Option(metavar="AUDIENCE", help="Exchange an ID token of the GitHub workflow that this runs in.")
]
SecretFile = Annotated[Path | None, typer.Option(metavar="PATH", help="Exchange the bootstrap secret in this file.")]
SecretEnv = Annotated[str | None, typer.Option(metavar="NAME", help="Exchange the bootstrap secret in this variable.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do not take one that was kept.")]


def token(
    context: typer.Context,
    identity: Identity = None,
    *,
    lifetime: Lifetime = None,
    token_file: TokenFile = None,
    token_env: TokenEnv = None,
    github_audience: GithubAudience = None,
    secret_file: SecretFile = None,
    secret_env: SecretEnv = None,
    gateway: Gateway = None,
    fresh: Fresh = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Get a credential for an identity.

    Prints it alone on standard output. It is used as an ordinary API key by any SDK. An operator mints one
    for any identity. A workload exchanges a token or secret of its own, from anywhere; that credential is
    kept (in ~/.cache, mode 0600) and printed again for the same token until shortly before it ends, so the
    command can be what an agent asks for its API key. Without any of these it is the credential of your own login
    (`comptroller login`), renewed when that is due.

    \b
    Example:
      export OPENAI_API_KEY=$(comptroller token agent/scout --lifetime 8h)
      comptroller token --token-file /var/run/secrets/tokens/comptroller --gateway https://gateway.acme.example
      comptroller token --github-audience https://gateway.acme.example
      comptroller token agent/scout --secret-file scout.secret --gateway https://gateway.acme.example
      comptroller token
    """
    from comptroller.cli.exchange import Source

    source = Source(token_file, token_env, github_audience, secret_file, secret_env)
    if source.named > 1:
        raise typer.BadParameter("Name one place where the token or secret is, and no second one.")
    lifetime_s = read_duration(lifetime) if lifetime is not None else None
    chosen = chosen_config(context, config)
    if source.named:
        kept = _exchanged(source, identity, lifetime_s, gateway, chosen, fresh=fresh)
        _say(kept, as_json=as_json)
        return
    if identity is None:
        kept = _logged_in(gateway, chosen, lifetime, fresh=fresh)
        _say(kept, as_json=as_json)
        return
    if gateway is not None or fresh:
        raise typer.BadParameter(
            "--gateway and --fresh are for an exchange or a login: name a token or a secret, or no identity."
        )
    _mint(context, identity, lifetime_s, as_json=as_json, config=config)


def _say(kept: Kept, *, as_json: bool) -> None:
    if not as_json:
        write(kept.credential)
        return
    import msgspec

    said = {
        "credential": kept.credential,
        "identity": kept.identity,
        "session": kept.session,
        "ends_in_s": int(kept.ends_at_s - time.time()),
    }
    write_json(msgspec.json.encode(said))


def _logged_in(gateway: str | None, config: Path | None, lifetime: str | None, *, fresh: bool) -> Kept:
    """The credential of whoever is logged in (`comptroller login`)."""
    from comptroller.cli.logins import Logins, current
    from comptroller.cli.target import find_data_plane

    if lifetime is not None:
        raise typer.BadParameter("For whom? Without an identity it is your login's, which has its own --lifetime.")
    kept = current(Logins(find_data_plane(gateway, config)), fresh=fresh)
    if kept is None:
        raise typer.BadParameter(
            "For whom? Name an identity, or where a token of it is (--token-file, ...), or run `comptroller login`."
        )
    return kept


def _mint(context: typer.Context, identity: str, lifetime_s: int | None, *, as_json: bool, config: Path | None) -> None:
    from comptroller.cli.transport import connect
    from comptroller.control.tokens import Minted

    with connect(context, config) as api:
        answer = api.post("sessions", sent={"identity": identity, "lifetime_s": lifetime_s})
    if as_json:
        write_json(answer.body)
        return
    minted = answer.read(Minted)
    write(minted.credential)
    note(f"session {minted.session} of {minted.identity}, ends {say_relative(minted.expires_at)}")


def _exchanged(
    source: Source,
    identity: str | None,
    lifetime_s: int | None,
    gateway: str | None,
    config: Path | None,
    *,
    fresh: bool,
) -> Kept:
    """A credential for what the workload has: the one that was kept, or a new one."""
    from comptroller.cli.credential_cache import CredentialCache, Kept
    from comptroller.cli.exchange import Wanted, exchange
    from comptroller.cli.target import find_data_plane

    if source.secret and identity is None:
        raise CommandError("A secret is of one identity.", "Name it: comptroller token IDENTITY --secret-file PATH.")
    if source.secret_file is not None:
        _warn_if_open(source.secret_file)
    target, cache, wanted = find_data_plane(gateway, config), CredentialCache(), Wanted(identity, lifetime_s)
    about = (target.where, *source.whose(), identity or "", str(lifetime_s))
    before, proof = None if fresh else cache.get(*about), source.digest()
    if before is not None and before.fresh and before.proof == proof:
        return before
    now_s = time.time()
    # The session that there was goes on: an hour that is over is no reason to begin its bounds anew.
    found = exchange(target, source, wanted, None if before is None else before.session)
    kept = Kept(found.access_token, found.identity, found.session, now_s, now_s + found.expires_in, proof)
    cache.keep(kept, *about)
    note(f"session {kept.session} of {kept.identity}, ends in {say_seconds(found.expires_in)}")
    return kept


def _warn_if_open(path: Path) -> None:
    """A secret opens sessions for whoever can read it."""
    with suppress(OSError):  # who reads it next says what is wrong
        if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            note(f"Others on this machine can read {path}: chmod 600 {path}.")
