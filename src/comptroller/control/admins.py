"""Admins: who may steer the gateway. Named ones are made here; with the first of role admin, bootstrap ends."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, conflict, invalid, ledger_unavailable, not_found
from comptroller.control.reason import read_reason
from comptroller.core.identity.admin import RECOVERY, Admin, Role, Standing, is_admin_name
from comptroller.core.identity.credential import ADMIN_PREFIX
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.problem import did_you_mean
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

LONGEST_LIFETIME_S = 366 * 86_400
SHORTEST_LIFETIME_S = 60
LONGEST_SUBJECT = 500
_RANDOM_BYTES = 32


class AdminRow(msgspec.Struct, frozen=True):
    name: str
    role: Role
    state: Standing
    credential: bool  # whether it has one of its own
    issuer: str | None
    subject: str | None
    made_at: str
    made_by: str
    expires_at: str | None
    disabled_at: str | None
    disabled_by: str | None
    disabled_reason: str | None


class AdminMade(msgspec.Struct, frozen=True):
    """An admin, and the credential that it got: shown this once and kept nowhere."""

    admin: AdminRow
    credential: str | None


def digest_of(credential: str) -> bytes:
    """What is kept of a credential."""
    return blake2b(credential.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def list_admins(office: Office) -> Sequence[AdminRow]:
    """By name."""
    now_ns = office.gate.clock.expiry_ns()
    return [_row(admin, now_ns) for admin in office.admins.known]


async def add(
    office: Office,
    name: str,
    role: Role,
    lifetime_s: int | None,
    issuer: str | None,
    subject: str | None,
    actor: str,
) -> AdminMade:
    """Make an admin, known by a subject of an issuer, or else by a credential. A disabled or expired one comes back."""
    if not is_admin_name(name):
        raise invalid(f"{name!r} cannot be the name of an admin.", "Write a name or address of up to 64 characters.")
    _check_lifetime(lifetime_s)
    async with office.changing:
        _check_subject(office, name, issuer, subject)
        before = office.admins.get(name)
        like = [each.name for each in office.admins.known if each.name.lower() == name.lower() != each.name]
        if before is None and like:
            raise conflict(f"There is an admin {like[0]}, which reads the same.", "Take another name.")
        if before is not None and before.standing(office.gate.clock.expiry_ns()) == "active":
            raise conflict(f"There is an admin {name} already.", f"`comptroller admins rotate {name}`, or disable it.")
        credential = fresh_credential() if issuer is None else None
        made = _admin(office, name, role, actor, lifetime_s, credential, issuer, subject)
        await _write(office, made, before, "add", actor)
    return AdminMade(_row(made, office.gate.clock.expiry_ns()), credential)


async def rotate(office: Office, name: str, lifetime_s: int | None, actor: str) -> AdminMade:
    """Give an admin a new credential; the old one and its logins end.

    Without a lifetime it lasts as long as the last one did.
    """
    _check_lifetime(lifetime_s)
    async with office.changing:
        before = _known(office, name)
        if before.disabled_at_ns is not None:
            raise conflict(f"{name} is disabled.", f"`comptroller admins add {name} --role ...` lets it in again.")
        if lifetime_s is None and before.expires_at_ns is not None:
            lifetime_s = (before.expires_at_ns - before.issued_at_ns) // NANOS_PER_SECOND
        credential, now_ns = fresh_credential(), office.gate.clock.now_ns()
        made = msgspec.structs.replace(
            before,
            digest=digest_of(credential),
            issued_at_ns=now_ns,
            expires_at_ns=_ends_ns(office, lifetime_s),
        )
        await _write(office, made, before, "rotate", actor)
        office.logins.end(name)
    return AdminMade(_row(made, office.gate.clock.expiry_ns()), credential)


async def disable(office: Office, name: str, reason: str, actor: str) -> AdminRow:
    """Let an admin in no longer, from now on. The last one of role admin stays: nobody could make another.

    Nobody disables themselves: it would be a slip.
    """
    words = read_reason(reason, "Say why, for whoever looks for this admin.")
    async with office.changing:
        before, now_ns = _known(office, name), office.gate.clock.expiry_ns()
        if before.disabled_at_ns is not None:
            return _row(before, now_ns)
        last = before.role == "admin" and before.standing(now_ns) == "active" and not _others(office, name, now_ns)
        if last:
            hint = "Make another one first that can get in, or rotate this one."
            raise conflict(f"{name} is the last admin of role admin.", hint)
        if actor == name:
            hint = f"Another admin can do it. If your credential leaked: `comptroller admins rotate {name}`."
            raise conflict(f"You are {name}, and would be locked out at once.", hint)
        made = msgspec.structs.replace(
            before, disabled_at_ns=office.gate.clock.now_ns(), disabled_by=actor, disabled_reason=words
        )
        office.admins = office.admins.with_admin(made)  # at once, whatever the books say
        office.logins.end(name)
        try:
            await office.ledger.write_admin(made, _event(made, before, "disable", actor, words))
        except LedgerUnavailableError as error:
            raise ControlProblem(
                503,
                "ledger_unavailable",
                f"{name} is disabled in this process, but that could not be written: {error}.",
                "It would be let in again after a restart: mend the store, then rotate it and disable it.",
            ) from error
    return _row(made, now_ns)


async def recover(office: Office, name: str, reason: str) -> AdminMade:
    """Make this the name of an admin of role admin, with a new credential, whatever it was before.

    For whoever owns the machine and its store, where nobody can get in: it is asked over no network.
    """
    words = read_reason(reason, "Say why nobody else could make an admin.")
    if not is_admin_name(name):
        raise invalid(f"{name!r} cannot be the name of an admin.", "Write a name or address of up to 64 characters.")
    before, credential = office.admins.get(name), fresh_credential()
    made = _admin(office, name, "admin", RECOVERY, None, credential, None, None)
    await _write(office, made, before, "recover", RECOVERY, words)
    return AdminMade(_row(made, office.gate.clock.expiry_ns()), credential)


def _admin(
    office: Office,
    name: str,
    role: Role,
    actor: str,
    lifetime_s: int | None,
    credential: str | None,
    issuer: str | None,
    subject: str | None,
) -> Admin:
    now_ns = office.gate.clock.now_ns()
    return Admin(
        name=name,
        role=role,
        digest=None if credential is None else digest_of(credential),
        issuer=issuer,
        subject=subject,
        made_at_ns=now_ns,
        made_by=actor,
        issued_at_ns=now_ns,
        expires_at_ns=_ends_ns(office, lifetime_s),
    )


def _others(office: Office, name: str, now_ns: int) -> Sequence[str]:
    """Who else of role admin can get in: a login takes an issuer that the registry trusts."""
    trusted = office.gate.registry.federation.issuers
    active = [office.admins.get(each) for each in office.admins.active("admin", now_ns) if each != name]
    return [each.name for each in active if each is not None and (each.digest is not None or each.issuer in trusted)]


def _known(office: Office, name: str) -> Admin:
    found = office.admins.get(name)
    if found is None:
        near = did_you_mean(name, [each.name for each in office.admins.known])
        raise not_found(f"There is no admin {name!r}.", near or "`comptroller admins list` lists them.")
    return found


def _check_lifetime(lifetime_s: int | None) -> None:
    if lifetime_s is not None and not SHORTEST_LIFETIME_S <= lifetime_s <= LONGEST_LIFETIME_S:
        raise invalid(f"An admin cannot last {lifetime_s} s.", "Ask for a minute to a year, or leave it out: no end.")


def _check_subject(office: Office, name: str, issuer: str | None, subject: str | None) -> None:
    if (issuer is None) != (subject is None):
        raise invalid("Issuer and subject belong together.", "Give both, or neither for a credential.")
    if issuer is None or subject is None:
        return
    if not subject.strip() or len(subject) > LONGEST_SUBJECT or not subject.isprintable():
        raise invalid(f"A subject is 1 to {LONGEST_SUBJECT} printable characters.", "Give `sub` as the tokens have it.")
    issuers = office.gate.registry.federation.issuers
    if issuer not in issuers:
        hint = did_you_mean(issuer, issuers) or "Name it under [issuers] in registry.toml and run `comptroller apply`."
        raise not_found(f"The registry trusts no issuer {issuer!r}.", hint)
    if issuers[issuer].kind == "github":
        sentence = "A subject of GitHub is made of names that change hands, so it cannot be an admin."
        raise invalid(sentence, "Leave --issuer out: the admin gets a credential.")
    taken = [each.name for each in office.admins.known if (each.issuer, each.subject) == (issuer, subject)]
    if any(each != name for each in taken):
        raise conflict(f"That subject is {taken[0]} already.", "One person, one name.")


def _ends_ns(office: Office, lifetime_s: int | None) -> int | None:
    return None if lifetime_s is None else office.gate.clock.expiry_ns() + lifetime_s * NANOS_PER_SECOND


async def _write(office: Office, made: Admin, before: Admin | None, verb: str, actor: str, reason: str = "") -> None:
    """On disk first: a right that a restart would take back was never given."""
    try:
        await office.ledger.write_admin(made, _event(made, before, verb, actor, reason))
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"Nothing was changed about {made.name}: {error}.") from error
    office.admins = office.admins.with_admin(made)


def _event(made: Admin, before: Admin | None, verb: str, actor: str, reason: str) -> Change:
    at_ns = made.disabled_at_ns or made.issued_at_ns
    was = "" if before is None else _facts(before)
    return Change(at_ns, actor, verb, "admin", made.name, reason, was, _facts(made))


def _facts(admin: Admin) -> str:
    """What an event says of an admin: nothing of its credential."""
    known = {"role": admin.role, "issuer": admin.issuer, "subject": admin.subject, "credential": bool(admin.digest)}
    ends = None if admin.expires_at_ns is None else format_instant(admin.expires_at_ns)
    return _json({**known, "expires_at": ends, "disabled": admin.disabled_at_ns is not None})


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _row(admin: Admin, now_ns: int) -> AdminRow:
    return AdminRow(
        name=admin.name,
        role=admin.role,
        state=admin.standing(now_ns),
        credential=admin.digest is not None,
        issuer=admin.issuer,
        subject=admin.subject,
        made_at=format_instant(admin.made_at_ns),
        made_by=admin.made_by,
        expires_at=_instant(admin.expires_at_ns),
        disabled_at=_instant(admin.disabled_at_ns),
        disabled_by=admin.disabled_by,
        disabled_reason=admin.disabled_reason,
    )


def _instant(at_ns: int | None) -> str | None:
    return None if at_ns is None else format_instant(at_ns)


def fresh_credential() -> str:
    """256 random bits, so a digest without salt is as good as the credential is long."""
    return ADMIN_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
