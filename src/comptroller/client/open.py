"""Where a run's first session comes from: a credential that was handed to it, or a token of its workload."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from comptroller.client.credential import SESSIONS, Issued
from comptroller.client.gateway import Gateway
from comptroller.client.session import Session

URL = "COMPTROLLER_URL"
CREDENTIAL = "COMPTROLLER_CREDENTIAL"
TOKEN_FILE = "COMPTROLLER_TOKEN_FILE"  # noqa: S105 - the name of a variable
HERE = "http://127.0.0.1:8787"
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def open_session(
    url: str | None = None,
    *,
    credential: str | None = None,
    token_file: str | Path | None = None,
    lifetime_s: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Session:
    """The session that a run begins with; it opens on entering it.

    `url`: where agents call the gateway; else COMPTROLLER_URL, else the one on this machine.
    `credential`: joins the session that it is of; else COMPTROLLER_CREDENTIAL. Leaving the block does not close that:
    it is whoever's who handed it out. `token_file`: exchanges the token in this file (docs/federation.md) for a session
    of one's own; else COMPTROLLER_TOKEN_FILE. What is given here goes before the environment.
    `lifetime_s`: how long a session of one's own may last.
    Raises ValueError if there is neither a credential nor a file. Entering raises Refused, GatewayUnreachable.
    """
    gateway = Gateway(url or environ.get(URL) or HERE)
    if credential is None and token_file is None:
        credential, token_file = environ.get(CREDENTIAL), environ.get(TOKEN_FILE)
    if credential:
        return Session(gateway, lambda: _join(gateway, credential), lifetime_s=None, ours=False)
    if token_file:
        path = Path(token_file)
        return Session(gateway, lambda: _exchange(gateway, path, lifetime_s), lifetime_s=lifetime_s, ours=True)
    raise ValueError(
        f"There is no credential to open a session with: set {CREDENTIAL} (`comptroller token IDENTITY` prints one) "
        f"or {TOKEN_FILE} (a token of a trusted issuer)."
    )


def _join(gateway: Gateway, credential: str) -> Issued:
    """When a credential ends (RFC 7662) and what session it is of. One that does not work is refused there."""
    ends_at_s = gateway.ask_oauth("/oauth/introspect", {"token": credential}, credential)["exp"]
    session = gateway.ask("GET", f"{SESSIONS}/self", credential)
    return Issued(credential, session["id"], session["name"], ends_at_s, ends_at_s - time.time())


def _exchange(gateway: Gateway, path: Path, lifetime_s: int | None) -> Issued:
    """A session for a token (RFC 7523). The file is read anew each time: whoever put it there renews it."""
    fields = {"grant_type": _JWT_BEARER, "assertion": path.read_text(encoding="ascii").strip()}
    if lifetime_s is not None:
        fields["lifetime_s"] = str(lifetime_s)
    said = gateway.ask_oauth("/oauth/token", fields)
    lasts_s = said["expires_in"]
    return Issued(said["access_token"], said["session"], said["identity"], time.time() + lasts_s, lasts_s)
