"""The organization's issuer as `comptroller login` meets it: discovery, the token endpoint, revocation.

Nobody stands between the command and the issuer: the gateway only says which issuer it is, and what the command is to
it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple, TypeVar
from urllib.parse import urlencode

import msgspec

from comptroller.cli.exchange import FORM
from comptroller.cli.failure import CommandError
from comptroller.cli.said import printable
from comptroller.cli.target import Target
from comptroller.cli.transport import Answer, ask_once
from comptroller.core.identity.federation import read_location

METADATA = "/.well-known/oauth-authorization-server"
_TIMEOUT_S = 20.0
_JSON = {"accept": "application/json"}
_OPENID, _OFFLINE = "openid", "offline_access"

T = TypeVar("T")


class LoginIssuer(msgspec.Struct, frozen=True):
    """Where people log in, as the gateway says it (control/metadata.py)."""

    name: str
    issuer: str
    client_id: str
    scopes: tuple[str, ...] = ()
    refresh: bool = True


class _Gateway(msgspec.Struct, frozen=True):
    comptroller_login: tuple[LoginIssuer, ...] = ()


class Provider(msgspec.Struct, frozen=True):
    """OpenID Connect Discovery 1.0 section 3, RFC 8414, RFC 8628 section 4, RFC 9207 section 3: what we read of it."""

    issuer: str
    token_endpoint: str
    authorization_endpoint: str = ""
    device_authorization_endpoint: str = ""
    revocation_endpoint: str = ""
    scopes_supported: tuple[str, ...] = ()
    code_challenge_methods_supported: tuple[str, ...] = ("S256",)
    authorization_response_iss_parameter_supported: bool = False


class Tokens(msgspec.Struct, frozen=True):
    """What the token endpoint gives (OpenID Connect Core 1.0 section 3.1.3.3). The access token is not for us."""

    id_token: str = ""
    refresh_token: str = ""


class IssuerError(msgspec.Struct, frozen=True):
    """RFC 6749 section 5.2."""

    error: str
    error_description: str = ""

    @property
    def said(self) -> str:
        return printable(self.error_description or self.error)


class IdToken(msgspec.Struct, frozen=True):
    """Claims of an ID token. Its signature is judged by the gateway; it came over TLS from whom we asked."""

    iss: str
    sub: str
    aud: str | list[str]
    nonce: str = ""
    azp: str = ""


class Client(NamedTuple):
    """The command, as an issuer knows it."""

    login: LoginIssuer
    provider: Provider

    @property
    def who(self) -> str:
        return f"The issuer {self.login.name}"

    def scope(self, *, refresh: bool) -> str:
        """What is asked for. `refresh`: that the login outlasts its first ID token, where the issuer has that."""
        offline = (_OFFLINE,) if refresh and _OFFLINE in self.provider.scopes_supported else ()
        return " ".join(dict.fromkeys((_OPENID, *self.login.scopes, *offline)))

    def post(self, endpoint: str, form: Mapping[str, str]) -> Answer:
        """A form to one of the issuer's endpoints, as this client, which has no secret."""
        sent = urlencode({"client_id": self.login.client_id, **form}).encode()
        return _ask(self.who, "POST", endpoint, FORM, sent)

    def tokens(self, form: Mapping[str, str]) -> Tokens | IssuerError:
        """What the token endpoint says to this grant."""
        answer = self.post(self.provider.token_endpoint, form)
        if answer.status == 200:
            return _read(self.who, answer, Tokens)
        return self.error(answer)

    def error(self, answer: Answer) -> IssuerError:
        """A no of the issuer. Raises CommandError for what is none."""
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            return msgspec.json.decode(answer.body, type=IssuerError)
        raise CommandError(f"{self.who} answered with status {answer.status}.", "Try again shortly.")

    def claims(self, tokens: Tokens, nonce: str = "") -> IdToken:
        """Who logged in (OpenID Connect Core 1.0 section 3.1.3.7). Raises CommandError if it is another login's."""
        found = _claims(tokens.id_token)
        if found is None:
            hint = f"Does the client {self.login.client_id} get the scope `openid`? Whoever runs the issuer knows."
            raise CommandError(f"{self.who} gave no ID token.", hint)
        audiences = [found.aud] if isinstance(found.aud, str) else found.aud
        wrong = [
            name
            for name, right in {
                "iss": found.iss == self.login.issuer,
                "aud": self.login.client_id in audiences,
                "azp": found.azp in {"", self.login.client_id},
                "nonce": not nonce or found.nonce == nonce,
            }.items()
            if not right
        ]
        if wrong:
            sentence = f"{self.who} gave an ID token that is not of this login: its `{wrong[0]}` is not ours."
            raise CommandError(sentence, "Log in again; if it stays so, whoever runs the issuer should know.")
        return found


def find_issuer(gateway: Target, name: str | None) -> LoginIssuer:
    """Where people of this gateway log in."""
    answer = ask_once(gateway, "GET", METADATA, _JSON, b"")
    if answer.status != 200:
        raise CommandError(
            f"What listens on {gateway.where} is not the data plane of a gateway (HTTP {answer.status}).",
            "Check --gateway or COMPTROLLER_URL: the address that agents call, without /v1.",
        )
    found = answer.read(_Gateway).comptroller_login
    if not found:
        raise CommandError(
            f"People cannot log in at {gateway.where}.",
            "Whoever runs it gives an issuer of the registry a `client_id` (docs/people.md).",
        )
    named = [each for each in found if name in {None, each.name}]
    if len(named) != 1:
        known = ", ".join(each.name for each in found)
        raise CommandError(
            "There is more than one issuer." if named else f"There is no issuer {name!r}.", f"Say --issuer: {known}."
        )
    return named[0]


def discover(login: LoginIssuer) -> Client:
    """The issuer's endpoints."""
    who = f"The issuer {login.name}"
    answer = _ask(who, "GET", login.issuer.rstrip("/") + "/.well-known/openid-configuration", _JSON, b"")
    if answer.status != 200:
        raise CommandError(f"{who} has no discovery document (HTTP {answer.status}).", f"Check {login.issuer}.")
    found = _read(who, answer, Provider)
    if found.issuer != login.issuer:
        raise CommandError(f"{who} describes another one, {printable(found.issuer)}.", "Check `url` in the registry.")
    return Client(login, found)


def _ask(who: str, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    at = read_location(url)
    if at is None:
        raise CommandError(f"{who} is at {printable(url)!r}, which is not https.", "Nothing was sent there.")
    target = Target(at.scheme, at.host, at.port, None, None, _TIMEOUT_S)
    return ask_once(target, method, at.path, headers, body, who)


def _read(who: str, answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CommandError(f"{who} gave an answer that is not as OpenID Connect has it: {error}.") from error


def _claims(token: str) -> IdToken | None:
    parts = token.split(".")
    with suppress(ValueError, msgspec.MsgspecError):
        content = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)) if len(parts) == 3 else b""
        return msgspec.json.decode(content, type=IdToken)
    return None
