"""Tokens that the gateway issues to MCP servers: who acts, on whose behalf and for which server.

A token is a JWT access token (RFC 9068) with the server as its audience (RFC 8707) and the chain of actors in it
(RFC 8693 section 4.1), good for a few minutes. Its server can verify it by our public keys;
as a credential of this gateway it is worth nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import msgspec

from comptroller.core.identity.credential import Act, Actor, act_of
from comptroller.core.ids import spiffe_id
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.flow.caller import Caller

LIFETIME_S = 300
_RENEWED_BEFORE_S = 120  # a call that takes long still has one that is good for a while
_KEPT = 4096


class Signer(Protocol):
    """Who has the keys."""

    @property
    def trust_domain(self) -> str: ...

    def sign_for_server(self, claims: bytes) -> str:
        """A signed JWT of type `at+jwt`."""
        ...


class ServerClaims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The claims of such a token. `sub` is who began, the outermost `act` who acts now."""

    iss: str
    sub: str
    aud: str
    client_id: str  # who acts
    jti: str
    sid: str  # the session of ours that it acts in
    iat: int
    exp: int
    act: Act | None = None


class ServerTokens:
    """Issues them; one is used again while it is good for long enough."""

    def __init__(self, signer: Signer, issuer: str) -> None:
        """`issuer`: the address that callers know the gateway by."""
        self._signer = signer
        self._issuer = issuer
        self._kept = OrderedDict[tuple[str, str], tuple[int, bytes]]()

    def header(self, caller: Caller, audience: str, token_id: str, now_ns: int) -> tuple[bytes, bytes]:
        """The header that a call of this caller to this server carries."""
        key = (caller.claims.session, audience)
        known = self._kept.get(key)
        now_s = now_ns // NANOS_PER_SECOND
        if known is not None and known[0] - now_s >= _RENEWED_BEFORE_S:
            return b"authorization", known[1]
        expires_s = min(now_s + LIFETIME_S, caller.ends_at_ns // NANOS_PER_SECOND)
        value = b"Bearer " + self._issue(caller, audience, token_id, now_s, expires_s).encode()
        self._kept[key] = (expires_s, value)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return b"authorization", value

    def _issue(self, caller: Caller, audience: str, token_id: str, now_s: int, expires_s: int) -> str:
        domain = self._signer.trust_domain
        chain = [Actor(name.partition("/~")[0], name if "/~" in name else None) for name in caller.names]
        claims = ServerClaims(
            iss=self._issuer,
            sub=spiffe_id(domain, chain[-1].identity),
            aud=audience,
            client_id=spiffe_id(domain, caller.identity.id),
            jti=token_id,
            sid=caller.claims.session,
            iat=now_s,
            exp=expires_s,
            act=act_of(domain, chain) if len(chain) > 1 else None,
        )
        return self._signer.sign_for_server(msgspec.json.encode(claims))
