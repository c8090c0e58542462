"""Logins: the short-lived credentials of admins who proved who they are by a token of a trusted issuer.

They live in memory: a restart ends them, and a login with the same issuer makes new ones.
"""

from __future__ import annotations

from typing import NamedTuple

LOGINS_MOST = 16  # of one admin; the oldest ends


class Login(NamedTuple):
    admin: str  # its name
    issuer: str
    subject: str
    expires_at_ns: int


class Logins:
    """By the digest of their credential."""

    def __init__(self) -> None:
        self._known: dict[bytes, Login] = {}

    def add(self, digest: bytes, login: Login, now_ns: int) -> None:
        self._known = {key: each for key, each in self._known.items() if each.expires_at_ns > now_ns}
        own = [key for key, each in self._known.items() if each.admin == login.admin]
        for key in own[: max(0, len(own) + 1 - LOGINS_MOST)]:
            del self._known[key]
        self._known[digest] = login

    def get(self, digest: bytes) -> Login | None:
        """Expired ones too, as long as they are remembered."""
        return self._known.get(digest)  # a digest of 256 random bits: how long a look takes tells nothing of it

    def end(self, admin: str) -> None:
        """All of this admin."""
        self._known = {key: each for key, each in self._known.items() if each.admin != admin}
