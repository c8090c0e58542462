"""The keys that sign session credentials, and the check of every credential that is presented.

A credential is `cptr_` and a compact JWT: Ed25519, explicitly typed (RFC 8725 section 3.11), its header equal
byte for byte to the one we write for that key. So nothing that a stranger wrote is parsed before its signature
holds, and no other algorithm, key or type can be asked for.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from comptroller.core.identity.credential import (
    ADMIN_PREFIX,
    AUDIENCE,
    LONGEST_LIFETIME_S,
    PREFIX,
    Act,
    Actor,
    Claims,
    act_of,
)
from comptroller.core.identity.secret import SECRET_PREFIX
from comptroller.core.ids import is_identity_id, spiffe_id
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.refusal import Refusal
from comptroller.store.secret_file import SecretFileError, create_secret, make_folder, read_secret, replace_secret

FILE_NAME = "signing-keys.json"
ALGORITHM = "Ed25519"
TOKEN_TYPE = "cptr+jwt"  # noqa: S105 - a media type
SERVER_TOKEN_TYPE = "at+jwt"  # noqa: S105 - the same
LONGEST_CREDENTIAL = 4096  # characters
_LONG_CREDENTIAL = 2048  # beyond this, those in the middle of a chain are left out
_MOST_ACTORS = 4  # that are named
LEEWAY_S = 60  # how far the clocks of two machines may stand apart
CACHED_CREDENTIALS = 10_000

_LONGEST_FILE_BYTES = 1024 * 1024
_FORMAT = 1
_REGISTRY = jws.JWSRegistry(algorithms=[ALGORITHM])
# Header, payload, and the 64 bytes of an Ed25519 signature in the one way that base64 should write them.
_FORM = re.compile(r"([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{85}[AQgw]", re.ASCII)


class _Payload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The claims of a credential. All but `act` are essential, and of exactly these types.

    With `act`, `sub` is who began, and the outermost actor is who acts. Those inside of it are for others to read:
    what a call draws on and who stands above it is the session's to say.
    """

    iss: str
    sub: str
    aud: str
    jti: str
    sid: str
    mby: str
    iat: int
    nbf: int
    exp: int
    act: Act | None = None


class _StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key as the file has it: a private JWK (RFC 8037)."""

    kid: str
    created_at_ns: int
    retired_at_ns: int | None = None  # since then it signs nothing; what it signed before stays good until it expires
    key: dict[str, str]

    def __repr__(self) -> str:
        return f"_StoredKey({self.kid})"


class _StoredKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file. The newest key stands last."""

    format: int
    digest_key: bytes
    keys: tuple[_StoredKey, ...]

    def __repr__(self) -> str:
        return f"_StoredKeys({', '.join(key.kid for key in self.keys)})"


class _SigningKey:
    """A key, and the header that it is known by."""

    def __init__(self, stored: _StoredKey) -> None:
        self.stored = stored
        self.key = OKPKey.import_key({**stored.key})
        self.header = {"alg": ALGORITHM, "typ": TOKEN_TYPE, "kid": stored.kid}
        public = {name: str(value) for name, value in self.key.as_dict(private=False).items()}
        self.public = {**public, "kid": stored.kid, "alg": ALGORITHM, "use": "sig"}
        self.header_segment = self.sign(b"{}").partition(".")[0]

    def sign(self, payload: bytes) -> str:
        return jws.serialize_compact(dict(self.header), payload, self.key, registry=_REGISTRY)

    def sign_for_server(self, payload: bytes) -> str:
        """A token that is no credential of ours: its type says so (RFC 9068 section 2.1)."""
        return jws.serialize_compact({**self.header, "typ": SERVER_TOKEN_TYPE}, payload, self.key, registry=_REGISTRY)

    def payload_for_server(self, token: str) -> bytes | None:
        """What this key signed as such a token; None if it did not."""
        try:
            read = jws.deserialize_compact(token, self.key, registry=_REGISTRY)
        except (JoseError, ValueError):
            return None
        return read.payload if read.headers() == {**self.header, "typ": SERVER_TOKEN_TYPE} else None

    def payload_of(self, token: str) -> bytes | None:
        """What this key signed; None if it did not sign this token."""
        try:
            return jws.deserialize_compact(token, self.key, registry=_REGISTRY).payload
        except (JoseError, ValueError):
            return None


