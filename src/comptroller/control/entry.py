"""Entry: whose admin credential was presented. The bootstrap one opens everything until an admin has a name."""

from __future__ import annotations

from comptroller.control.admins import digest_of
from comptroller.control.interfaces import AdminCredential
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem
from comptroller.core.identity.admin import BOOTSTRAP, Actor, Admin
from comptroller.core.identity.credential import ADMIN_PREFIX, PREFIX

WAY_IN = "Send `Authorization: Bearer` with an admin credential; the first one stands in the state folder."
_BOOTSTRAP = Actor(BOOTSTRAP, "admin", named=False)


def actor_of(office: Office, bootstrap: AdminCredential, presented: str) -> Actor:
    """Who presents this credential. Raises ControlProblem for nobody who may come in."""
    if bootstrap.matches(presented):
        if office.admins.replaces_bootstrap:
            raise _bootstrap_ended(office)
        return _BOOTSTRAP
    now_ns = office.gate.clock.expiry_ns()
    digest = digest_of(presented)
    admin = office.admins.by_digest(digest) or _logged_in(office, digest, now_ns)
    if admin is None:
        raise _nobodys(presented)
    standing, whom = admin.standing(now_ns), office.admins.whom(now_ns)
    if standing == "expired":
        raise ControlProblem(401, "credential_expired", f"The credential of {admin.name} has expired.", whom)
    if standing == "disabled":
        raise ControlProblem(403, "admin_disabled", f"{admin.name} is disabled: {admin.disabled_reason}.", whom)
    return Actor(admin.name, admin.role, named=True)


def is_guess(presented: str) -> bool:
    """Whether a credential that fits nobody could have been meant to: all else fits nobody ever."""
    return presented.startswith(ADMIN_PREFIX)


def _logged_in(office: Office, digest: bytes, now_ns: int) -> Admin | None:
    """Whose login this is. It ends with the issuer's trust, and when its admin is another's subject."""
    login = office.logins.get(digest)
    if login is None:
        return None
    admin = office.admins.get(login.admin)
    same = admin is not None and (admin.issuer, admin.subject) == (login.issuer, login.subject)
    trusted = login.issuer in office.gate.registry.federation.issuers
    if login.expires_at_ns <= now_ns or not (same and trusted):
        hint = "Log in again: `comptroller admins login`."
        raise ControlProblem(401, "credential_expired", "This login has ended.", hint)
    return admin


def _bootstrap_ended(office: Office) -> ControlProblem:
    whom = office.admins.whom(office.gate.clock.expiry_ns())
    return ControlProblem(
        403,
        "bootstrap_ended",
        "The bootstrap credential ended with the first named admin of role admin.",
        f"Set COMPTROLLER_TOKEN to a credential of your own. {whom}",
    )


def _nobodys(presented: str) -> ControlProblem:
    if presented.startswith(PREFIX) and not presented.startswith(ADMIN_PREFIX):
        sentence = "This is a session credential: it makes model calls and administers nothing."
        return ControlProblem(403, "credential_forbidden", sentence, WAY_IN)
    return ControlProblem(401, "credential_invalid", "This is no admin credential of this gateway.", WAY_IN)
