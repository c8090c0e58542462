"""Bootstrap secrets: issuing one, which is shown this once; what there are; taking one back; and whether one holds."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence

import msgspec

from comptroller.control.delegate import acting_identity
from comptroller.control.office import Office
from comptroller.control.problem import invalid, ledger_unavailable, not_found
from comptroller.control.reason import read_reason
from comptroller.core.identity.secret import (
    LONGEST_SECRET_LIFE_S,
    SECRET_PREFIX,
    BootstrapSecret,
    SecretState,
    secret_id_of,
    written_secret,
)
from comptroller.core.instant import NANOS_PER_SECOND, format_duration, format_instant
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

SECRETS_SHOWN = 200
_ENTROPY_BYTES = 32
_NOTHING = "0" * 32  # a digest that nothing has


class SecretRow(msgspec.Struct, frozen=True):
    """What may be seen of a secret."""

    id: str
    identity: str
    state: SecretState
    created_at: str
    created_by: str
    expires_at: str
    revoked_at: str | None
    revoked_by: str | None
    revoked_reason: str | None
    sessions: Sequence[str] = ()  # that it opened, and that go on


class IssuedSecret(msgspec.Struct, frozen=True):
    """A fresh secret. It is shown this once; what is kept cannot be turned back into it."""

    secret: str
    id: str
    identity: str
    expires_at: str


async def issue_secret(office: Office, identity_id: str, expires_s: int, actor: str) -> IssuedSecret:
    """A secret that an identity can show at /oauth/token until it ends."""
    if not 1 <= expires_s <= LONGEST_SECRET_LIFE_S:
        days = LONGEST_SECRET_LIFE_S // 86_400
        raise invalid(
            f"A secret cannot live for {format_duration(expires_s)}.",
            f"Ask for at most {days} days, and issue the next in time.",
        )
    identity = acting_identity(office, identity_id)
    now_ns = office.gate.clock.expiry_ns()
    secret_id = office.gate.clock.new_id("sec")
    written = written_secret(secret_id, secrets.token_urlsafe(_ENTROPY_BYTES))
    kept = BootstrapSecret(
        id=secret_id,
        identity=identity.id,
        digest=_digest(office, written),
        created_at_ns=now_ns,
        created_by=actor,
        expires_at_ns=now_ns + expires_s * NANOS_PER_SECOND,
    )
    expires_at = format_instant(kept.expires_at_ns)
    after = msgspec.json.encode({"identity": identity.id, "expires_at": expires_at}).decode()
    try:
        await office.ledger.write_secret(kept, Change(now_ns, actor, "issue", "secret", kept.id, after=after))
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"No secret was issued: {error}.") from error
    return IssuedSecret(written, kept.id, identity.id, expires_at)


async def list_secrets(
    office: Office, identity: str | None = None, *, every: bool = False, limit: int = SECRETS_SHOWN
) -> Sequence[SecretRow]:
    """Those that can be used now, newest first; with `every`, the others too."""
    now_ns = office.gate.clock.expiry_ns()
    found = await office.ledger.secrets(identity, limit if every else None)
    return [_row(office, each, now_ns) for each in found if every or each.state(now_ns) == "active"][:limit]


async def revoke_secret(office: Office, secret_id: str, reason: str, actor: str) -> SecretRow:
    """Take a secret back, by its id, or by itself for whoever has found one.

    Sessions that were opened with it go on: end them where they should not.
    """
    words = read_reason(reason, "Say why, for whoever asks later.")
    found = await office.ledger.secret(secret_id_of(secret_id) or secret_id)
    if found is None:
        shown = "" if secret_id.startswith(SECRET_PREFIX) else f" {secret_id!r}"
        raise not_found(f"There is no secret{shown}.", "`comptroller secrets` lists them.")
    now_ns = office.gate.clock.now_ns()
    if found.revoked_at_ns is None:
        found = msgspec.structs.replace(found, revoked_at_ns=now_ns, revoked_by=actor, revoked_reason=words)
        try:
            await office.ledger.revoke_secret(found, Change(now_ns, actor, "revoke", "secret", found.id, words))
        except LedgerUnavailableError as error:
            raise ledger_unavailable(f"The secret is as it was: {error}.") from error
    return _row(office, found, now_ns)


async def secret_that_holds(office: Office, identity: str, secret: str) -> BootstrapSecret | str | None:
    """The secret, if it is one of this identity and may be used now; else one sentence why not.

    None: it was guessed too often in the last minute. The right one is let in all the same: no guess can hit one, and
    whoever guesses keeps nobody out. Why not is said only to who has the whole secret; all others get the same answer.
    """
    now_ns = office.gate.clock.expiry_ns()
    secret_id = secret_id_of(secret)
    async with office.guesses.looking:
        found = None if secret_id is None else await office.ledger.secret(secret_id)
    right = hmac.compare_digest(_NOTHING if found is None else found.digest, _digest(office, secret))
    if found is not None and not right:
        if office.guesses.too_many(found.id, now_ns):
            return None
        office.guesses.wrong(found.id, now_ns)
    if found is None or not right or found.identity != identity:
        return "This is no secret of this identity."
    state = found.state(now_ns)
    if state == "expired":
        return f"The secret {found.id} ended at {format_instant(found.expires_at_ns)}."
    if state == "revoked":
        return f"The secret {found.id} was taken back by {found.revoked_by}: {found.revoked_reason}."
    return found


def remember_issuer(office: Office, secret: BootstrapSecret) -> None:
    """Whoever issued a secret is among those who ask in the sessions that it opened."""
    office.gate.approvals.behind[opened_by(secret.id)] = secret.created_by


async def go_on(office: Office) -> None:
    """After a start: who issued the secrets that the sessions which go on were opened with."""
    prefix = opened_by("")
    for opener in {each.minted_by for each in office.going_on().values() if each.minted_by.startswith(prefix)}:
        secret = await office.ledger.secret(opener.removeprefix(prefix))
        if secret is not None:
            remember_issuer(office, secret)


def _digest(office: Office, secret: str) -> str:
    return office.gate.credentials.digest(secret.encode())


def opened_by(secret_id: str) -> str:
    """How the record names who opened a session with a secret."""
    return f"secret:{secret_id}"


def _row(office: Office, secret: BootstrapSecret, now_ns: int) -> SecretRow:
    actor = opened_by(secret.id)
    return SecretRow(
        id=secret.id,
        identity=secret.identity,
        state=secret.state(now_ns),
        created_at=format_instant(secret.created_at_ns),
        created_by=secret.created_by,
        expires_at=format_instant(secret.expires_at_ns),
        revoked_at=None if secret.revoked_at_ns is None else format_instant(secret.revoked_at_ns),
        revoked_by=secret.revoked_by,
        revoked_reason=secret.revoked_reason,
        sessions=[s.id for s in office.gate.sessions.values() if s.minted_by == actor and s.goes_on(now_ns)],
    )
