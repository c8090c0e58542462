"""The public keys of trusted issuers: found by discovery, at an address or in a file; kept, and fetched anew when due.

However many tokens come, an issuer is asked at most once in REFETCH_S: for a key id that nobody knows yet, because
keys rotate, and every KEEP_S, because a key may have been withdrawn. While an issuer is down its last keys are believed
for BELIEVE_S. Requests leave through the one egress, which judges every address and follows no redirect.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from comptroller.core.identity.federation import DISCOVERY, FILE, Location, TrustedIssuer, Untrusted, read_location
from comptroller.flow.upstream import Origin, Timeouts, Upstream, UpstreamFailure, UpstreamRequest

KEEP_S = 300.0
REFETCH_S = 10.0
BELIEVE_S = 3600.0
MOST_BYTES = 256 * 1024
MOST_KEYS = 100
_TIMEOUTS = Timeouts(connect_s=3.0, first_byte_s=5.0, idle_s=5.0, total_s=8.0)
_DISCOVERY_PATH = "/.well-known/openid-configuration"
_HEADERS = ((b"accept", b"application/json"),)
_KINDS = {"RSA": RSAKey, "EC": ECKey}
_LEAST_RSA_BITS = 2048

PublicKey = RSAKey | ECKey


class KeysUnavailable(Exception):
    """Why an issuer's keys cannot be had; no secret is in it."""


class _Discovery(msgspec.Struct, frozen=True):
    """OpenID Connect Discovery 1.0, section 3: what we read of it."""

    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct, frozen=True):
    """RFC 7517 section 5; of a SPIFFE bundle, what stands beside the keys is not read."""

    keys: list[dict[str, object]]


class _Kept:
    """What is known of one issuer."""

    def __init__(self) -> None:
        self.keys: Mapping[str, PublicKey] = {}
        self.fetched_s = float("-inf")  # the last time that it worked
        self.tried_s = float("-inf")
        self.why = ""
        self.asking = asyncio.Lock()


