"""What a login leaves on this machine: one file for each gateway, and going on with it while the issuer agrees.

The session credential and, where it is kept, the issuer's refresh token. Several helpers may ask at once, and an issuer
takes a refresh token that comes twice for a stolen one: so one of them renews while the others wait.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import msgspec

from comptroller.cli.credential_cache import Kept
from comptroller.cli.exchange import Wanted, exchange_token
from comptroller.cli.failure import CommandError
from comptroller.cli.issuer import Client, IssuerError, LoginIssuer, Tokens, discover
from comptroller.cli.private_file import read_private, write_private
from comptroller.cli.said import note, say_seconds
from comptroller.cli.target import Target
from comptroller.cli.transport import UnansweredError

AGAIN = "Log in again: comptroller login."
_ALONE_S = 8 * 3600  # of a credential that nothing renews: a working day


class Login(msgspec.Struct, frozen=True):
    """Who is logged in, and what they have."""

    at: LoginIssuer
    subject: str
    kept: Kept
    lifetime_s: int | None = None
    refresh_token: str = ""


class Logins:
    """The login at one gateway."""

    def __init__(self, gateway: Target, environ: Mapping[str, str] = os.environ) -> None:
        base = environ.get("XDG_STATE_HOME") or ""
        folder = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "state"
        name = sha256(gateway.where.encode()).hexdigest()
        self.gateway = gateway
        self._path = folder / "comptroller" / "logins" / f"{name}.json"

    def read(self) -> Login | None:
        return read_private(self._path, Login)

    def write(self, login: Login) -> None:
        try:
            write_private(self._path, login)
        except OSError as error:
            sentence = f"The login cannot be kept in {self._path.parent}: {error.strerror}."
            raise CommandError(sentence, "Give that folder to yourself, or set XDG_STATE_HOME to another.") from error

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Generator[None]:
        """While nobody else changes it."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            sentence = f"The folder of logins cannot be used: {self._path.parent}: {error.strerror}."
            raise CommandError(sentence, "Give that folder to yourself, or set XDG_STATE_HOME to another.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def open_login(logins: Logins, client: Client, tokens: Tokens, lifetime_s: int | None, *, keep: bool) -> Login:
    """Exchange a person's ID token at the gateway, and keep what came of it. The session that there was goes on."""
    claims = client.claims(tokens)
    before = logins.read()
    refresh_token = tokens.refresh_token if keep else ""
    asked_s = _ALONE_S if lifetime_s is None and not refresh_token else lifetime_s
    same = before is not None and (before.at.issuer, before.subject) == (claims.iss, claims.sub)
    session = before.kept.session if before is not None and same else None
    now_s = time.time()
    found = exchange_token(logins.gateway, tokens.id_token, Wanted(None, asked_s), session)
    kept = Kept(found.access_token, found.identity, found.session, now_s, now_s + found.expires_in)
    login = Login(client.login, claims.sub, kept, lifetime_s, refresh_token)
    logins.write(login)
    return login


def current(logins: Logins, *, fresh: bool = False) -> Kept | None:
    """The credential of whoever is logged in, renewed when that is due. None: nobody is. `fresh`: renew it now."""
    login = logins.read()
    if login is None or (login.kept.fresh and not fresh):
        return None if login is None else login.kept
    with logins.alone():
        login = logins.read()
        if login is None or (login.kept.fresh and not fresh):
            return None if login is None else login.kept
        if not login.refresh_token:
            raise CommandError(f"The login of {login.kept.identity} is over.", AGAIN)
        try:
            return _renew(logins, login).kept
        except UnansweredError as error:
            left_s = int(login.kept.ends_at_s - time.time())
            if left_s <= 0 or fresh:
                raise
            note(f"{error.message} What there is works for {say_seconds(left_s)} more.")
            return login.kept


def _renew(logins: Logins, login: Login) -> Login:
    """RFC 6749 section 6, OpenID Connect Core 1.0 section 12."""
    client = discover(login.at)
    said = client.tokens({"grant_type": "refresh_token", "refresh_token": login.refresh_token})
    if isinstance(said, IssuerError):
        if said.error != "invalid_grant":
            raise CommandError(f"{client.who} does not renew the login: {said.said}.", AGAIN)
        logins.write(msgspec.structs.replace(login, refresh_token=""))
        raise CommandError(f"{client.who} says that the login of {login.kept.identity} is over: {said.said}.", AGAIN)
    # A new refresh token replaces the old one at once: the issuer may already have taken that back.
    tokens = msgspec.structs.replace(said, refresh_token=said.refresh_token or login.refresh_token)
    login = msgspec.structs.replace(login, refresh_token=tokens.refresh_token)
    logins.write(login)
    if client.claims(tokens).sub != login.subject:
        raise CommandError(f"{client.who} renewed the login of somebody else.", AGAIN)
    return open_login(logins, client, tokens, login.lifetime_s, keep=True)
