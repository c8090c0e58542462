"""What the gateway says of itself as an authorization server (RFC 8414), and its public keys."""

from __future__ import annotations

import msgspec

from comptroller.control.caller_route import Asked, json_answer
from comptroller.control.exchange import ACCEPTED
from comptroller.control.office import Office
from comptroller.flow.door import Answered

SERVER_PATH = "/.well-known/oauth-authorization-server"
KEYS_PATH = "/.well-known/jwks.json"
_KEPT = b"public, max-age=60"  # a key that leaked is believed no longer than this by those who keep the set


class LoginIssuer(msgspec.Struct, frozen=True):
    """An issuer that people log in at, and what `comptroller login` is to it. None of it is secret."""

    name: str
    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    refresh: bool


class ServerMetadata(msgspec.Struct, frozen=True):
    """RFC 8414 section 2."""

    issuer: str
    token_endpoint: str
    introspection_endpoint: str
    revocation_endpoint: str
    jwks_uri: str
    comptroller_login: tuple[LoginIssuer, ...]  # ours
    response_types_supported: tuple[str, ...] = ()  # mandatory, and we have no authorization endpoint
    grant_types_supported: tuple[str, ...] = tuple(dict.fromkeys(each.grant for each in ACCEPTED))
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("none", "client_secret_post", "client_secret_basic")
    introspection_endpoint_auth_methods_supported: tuple[str, ...] = ("Bearer",)
    revocation_endpoint_auth_methods_supported: tuple[str, ...] = ("none",)


async def describe_server(office: Office, asked: Asked) -> Answered:
    """Where everything is, under the address that callers know the gateway by (`public_url`)."""
    del asked
    url = office.process.url
    return json_answer(
        ServerMetadata(
            issuer=url,
            token_endpoint=f"{url}/oauth/token",
            introspection_endpoint=f"{url}/oauth/introspect",
            revocation_endpoint=f"{url}/oauth/revoke",
            jwks_uri=url + KEYS_PATH,
            comptroller_login=_logins(office),
        ),
        kept=_KEPT,
    )


def _logins(office: Office) -> tuple[LoginIssuer, ...]:
    return tuple(
        LoginIssuer(each.name, each.url, each.client_id, each.login_scopes, each.login_refresh)
        for each in office.gate.registry.federation.issuers.values()
        if each.client_id is not None
    )


async def show_keys(office: Office, asked: Asked) -> Answered:
    """The public keys (RFC 7517), the one that signs last."""
    del asked
    return json_answer({"keys": office.issuer.public_keys}, kept=_KEPT)