class IssuerKeys:
    """The keys of all issuers. `folder`: where paths of key files begin; `now_s`: a clock that never goes back."""

    def __init__(self, upstream: Upstream, folder: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self._upstream = upstream
        self._folder = folder
        self._now_s = now_s
        self._kept: dict[TrustedIssuer, _Kept] = {}
        self.fetches = 0  # since the start

    async def key(self, issuer: TrustedIssuer, key_id: str) -> PublicKey | Untrusted:
        """The key that an issuer knows under this id; "" is its only key."""
        kept = self._kept.get(issuer)
        if kept is None:
            for other in [each for each in self._kept if each.name == issuer.name]:
                del self._kept[other]  # as a registry before this one had it
            kept = self._kept[issuer] = _Kept()
        if self._wanted(kept, key_id) and not (kept.asking.locked() and self._believed(kept, key_id)):
            async with kept.asking:  # whoever comes while it is asked waits for what it says
                if self._wanted(kept, key_id) and self._now_s() - kept.tried_s >= REFETCH_S:
                    await self._refresh(issuer, kept)
        if self._now_s() - kept.fetched_s > BELIEVE_S:
            return Untrusted(
                "issuer_unavailable",
                f"The keys of the issuer {issuer.name} cannot be had now.",
                "Try again shortly; whoever runs the gateway finds why in its log, and with `comptroller doctor`.",
                retry_after_s=int(REFETCH_S),
                why=kept.why,
            )
        return _named(kept.keys, key_id) or Untrusted(
            "token_invalid",
            f"The token is signed with a key that the issuer {issuer.name} does not publish.",
            f"Get a fresh token; a new key of an issuer is known here after at most {REFETCH_S:g} s.",
        )

    def _wanted(self, kept: _Kept, key_id: str) -> bool:
        return _named(kept.keys, key_id) is None or self._now_s() - kept.fetched_s > KEEP_S

    def _believed(self, kept: _Kept, key_id: str) -> bool:
        """Whether it is good without asking: nobody waits for an issuer that is slow while its keys are known."""
        return _named(kept.keys, key_id) is not None and self._now_s() - kept.fetched_s <= BELIEVE_S

    async def _refresh(self, issuer: TrustedIssuer, kept: _Kept) -> None:
        kept.tried_s = self._now_s()
        self.fetches += 1
        try:
            kept.keys = await self._load(issuer)
        except KeysUnavailable as error:
            kept.why = str(error)
        else:
            kept.fetched_s = self._now_s()

    async def _load(self, issuer: TrustedIssuer) -> Mapping[str, PublicKey]:
        if issuer.keys.startswith(FILE):
            content = await asyncio.to_thread(_read_file, self._folder / issuer.keys.removeprefix(FILE))
        else:
            url = await self._discover(issuer) if issuer.keys == DISCOVERY else issuer.keys
            content = await self._fetch(issuer, url)
        return _read_keys(issuer, content)

    async def _discover(self, issuer: TrustedIssuer) -> str:
        content = await self._fetch(issuer, issuer.url.rstrip("/") + _DISCOVERY_PATH)
        try:
            found = msgspec.json.decode(content, type=_Discovery)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise KeysUnavailable("its discovery document is not one") from None
        if found.issuer != issuer.url:
            raise KeysUnavailable("its discovery document is that of another issuer")
        return found.jwks_uri

    async def _fetch(self, issuer: TrustedIssuer, url: str) -> bytes:
        at = read_location(url)
        if at is None:
            raise KeysUnavailable("its keys are at an address that is not https, nor http on this machine")
        request = UpstreamRequest(_origin(at, issuer), at.path, _HEADERS, b"", _TIMEOUTS, "GET")
        try:
            exchange = self._upstream.open(request, buffer_limit_bytes=MOST_BYTES, on_overflow=lambda: None)
            try:
                await exchange.start()
                content = await exchange.read(MOST_BYTES)
            finally:
                exchange.abort()
        except (UpstreamFailure, ValueError) as error:
            raise KeysUnavailable(str(error)) from error
        if exchange.status != 200:
            raise KeysUnavailable(f"{at.host} answered with status {exchange.status}")
        return content


def _origin(at: Location, issuer: TrustedIssuer) -> Origin:
    """Only the registry leads to this machine, or into a private network: what an issuer answers does not."""
    named = [found for found in (read_location(issuer.url), read_location(issuer.keys)) if found is not None]
    here = at.loopback and any(each.loopback for each in named)
    return Origin(at.scheme, at.host, at.port, allow_private=here or issuer.private_network)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise KeysUnavailable(f"{path.name} cannot be read: {error.strerror}") from error
    if len(content) > MOST_BYTES:
        raise KeysUnavailable(f"{path.name} is longer than {MOST_BYTES} bytes")
    return content


def _read_keys(issuer: TrustedIssuer, content: bytes) -> Mapping[str, PublicKey]:
    """Every key of a set that can verify; others in it are for other things."""
    try:
        listed = msgspec.json.decode(content, type=_KeySet).keys
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise KeysUnavailable("its key set is not one") from None
    if len(listed) > MOST_KEYS:
        raise KeysUnavailable(f"its key set has more than {MOST_KEYS} keys")
    uses = ("jwt-svid",) if issuer.kind == "spiffe" else (None, "sig")  # SPIFFE Trust Domain and Bundle, section 4.2.2
    found: dict[str, PublicKey] = {}
    for each in listed:
        key_id = each.get("kid", "")
        key = _public_key(each) if each.get("use") in uses else None
        if key is not None and isinstance(key_id, str):
            found[key_id] = key
    if not found:
        raise KeysUnavailable("its key set has no key that could verify a token")
    return found


def _public_key(listed: Mapping[str, object]) -> PublicKey | None:
    """The key alone: its use is judged by us, and its algorithm is what the registry says."""
    kind = _KINDS.get(str(listed.get("kty")))
    if kind is None:
        return None
    members: Sequence[str] = ("n", "e") if kind is RSAKey else ("crv", "x", "y")
    plain = {"kty": str(listed["kty"]), **{name: str(listed.get(name)) for name in members}}
    try:
        with warnings.catch_warnings(action="ignore"):  # about short keys, which are refused here
            key = kind.import_key({**plain})
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    short = isinstance(key, RSAKey) and key.raw_value.key_size < _LEAST_RSA_BITS
    return None if short else key


def _named(keys: Mapping[str, PublicKey], key_id: str) -> PublicKey | None:
    if key_id or len(keys) != 1:
        return keys.get(key_id)
    return next(iter(keys.values()))
