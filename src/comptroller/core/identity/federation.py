"""Whose tokens are believed, and which identity a token of theirs stands for.

A rule says: who has a token of this issuer with exactly these claims is this identity. There are no patterns. A rule
that names the subject is about one principal, and goes before rules about whoever has some other claim. A token that
then fits rules of no identity, or of two, stands for nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from ipaddress import ip_address
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

IssuerKind = Literal["oidc", "kubernetes", "github", "spiffe"]
Unregistered = Literal["refuse", "request", "sandbox"]
"""What a genuine token gets that stands for no identity: nothing, a way to ask for one, or a sandbox until then."""
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Of a signature that a public key verifies: no `none`, and no HMAC, whose key would be that public key."""

SPIFFE = "spiffe://"
DISCOVERY = "discovery"
_ACCESS_TOKEN = "at+jwt"  # noqa: S105 - RFC 9068 section 2.1
_KINDS_OF_TOKEN = frozenset({"", "jwt", "jose", _ACCESS_TOKEN})
FILE = "file:"
_LONGEST_PRINTED = 200  # characters
_DIGESTED = re.compile("~[0-9a-f]{32}$")

UNTRUSTED: Mapping[str, str] = {
    "token_malformed": "what was sent is no signed JWT, or is too long",
    "issuer_unknown": "no issuer of the registry has signed it",
    "issuer_unavailable": "the issuer's keys cannot be had now",
    "token_invalid": "its signature, algorithm, audience or time is not what the registry asks for",
    "identity_unmatched": "it is genuine, and stands for no identity",
    "identity_request_needed": "the same, and its issuer's subjects may ask for an identity",
    "identity_request_pending": "the same, and an identity was asked for that nobody has decided about yet",
    "identity_request_denied": "the same, and the identity that was asked for was denied",
    "identity_ambiguous": "it is genuine, and stands for more than one identity",
}
"""Why a token of an issuer opens no session: every code, with what it means."""


class Untrusted(msgspec.Struct, frozen=True):
    """One such no, without any of the token in it. `retry_after_s`: waiting may mend it.

    `why` is for whoever runs the gateway, and is not said to whoever asks.
    """

    code: str
    sentence: str
    hint: str
    retry_after_s: int | None = None
    why: str = ""