class Keyring:
    """Issues and verifies session credentials. Implements `flow.gate.CredentialVerifier`.

    Verified ones are remembered by a keyed digest, never by themselves. Whether a session still lives, and
    whether its identity may act, is not known here.
    """

    def __init__(self, path: Path, stored: _StoredKeys, trust_domain: str) -> None:
        self._path = path
        self._cache_key = secrets.token_bytes(32)
        self._cache: dict[bytes, Claims] = {}
        self._trust_domain = trust_domain
        self._use(stored)

    @property
    def trust_domain(self) -> str:
        """Issuer and subjects of credentials are of this SPIFFE trust domain."""
        return self._trust_domain

    @trust_domain.setter
    def trust_domain(self, trust_domain: str) -> None:
        if trust_domain != self._trust_domain:
            self._trust_domain = trust_domain
            self._cache = {}

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that verify; the last one signs."""
        return tuple(key.stored.kid for key in self._keys.values())

    @property
    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """The keys that verify, as public JWKs (RFC 7517, RFC 8037); the last one signs."""
        return [key.public for key in self._keys.values()]

    def issue(self, claims: Claims, chain: Sequence[Actor] = ()) -> str:
        """A signed credential. Instants are cut to whole seconds: the expiry down, so it never lasts longer than asked.

        `chain`: of a session below others, who acts first, who began last. Those in the middle are left out, the
        farthest first, where it would get long.

        Raises ValueError for claims that would not verify: a lifetime of nothing, below, or above the longest.
        """
        issued_s, expires_s = claims.issued_at_ns // NANOS_PER_SECOND, claims.expires_at_ns // NANOS_PER_SECOND
        if not 0 < expires_s - issued_s <= LONGEST_LIFETIME_S:
            raise ValueError(f"a credential lives between 1 and {LONGEST_LIFETIME_S} seconds")
        began = chain[-1].identity if chain else claims.identity
        payload = _Payload(
            iss=self._issuer,
            sub=spiffe_id(self._trust_domain, began),
            aud=AUDIENCE,
            jti=claims.credential_id,
            sid=claims.session,
            mby=claims.minted_by,
            iat=issued_s,
            nbf=issued_s,
            exp=expires_s,
        )
        named = max(0, min(len(chain) - 1, _MOST_ACTORS))
        credential = self._signed(payload, chain[:named])
        while len(credential) > _LONG_CREDENTIAL and named > 1:
            named -= 1
            credential = self._signed(payload, chain[:named])
        if len(credential) > LONGEST_CREDENTIAL or not is_identity_id(claims.identity):
            raise ValueError("these claims do not fit into a credential")
        return credential

    def sign_for_server(self, claims: bytes) -> str:
        """See flow/mcp/tokens.py."""
        *_, newest = self._keys.values()
        return newest.sign_for_server(claims)

    def claims_for_server(self, token: str) -> bytes | None:
        """What a token of ours for a server says, whatever its time; None for what is none."""
        if len(token) > LONGEST_CREDENTIAL or not token.isascii():
            return None
        found = (key.payload_for_server(token) for key in self._keys.values())
        return next((payload for payload in found if payload is not None), None)

    def verify(self, credential: str, now_ns: int) -> Claims | Refusal:
        """The claims of a credential of ours that is in its time; else why not, without repeating any of it."""
        if len(credential) > LONGEST_CREDENTIAL or not credential.isascii():
            return _NOT_OURS
        fingerprint = blake2b(credential.encode(), digest_size=16, key=self._cache_key).digest()
        claims = self._cache.get(fingerprint)
        if claims is None:
            checked = self._check(credential, now_ns)
            if isinstance(checked, Refusal):
                return checked  # not remembered: anybody can make any number of wrong ones
            claims = checked
            self._remember(fingerprint, claims)
        return claims if now_ns < claims.expires_at_ns else _expired(claims.identity)

    def digest(self, body: bytes) -> str:
        """32 hex digits that are equal for equal bodies, and that nobody without our key can search for."""
        return blake2b(body, digest_size=16, key=self._digest_key).hexdigest()

    def mac(self, purpose: str, text: bytes) -> str:
        """64 hex digits that nobody without our key can make; for one purpose (at most 16 bytes), and for no other."""
        return blake2b(text, digest_size=32, key=self._digest_key, person=purpose.encode()).hexdigest()

    def rotate(self, now_ns: int, *, distrust_old: bool = False) -> str:
        """Sign with a new key from now on; returns its id. Older ones verify what they signed until it has expired.

        `distrust_old`: forget the older ones at once, because they may have leaked; their credentials end now.
        Raises OSError if the new key cannot be written; nothing has changed then.
        """
        past: Iterable[_StoredKey] = () if distrust_old else (key.stored for key in self._keys.values())
        retired = tuple(_retired(key, now_ns) for key in past if not _forgotten(key, now_ns))
        made = _make_key(now_ns)
        stored = _StoredKeys(format=_FORMAT, digest_key=self._digest_key, keys=(*retired, made))
        replace_secret(self._path, msgspec.json.encode(stored))
        self._use(stored)
        return made.kid

    def _use(self, stored: _StoredKeys) -> None:
        keys = [_SigningKey(key) for key in stored.keys]
        self._keys = {key.header_segment: key for key in keys}
        self._digest_key = stored.digest_key
        self._cache = {}

    def _signed(self, payload: _Payload, actors: Sequence[Actor]) -> str:
        *_, newest = self._keys.values()
        act = act_of(self._trust_domain, actors)
        return PREFIX + newest.sign(msgspec.json.encode(msgspec.structs.replace(payload, act=act)))

    def _identity(self, sub: str) -> str | None:
        """Whom a SPIFFE id of this trust domain is of; None for one of another."""
        begins = f"{self._issuer}/"
        return sub.removeprefix(begins) if sub.startswith(begins) else None

    @property
    def _issuer(self) -> str:
        return f"spiffe://{self._trust_domain}"

    def _remember(self, fingerprint: bytes, claims: Claims) -> None:
        while len(self._cache) >= CACHED_CREDENTIALS:
            self._cache.pop(next(iter(self._cache)), None)
        self._cache[fingerprint] = claims

    def _check(self, credential: str, now_ns: int) -> Claims | Refusal:
        if not credential.startswith(PREFIX):
            return next((no for begin, no in _OTHERS.items() if credential.startswith(begin)), _NOT_OURS)
        token = credential[len(PREFIX) :]
        form = _FORM.fullmatch(token)
        if form is None:
            return _FORGED
        key = self._keys.get(form.group(1))
        if key is None:
            return _UNKNOWN_KEY
        content = key.payload_of(token)
        if content is None:
            return _FORGED
        try:
            payload = msgspec.json.decode(content, type=_Payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return _FORGED
        return self._claims(payload, key.stored, now_ns)

    def _claims(self, payload: _Payload, key: _StoredKey, now_ns: int) -> Claims | Refusal:
        """The claims, once each of them says what ours must say."""
        began, identity = self._identity(payload.sub), self._identity(payload.act.sub if payload.act else payload.sub)
        if payload.iss != self._issuer or began is None or identity is None or payload.aud != AUDIENCE:
            return _FOREIGN
        if not is_identity_id(began) or not is_identity_id(identity):
            return _FORGED
        if not payload.jti or not payload.sid or not payload.mby:
            return _FORGED
        if not 0 < payload.exp - payload.iat <= LONGEST_LIFETIME_S or payload.iat < 0:
            return _FORGED
        begins_ns = (max(payload.iat, payload.nbf) - LEEWAY_S) * NANOS_PER_SECOND
        if begins_ns > now_ns:
            return _EARLY
        if key.retired_at_ns is not None and begins_ns > key.retired_at_ns:
            return _UNKNOWN_KEY  # by now that key may be in other hands
        return Claims(
            credential_id=payload.jti,
            identity=identity,
            session=payload.sid,
            issued_at_ns=payload.iat * NANOS_PER_SECOND,
            expires_at_ns=payload.exp * NANOS_PER_SECOND,
            minted_by=payload.mby,
        )


def open_keyring(folder: Path, trust_domain: str, now_ns: int) -> Keyring:
    """The keyring of a state folder, made if there is none. Raises SecretFileError or OSError."""
    make_folder(folder)
    path = folder / FILE_NAME
    content = read_secret(path, _LONGEST_FILE_BYTES)
    if content is None:
        made = _StoredKeys(format=_FORMAT, digest_key=secrets.token_bytes(32), keys=(_make_key(now_ns),))
        create_secret(path, msgspec.json.encode(made))
        content = read_secret(path, _LONGEST_FILE_BYTES) or b""
    try:
        return Keyring(path, _read_keys(path, content), trust_domain)
    except (ValueError, KeyError, TypeError, JoseError):  # its causes hold keys, so they are not kept
        raise _strange(path) from None


def newest_key_made_ns(folder: Path) -> int | None:
    """When the key that signs was made; None where there are no keys. Changes nothing. Raises SecretFileError."""
    path = folder / FILE_NAME
    content = read_secret(path, _LONGEST_FILE_BYTES)
    return None if content is None else _read_keys(path, content).keys[-1].created_at_ns


def _read_keys(path: Path, content: bytes) -> _StoredKeys:
    try:
        stored = msgspec.json.decode(content, type=_StoredKeys)
    except ValueError:  # its causes hold keys, so they are not kept
        raise _strange(path) from None
    if stored.format != _FORMAT or not stored.keys or not 16 <= len(stored.digest_key) <= 64:
        raise _strange(path)
    return stored


def _strange(path: Path) -> SecretFileError:
    return SecretFileError(f"{path} does not hold signing keys as this version writes them: restore it or remove it.")


def _make_key(now_ns: int) -> _StoredKey:
    key = OKPKey.generate_key("Ed25519")
    written = {name: str(value) for name, value in key.as_dict(private=True).items()}
    return _StoredKey(kid=key.thumbprint()[:16], created_at_ns=now_ns, key=written)


def _retired(key: _StoredKey, now_ns: int) -> _StoredKey:
    return key if key.retired_at_ns is not None else msgspec.structs.replace(key, retired_at_ns=now_ns)


def _forgotten(key: _StoredKey, now_ns: int) -> bool:
    """True once nothing that the key signed can be in its time."""
    longest_ns = (LONGEST_LIFETIME_S + LEEWAY_S) * NANOS_PER_SECOND
    return key.retired_at_ns is not None and now_ns > key.retired_at_ns + longest_ns


def _invalid(sentence: str, hint: str = "Get one with `comptroller token IDENTITY`.") -> Refusal:
    return Refusal(code="credential_invalid", sentence=sentence, hint=hint)


def _expired(identity: str) -> Refusal:
    return Refusal(
        code="credential_expired",
        sentence=f"The session credential of {identity} has expired.",
        hint=f"Get a new one with `comptroller token {identity}`; a sub-agent asks whoever started it.",
    )


_NOT_OURS = _invalid(
    f"This is not a session credential of this gateway, which begins with {PREFIX}.",
    "Send what `comptroller token IDENTITY` prints in place of a provider's key.",
)
_ADMIN = _invalid(
    "This is an admin credential, and admin credentials make no calls.",
    "Send what `comptroller token IDENTITY` prints.",
)
_SECRET = _invalid(
    "This is a bootstrap secret, and bootstrap secrets make no calls.",
    "Exchange it for a session credential at /oauth/token, or with `comptroller token IDENTITY --secret-file PATH`.",
)
_OTHERS = {ADMIN_PREFIX: _ADMIN, SECRET_PREFIX: _SECRET}
_FORGED = _invalid("This session credential was not signed by this gateway, or it was changed or cut on its way.")
_UNKNOWN_KEY = _invalid("This session credential was signed with a key that this gateway does not have any more.")
_EARLY = _invalid("This session credential begins in the future: the gateway's clock was ahead, or is now behind.")
_FOREIGN = _invalid("This session credential was issued for another organization or another service.")
