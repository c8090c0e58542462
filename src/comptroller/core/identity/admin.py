"""Admins: who may steer the gateway, in which role, and by which credential they are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hmac import compare_digest
from typing import Literal

import msgspec

Role = Literal["viewer", "operator", "approver", "admin"]

INCLUDES: Mapping[Role, frozenset[Role]] = {
    "viewer": frozenset({"viewer"}),
    "operator": frozenset({"viewer", "operator"}),
    "approver": frozenset({"viewer", "approver"}),
    "admin": frozenset({"viewer", "operator", "approver", "admin"}),
}
"""What each role may do: look; stop, mint and correct; approve exceptions; everything. Whoever mints credentials does
not approve what they ask for, unless as an admin."""

BOOTSTRAP = "bootstrap"
RECOVERY = "recovery"
RESERVED = frozenset({"admin", "comptroller", "gateway", "nobody", "restore", "serve", "system", BOOTSTRAP, RECOVERY})
"""Who acts on records without being a person."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)

Standing = Literal["active", "expired", "disabled"]


class Admin(msgspec.Struct, frozen=True, kw_only=True):
    """A named admin. Known by a credential of its own, or by a subject of a trusted issuer, or by both."""

    name: str
    role: Role
    digest: bytes | None  # of its credential; None: it has none
    issuer: str | None  # the name of one in the registry
    subject: str | None  # exactly as `sub` has it
    made_at_ns: int
    made_by: str
    issued_at_ns: int  # when it was made, or its credential was last rotated
    expires_at_ns: int | None = None
    disabled_at_ns: int | None = None
    disabled_by: str | None = None
    disabled_reason: str | None = None

    @property
    def also(self) -> tuple[str, ...]:
        """Other names of the same person: its subject, alone and as sessions that its tokens opened have it."""
        return () if self.subject is None else (self.subject, f"{self.issuer}:{self.subject}")

    def standing(self, now_ns: int) -> Standing:
        if self.disabled_at_ns is not None:
            return "disabled"
        return "expired" if self.expires_at_ns is not None and self.expires_at_ns <= now_ns else "active"


class Actor(msgspec.Struct, frozen=True):
    """Whoever asks something of the admin plane. `named`: a person or machine that was given a name."""

    name: str
    role: Role
    named: bool

    def may(self, role: Role) -> bool:
        """Whether it may do what takes at least this role."""
        return role in INCLUDES[self.role]


NOBODY = Actor("nobody", "viewer", named=False)
"""Whoever has not said yet who it is."""


class Admins:
    """All admins there ever were, as one value: whoever changes them puts another one in its place."""

    def __init__(self, known: Iterable[Admin] = ()) -> None:
        self._known = {admin.name: admin for admin in known}

    @property
    def known(self) -> Sequence[Admin]:
        """By name."""
        return sorted(self._known.values(), key=lambda admin: admin.name)

    @property
    def replaces_bootstrap(self) -> bool:
        """Whether there ever was one of role admin: from then on the bootstrap credential opens nothing."""
        return any(admin.role == "admin" for admin in self._known.values())

    def get(self, name: str) -> Admin | None:
        return self._known.get(name)

    def by_digest(self, digest: bytes) -> Admin | None:
        """Whose credential has this digest. Looks at all of them, whichever fits."""
        found: Admin | None = None
        for admin in self._known.values():
            if admin.digest is not None and compare_digest(admin.digest, digest):
                found = admin
        return found

    def by_subject(self, issuer: str, subject: str) -> Admin | None:
        """Who is known by this subject of this issuer; of two, neither."""
        found = [each for each in self._known.values() if (each.issuer, each.subject) == (issuer, subject)]
        return found[0] if len(found) == 1 else None

    def active(self, role: Role, now_ns: int) -> Sequence[str]:
        """The names of those of exactly this role who may act now."""
        return [each.name for each in self.known if each.role == role and each.standing(now_ns) == "active"]

    def whom(self, now_ns: int) -> str:
        """Whom to ask, for somebody who is not let in."""
        names = self.active("admin", now_ns)
        if names:
            return f"Ask {' or '.join(names[:5])}."
        return "No admin of that role is left: stop the gateway, then `comptroller admins recover NAME` on its machine."

    def with_admin(self, admin: Admin) -> Admins:
        """These, and this one in the place of whoever had its name."""
        return Admins((*self._known.values(), admin))


def is_admin_name(text: str) -> bool:
    """Up to 64 letters, digits and . _ @ + -, and nobody who acts without being a person."""
    return _NAME.fullmatch(text) is not None and text.lower() not in RESERVED
