"""What a token of a trusted issuer proves: its claims, once signature, algorithm, issuer, audience and time hold."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from comptroller.control.issuer_keys import PublicKey
from comptroller.control.office import Office
from comptroller.core.identity.federation import TrustedIssuer, Untrusted, recorded
from comptroller.core.instant import NANOS_PER_SECOND

LONGEST_TOKEN = 16 * 1024  # characters
LEEWAY_S = 60  # how far the clocks of two machines may stand apart

_MALFORMED = Untrusted(
    "token_malformed",
    f"What was sent is no signed JWT of at most {LONGEST_TOKEN} characters.",
    "Send the token as the issuer gave it: three parts in base64url, with dots between them.",
)


class Proof(NamedTuple):
    """A token that holds."""

    issuer: TrustedIssuer
    claims: Mapping[str, object]

    @property
    def subject(self) -> str:
        """Who it is for, as the issuer calls them; printable and short enough for a record, and of nobody else."""
        return recorded(self.claims.get("sub"))


class _Header(msgspec.Struct, frozen=True):
    """RFC 7515 section 4: what we read of it. Keys and addresses of keys in a header are never looked at."""

    alg: str
    kid: str = ""
    typ: str = ""
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # section 4.1.11: nothing of it is understood


async def prove(office: Office, token: str) -> Proof | Untrusted:
    """What the token proves now; else why it proves nothing, without repeating any of it but the issuer's address."""
    said = _unverified(token)
    if said is None:
        return _MALFORMED
    header, unproved = said
    issuer = office.gate.registry.federation.issuer_of(unproved)
    if issuer is None:
        return _unknown(unproved.get("iss"))
    if header.alg not in issuer.algorithms:
        return Untrusted(
            "token_invalid",
            f"The token is not signed with {' or '.join(issuer.algorithms)}, as the registry wants of {issuer.name}.",
            "Ask the issuer for such a token, or change `algorithms` of the issuer.",
        )
    if header.crit is not msgspec.UNSET:
        hint = "Ask the issuer for a token without the header `crit`."
        return _invalid(issuer, "says that one must understand what is not understood here", hint)
    key = await office.issuer_keys.key(issuer, header.kid)
    if isinstance(key, Untrusted):
        if key.why:
            office.gate.warn("issuer_unavailable", {"issuer": issuer.name, "message": key.why})
        return key
    if office.gate.registry.federation.issuers.get(issuer.name) != issuer:  # changed while its keys were fetched
        return _unknown(unproved.get("iss"))
    return _verified(token, issuer, header, key, office.gate.clock.expiry_ns() // NANOS_PER_SECOND)


def _unverified(token: str) -> tuple[_Header, Mapping[str, object]] | None:
    """Header and claims as somebody wrote them; None if this is no JWT."""
    parts = token.split(".")
    if len(token) > LONGEST_TOKEN or len(parts) != 3 or not all(parts):
        return None
    try:
        header = msgspec.json.decode(_decoded(parts[0]), type=_Header)
        return header, msgspec.json.decode(_decoded(parts[1]), type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeError, RecursionError, binascii.Error):
        return None


def _decoded(part: str) -> bytes:
    return base64.b64decode(part.encode("ascii") + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)


def _verified(token: str, issuer: TrustedIssuer, header: _Header, key: PublicKey, now_s: int) -> Proof | Untrusted:
    registry = JWSRegistry(algorithms=[header.alg], strict_check_header=False)  # issuers have headers of their own
    try:
        found = jwt.decode(token, key, registry=registry)
        _rules(issuer, now_s).validate(found.claims)
    except ExpiredTokenError:
        return _invalid(issuer, "has expired", "Get a fresh token and exchange it at once.")
    except (JoseError, ValueError) as error:
        hint = "Ask the issuer for a token with what the registry says of it."
        if getattr(error, "claim", None) == "aud":  # whoever asks has a token that the issuer has signed
            hint = f"Ask the issuer for a token with the audience {issuer.audiences[0]!r}."
        return _invalid(issuer, _reason(error), hint)
    if not issuer.takes(header.typ, found.claims):
        hint = "Send the ID token of the login, or a token with the audience that the registry says of the issuer."
        return _invalid(issuer, "is of a kind that says nothing of who sends it, or is another client's", hint)
    return Proof(issuer, found.claims)


def _rules(issuer: TrustedIssuer, now_s: int) -> JWTClaimsRegistry:
    expected: dict[str, Any] = {
        "aud": {"essential": True, "values": list(issuer.audiences)},
        "exp": {"essential": True},
        "sub": {"essential": True},
    }
    if (
        issuer.kind != "spiffe"
    ):  # there `iss` means nothing: the trust domain of `sub` chose the keys (JWT-SVID section 3)
        expected["iss"] = {"essential": True, "value": issuer.url}
    return JWTClaimsRegistry(now=now_s, leeway=LEEWAY_S, **expected)


def _reason(error: Exception) -> str:
    claim = getattr(error, "claim", None)
    if claim in {"nbf", "iat"}:
        return "begins in the future"
    if claim == "aud":
        return "is for another audience (`aud`)"
    if isinstance(claim, str):
        return f"does not have the claim `{claim}` that it must have"
    return "was not signed by it, or it was changed or cut on its way"


def _invalid(issuer: TrustedIssuer, why: str, hint: str) -> Untrusted:
    return Untrusted("token_invalid", f"The token of {issuer.name} {why}.", hint)


def _unknown(url: object) -> Untrusted:
    shown = f" {url[:200]!r}" if isinstance(url, str) and url.isprintable() else ""
    return Untrusted(
        "issuer_unknown",
        f"The registry trusts no issuer{shown}.",
        "Name it under [issuers] in the registry, its `url` exactly as `iss` has it, and run `comptroller apply`.",
    )
