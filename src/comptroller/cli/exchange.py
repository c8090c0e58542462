"""What a workload proves who it is with, and exchanging that for a session credential at the gateway's /oauth/token."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import msgspec

from comptroller.cli.failure import CommandError
from comptroller.cli.said import note
from comptroller.cli.target import Target, split_address
from comptroller.cli.transport import Answer, ask_once

REQUEST_URL, REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_LONGEST_BYTES = 64 * 1024
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}


class Exchanged(msgspec.Struct, frozen=True):
    """What the gateway gave (control/exchange.py)."""

    access_token: str
    expires_in: int
    identity: str
    session: str
    note: str = ""  # what whoever asked should know


class _Error(msgspec.Struct, frozen=True):
    error: str
    error_description: str = ""
    hint: str = ""


class _Claims(msgspec.Struct, frozen=True):
    """Of a token, unproved: only to tell kept credentials apart."""

    iss: str = ""
    sub: str = ""


class _IdToken(msgspec.Struct, frozen=True):
    value: str


class Source(NamedTuple):
    """Where the proof is: a file, a variable, or GitHub's own service. Exactly one is named."""

    token_file: Path | None = None
    token_env: str | None = None
    github_audience: str | None = None
    secret_file: Path | None = None
    secret_env: str | None = None

    @property
    def named(self) -> int:
        """How many are named."""
        return sum(each is not None for each in self)

    @property
    def secret(self) -> bool:
        return self.secret_file is not None or self.secret_env is not None

    def digest(self, environ: Mapping[str, str] = os.environ) -> str:
        """Of the token or secret that is there now: another has to prove itself. "" of GitHub's, made when asked."""
        return "" if self.github_audience is not None else sha256(self.read(0, environ).encode()).hexdigest()

    def whose(self, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
        """What a kept credential is told apart by: whom the proof is for, since another may stand there next time."""
        if self.github_audience is not None:
            return ("github", self.github_audience, environ.get(REQUEST_URL, ""))
        proof = self.read(0, environ)
        parts = proof.split(".")
        with suppress(ValueError, msgspec.MsgspecError):
            claims = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)) if len(parts) == 3 else b""
            said = msgspec.json.decode(claims, type=_Claims)
            return ("token", said.iss, said.sub)
        return ("proof", proof)

    def read(self, timeout_s: float, environ: Mapping[str, str] = os.environ) -> str:
        """The token or secret. Nothing of it stands in an error."""
        if self.github_audience is not None:
            return _github_token(self.github_audience, timeout_s, environ)
        path, name = self.token_file or self.secret_file, self.token_env or self.secret_env
        if path is not None:
            return _read_file(path)
        text = environ.get(name or "", "").strip()
        if not text:
            raise CommandError(f"The variable {name} is empty or not set.", "It holds the token or secret itself.")
        return text


class Wanted(NamedTuple):
    """What is asked for. `identity`: whose, of a secret; what it must be, of a token."""

    identity: str | None
    lifetime_s: int | None


def exchange(gateway: Target, source: Source, wanted: Wanted, session: str | None = None) -> Exchanged:
    """A session credential for what the source holds. `session`: for that one, if it still goes on; else a new one."""
    proof = source.read(gateway.timeout_s)
    if source.secret:
        form = {"grant_type": "client_credentials", "client_id": wanted.identity or "", "client_secret": proof}
        return _exchange(gateway, form, wanted, session)
    return exchange_token(gateway, proof, wanted, session)


def exchange_token(gateway: Target, token: str, wanted: Wanted, session: str | None = None) -> Exchanged:
    """A session credential for a token of a trusted issuer."""
    return _exchange(gateway, {"grant_type": _JWT_BEARER, "assertion": token}, wanted, session)


def _exchange(gateway: Target, grant: Mapping[str, str], wanted: Wanted, session: str | None) -> Exchanged:
    identity, lifetime_s = wanted
    form = dict(grant)
    if lifetime_s is not None:
        form["lifetime_s"] = str(lifetime_s)
    if session is not None:
        form["session"] = session
    answer = ask_once(gateway, "POST", "/oauth/token", FORM, urlencode(form).encode())
    if answer.status != 200:
        error, text = _refusal(gateway, answer)
        if session is not None and error == "invalid_grant":
            return _exchange(gateway, grant, wanted, None)
        raise text
    found = answer.read(Exchanged)
    if found.note:
        note(found.note)
    if identity is not None and found.identity != identity:
        raise CommandError(
            f"The token stands for {found.identity}, and not for {identity}.",
            "Leave the identity out, or change `federated` in the registry.",
        )
    return found


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_BYTES + 1)
        text = content.decode("ascii").strip()
    except OSError as error:
        raise CommandError(
            f"{path} cannot be read: {error.strerror}.", "It holds the token or secret itself."
        ) from error
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > _LONGEST_BYTES:
        raise CommandError(f"{path} holds neither a token nor a secret.", "It holds the token or secret itself.")
    return text


def _github_token(audience: str, timeout_s: float, environ: Mapping[str, str]) -> str:
    """An ID token of the workflow that this runs in."""
    url, credential = environ.get(REQUEST_URL, ""), environ.get(REQUEST_TOKEN, "")
    if not url or not credential:
        raise CommandError(
            f"{REQUEST_URL} and {REQUEST_TOKEN} are not set.",
            "Does this run in a workflow with `permissions: id-token: write`?",
        )
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode({"audience": audience}))))
    target = Target(*split_address(REQUEST_URL, f"{parts.scheme}://{parts.netloc}"), credential, None, timeout_s)
    answer = ask_once(target, "GET", f"{parts.path or '/'}?{query}", {"accept": "application/json"}, b"")
    if answer.status != 200:
        raise CommandError(f"GitHub gave no ID token (HTTP {answer.status}).", "Check `permissions: id-token: write`.")
    return answer.read(_IdToken).value


def _refusal(gateway: Target, answer: Answer) -> tuple[str, CommandError]:
    """The gateway's no: its word for it, and what the command says."""
    with suppress(msgspec.MsgspecError, UnicodeDecodeError):
        said = msgspec.json.decode(answer.body, type=_Error)
        return said.error, CommandError(said.error_description or said.error, said.hint)
    return "", CommandError(
        f"What listens on {gateway.where} is not the data plane of a gateway (HTTP {answer.status}).",
        "Check --gateway or COMPTROLLER_URL: the address that agents call, without /v1.",
    )
