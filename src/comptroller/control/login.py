"""Login: an admin proves who it is by a token of a trusted issuer, and gets a credential for a while."""

from __future__ import annotations

import msgspec

from comptroller.control.admins import digest_of, fresh_credential
from comptroller.control.logins import Login
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, conflict, invalid, ledger_unavailable
from comptroller.control.proof import Proof, prove
from comptroller.core.identity.admin import Admin, Role
from comptroller.core.identity.federation import Untrusted
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

LOGIN_LIFETIME_S = 3600  # whoever can log in once can do it again
LONGEST_LOGIN_S = 12 * 3600
SHORTEST_LOGIN_S = 60


class LoggedIn(msgspec.Struct, frozen=True):
    """A credential for a while, shown this once. It ends with the gateway's process."""

    credential: str
    admin: str
    role: Role
    expires_at: str


async def login(office: Office, token: str, lifetime_s: int | None) -> LoggedIn:
    """A credential for the admin whom a token of a trusted issuer is about. It opens no session and makes no call.

    Raises ControlProblem with status 401 for a token that proves nothing, or that is of nobody who may act.
    """
    if office.process.listen is None:
        raise conflict("No gateway runs that a login could be for.", "Start it, then log in.")
    wanted_s = LOGIN_LIFETIME_S if lifetime_s is None else lifetime_s
    if not SHORTEST_LOGIN_S <= wanted_s <= LONGEST_LOGIN_S:
        raise invalid(f"A login cannot last {wanted_s} s.", f"Ask for at most {LONGEST_LOGIN_S // 3600} hours.")
    now_ns = office.gate.clock.expiry_ns()
    proof = await prove(office, token)
    if isinstance(proof, Untrusted):
        raise _problem(proof)
    admin = _proved(office, proof, now_ns)
    ends_ns = now_ns + wanted_s * NANOS_PER_SECOND
    ends_ns = min(ends_ns, admin.expires_at_ns) if admin.expires_at_ns is not None else ends_ns
    after = msgspec.json.encode({"issuer": admin.issuer, "expires_at": format_instant(ends_ns)}).decode()
    try:
        at_ns = office.gate.clock.now_ns()
        await office.gate.journal.commit(Change(at_ns, admin.name, "login", "admin", admin.name, after=after))
    except LedgerUnavailableError as error:
        raise ledger_unavailable(f"Nobody was logged in: {error}.") from error
    if office.admins.get(admin.name) is not admin:
        sentence = f"{admin.name} was changed by somebody else meanwhile."
        raise ControlProblem(401, "admin_unmatched", sentence, office.admins.whom(now_ns))
    credential = fresh_credential()
    entry = Login(admin.name, proof.issuer.name, admin.subject or "", ends_ns)
    office.logins.add(digest_of(credential), entry, now_ns)
    return LoggedIn(credential, admin.name, admin.role, format_instant(ends_ns))


def _proved(office: Office, proof: Proof, now_ns: int) -> Admin:
    subject = proof.claims.get("sub")  # exactly: `proof.subject` is for records
    admin = office.admins.by_subject(proof.issuer.name, subject) if isinstance(subject, str) else None
    if admin is None or admin.standing(now_ns) != "active":
        sentence = f"The token of {proof.issuer.name} for {proof.subject!r} is genuine, and of no admin who may act."
        raise ControlProblem(401, "admin_unmatched", sentence, office.admins.whom(now_ns))
    return admin


def _problem(no: Untrusted) -> ControlProblem:
    if no.retry_after_s is None:
        return ControlProblem(401, no.code, no.sentence, no.hint)
    return ControlProblem(503, no.code, no.sentence, no.hint, headers={"retry-after": str(no.retry_after_s)})
