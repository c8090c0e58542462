"""Where a run's first session comes from: a credential that was handed to it, or a token of its workload."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from comptroller.client.credential import Issued
from comptroller.client.gateway import SESSIONS, Gateway
from comptroller.client.session import Session, Work

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
    environ: Mapping[str, str] = os.environ,
    **work: Unpack[Work],
) -> Session:
    """The session that a run begins with; it opens on entering it.

    `url`: where agents call the gateway; else COMPTROLLER_URL, else the one on this machine.
    `credential`: joins the session that it is of; else COMPTROLLER_CREDENTIAL. Leaving the block does not close that:
    it is whoever's who handed it out. `token_file`: exchanges the token in this file (docs/federation.md) for a session
    of one's own, for this work; else COMPTROLLER_TOKEN_FILE. What is given here goes before the environment.
    Raises ValueError if there is nothing to open it with. Entering raises Refused, GatewayUnreachable.
    """
    gateway = Gateway(url or environ.get(URL) or HERE)
    if credential is None and token_file is None:
        credential, token_file = environ.get(CREDENTIAL), environ.get(TOKEN_FILE)
    if credential and work:
        raise ValueError("This credential's session is open already: say what the work is with `session.child(...)`.")
    if credential:
        return Session(gateway, lambda: _join(gateway, credential), None, ours=False)
    if token_file:
        workload = _Workload(gateway, Path(token_file), work)
        return Session(gateway, workload.open, workload.renew, ours=True)
    raise ValueError(
        f"There is no credential to open a session with: set {CREDENTIAL} (`comptroller token IDENTITY` prints one) "
        f"or {TOKEN_FILE} (a token of a trusted issuer)."
    )


def _join(gateway: Gateway, credential: str) -> Issued:
    """When a credential ends (RFC 7662) and what session it is of. One that does not work is refused there."""
    ends_at_s = gateway.ask_oauth("/oauth/introspect", {"token": credential}, credential)["exp"]
    session = gateway.ask("GET", f"{SESSIONS}/self", credential)
    return Issued(credential, session["id"], session["name"], ends_at_s, ends_at_s - time.time())


class _Workload:
    """One that proves itself by the token in a file (RFC 7523), which whoever put it there renews."""

    def __init__(self, gateway: Gateway, path: Path, work: Work) -> None:
        self._gateway = gateway
        self._path = path
        self._work = work

    def open(self) -> Issued:
        return self._exchange({"work": json.dumps(self._work)})

    def renew(self, session: str) -> Issued:
        lifetime_s = self._work.get("lifetime_s")
        return self._exchange({"session": session} | ({} if lifetime_s is None else {"lifetime_s": str(lifetime_s)}))

    def _exchange(self, fields: Mapping[str, str]) -> Issued:
        proof = self._path.read_text(encoding="ascii").strip()
        said = self._gateway.ask_oauth("/oauth/token", {"grant_type": _JWT_BEARER, "assertion": proof, **fields})
        lasts_s = said["expires_in"]
        return Issued(said["access_token"], said["session"], said["identity"], time.time() + lasts_s, lasts_s)