class TrustedIssuer(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever signs tokens that the organization believes."""

    name: str
    kind: IssuerKind
    url: str  # exactly as `iss` has it; of kind spiffe, the trust domain as spiffe://NAME
    audience: str  # of tokens that are for the gateway itself
    algorithms: tuple[Algorithm, ...]
    keys: str  # DISCOVERY, the URL of a JWK set, or FILE and the path of one
    private_network: bool = False
    client_id: str | None = None  # what `comptroller login` is to it; None: people do not log in there
    login_scopes: tuple[str, ...] = ()  # asked for beside `openid`
    login_refresh: bool = True  # whether a login may outlast its first ID token
    unregistered: Unregistered = "refuse"
    sandbox: str | None = None  # an identity that is shared by all who have none yet, each as a subject of its own

    @property
    def audiences(self) -> tuple[str, ...]:
        """One of these must be in `aud`: an ID token is for the client that a person logged in with."""
        return (self.audience,) if self.client_id is None else (self.audience, self.client_id)

    def takes(self, kind: str, claims: Mapping[str, object]) -> bool:
        """Whether a token that is genuine, and has one of the audiences, is of a kind that says who somebody is.

        `kind` is its `typ` (RFC 8725 section 3.11): the same keys sign logout tokens and others, for the same client.
        What is for the client is an ID token that this client asked for (OpenID Connect Core 1.0 section 3.1.3.7).
        """
        kind = kind.lower().removeprefix("application/")
        if kind not in _KINDS_OF_TOKEN or "events" in claims:  # a logout or security event token without a `typ`
            return False
        if self.audience in texts(claims.get("aud")):
            return True
        return kind != _ACCESS_TOKEN and claims.get("azp", self.client_id) == self.client_id


class Rule(msgspec.Struct, frozen=True):
    """One way to be an identity: each of these claims has one of these values."""

    identity: str
    issuer: str  # its name
    claims: Mapping[str, tuple[str, ...]]


class Location(NamedTuple):
    """An address that keys may be fetched from."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str  # with the query

    @property
    def loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


class Federation:
    """The issuers and rules of one version of the registry."""

    def __init__(self, issuers: Iterable[TrustedIssuer] = (), rules: Iterable[Rule] = ()) -> None:
        self.issuers = {issuer.name: issuer for issuer in issuers}
        self.sandboxes = frozenset(each.sandbox for each in self.issuers.values() if each.sandbox is not None)
        self._by_url = {issuer.url: issuer for issuer in self.issuers.values()}
        # Each rule stands under one of its claims, so that a token meets only those that it may fit.
        self._rules: dict[tuple[str, str, str], list[Rule]] = {}
        self._looked_at: dict[str, set[str]] = {}
        for rule in rules:
            name = "sub" if names_subject(rule) else min(rule.claims)
            self._looked_at.setdefault(rule.issuer, set()).add(name)
            for value in rule.claims[name]:
                self._rules.setdefault((rule.issuer, name, value), []).append(rule)

    def issuer_of(self, claims: Mapping[str, object]) -> TrustedIssuer | None:
        """Who must have signed a token that says this. Nothing of it is believed before that signature holds."""
        issuer, subject = claims.get("iss"), claims.get("sub")
        found = self._by_url.get(issuer) if isinstance(issuer, str) else None
        if found is None and isinstance(subject, str) and subject.startswith(SPIFFE):  # a JWT-SVID needs no `iss`
            return self._by_url.get(SPIFFE + subject.removeprefix(SPIFFE).partition("/")[0])
        return found

    def identity_of(self, issuer: TrustedIssuer, claims: Mapping[str, object]) -> str | Untrusted:
        """The one identity that genuine claims of this issuer stand for."""
        fitting = [rule for rule in self._candidates(issuer.name, claims) if fits(rule, claims)]
        by_subject = [rule for rule in fitting if names_subject(rule)]
        found = {rule.identity for rule in by_subject or fitting}
        if len(found) == 1:
            return found.pop()
        who = f"The token of {issuer.name} for the subject {printed(claims.get('sub'))}"
        if not found:
            return Untrusted(
                "identity_unmatched",
                f"{who} stands for no identity.",
                "An operator may give an identity a `federated` rule with its claims, and run `comptroller apply`."
                if has_verified_email(claims) or "email" not in claims
                else "Its `email` counts only with `email_verified`: name `subject`, or let the issuer verify it.",
            )
        return Untrusted(
            "identity_ambiguous",
            f"{who} stands for {len(found)} identities: {', '.join(sorted(found))}.",
            "Change their `federated` entries so that only one of them fits, and run `comptroller apply`.",
        )

    def _candidates(self, issuer: str, claims: Mapping[str, object]) -> Iterable[Rule]:
        for name in self._looked_at.get(issuer, ()):
            for value in texts(claims.get(name)):
                yield from self._rules.get((issuer, name, value), ())


def printed(subject: object) -> str:
    """Who a token is for, as the issuer calls them, for a sentence or a record: printable, and short enough."""
    return "".join(c for c in subject if c.isprintable())[:_LONGEST_PRINTED] if isinstance(subject, str) else ""


def recorded(subject: object) -> str:
    """The same for what no two may share: who opened a session. What cannot stand there as it is ends in a digest."""
    said = printed(subject)
    if not isinstance(subject, str) or (said == subject and _DIGESTED.search(said) is None):
        return said
    return f"{said[: _LONGEST_PRINTED - 33]}~{sha256(subject.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def names_subject(rule: Rule) -> bool:
    """Whether it is about one principal, as the issuer calls it, and not about whoever has some other claim."""
    return "sub" in rule.claims


def fits(rule: Rule, claims: Mapping[str, object]) -> bool:
    """Whether each claim of the rule is there with one of its values; of a list, one element is enough.

    An address counts once the issuer has verified it (OpenID Connect Core 1.0 section 5.1): others write any they like.
    """
    if "email" in rule.claims and not has_verified_email(claims):
        return False
    return all(not set(texts(claims.get(name))).isdisjoint(wanted) for name, wanted in rule.claims.items())


def has_verified_email(claims: Mapping[str, object]) -> bool:
    return "true" in texts(claims.get("email_verified"))


def covers(wider: Rule, narrower: Rule) -> bool:
    """Whether every token that fits the second rule fits the first one too."""
    return wider.issuer == narrower.issuer and all(
        name in narrower.claims and set(narrower.claims[name]) <= set(values) for name, values in wider.claims.items()
    )


def texts(value: object) -> Sequence[str]:
    """A claim as the texts that a rule can name: of a list, each element; of anything deeper, none."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, int):
        return (str(value),)
    if isinstance(value, list):
        return [each for each in value if isinstance(each, str)]  # pyright: ignore[reportUnknownVariableType]
    return ()


def read_location(text: str) -> Location | None:
    """An address of https, or of http on this machine; None for anything else."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    clean = text.isascii() and text.isprintable() and " " not in text and "\\" not in text
    if not clean or not host or "@" in parts.netloc or parts.fragment:
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "https":
        return Location("https", host, 443 if port is None else port, path)
    found = Location("http", host, 80 if port is None else port, path)
    return found if parts.scheme == "http" and found.loopback else None
