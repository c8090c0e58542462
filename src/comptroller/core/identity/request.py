"""Requests for an identity: what somebody whose token is genuine, and of nobody, asks to become.

A request is decided once. Whoever asks again makes another one, so what an approver reads is what is approved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from comptroller.core.identity.federation import TrustedIssuer, Untrusted, printed
from comptroller.core.identity.identity import Environment, IdentityKind

RequestState = Literal["open", "approved", "denied"]

LONGEST_PRINCIPAL = 200
"""Characters of an issuer's name and a subject: it stands on every session and record as it is, never cut."""

HOW_TO_ASK = (
    "`comptroller identities request --owner ... --purpose ... --environment ...` (a workload: with its --token-file)"
)


class Principal(NamedTuple):
    """Whoever proved to be a subject of an issuer."""

    issuer: str  # its name; there is no colon in one
    subject: str  # exactly as `sub` has it

    @property
    def name(self) -> str:
        """As it stands on records, and as the subject of a sandbox's sessions: of nobody else."""
        return f"{self.issuer}:{self.subject}"

    @property
    def nameable(self) -> bool:
        """Whether that name is one line of words, and short enough, as it is."""
        name = self.name
        return bool(self.subject) and len(name) <= LONGEST_PRINCIPAL and name.isprintable() and name == name.strip()


class IdentityRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request, with what was decided."""

    id: str
    issuer: str
    subject: str
    owner: str
    purpose: str
    environment: Environment
    kind: IdentityKind
    name: str | None  # the identity's id that is wished for; None: whoever approves says one
    asked_at_ns: int
    decided_at_ns: int | None = None
    decided_by: str | None = None
    decided_reason: str | None = None
    identity: str | None = None  # what it was approved as; None: it is open, or was denied
    team: str | None = None

    @property
    def state(self) -> RequestState:
        if self.decided_at_ns is None:
            return "open"
        return "denied" if self.identity is None else "approved"

    @property
    def principal(self) -> Principal:
        return Principal(self.issuer, self.subject)

    def asks_the_same(self, other: IdentityRequest) -> bool:
        """Whether the other asks for exactly this."""
        names = ("issuer", "subject", "owner", "purpose", "environment", "kind", "name")
        return all(getattr(self, name) == getattr(other, name) for name in names)


def sandbox_of(issuer: TrustedIssuer, who: Principal, asked: Sequence[IdentityRequest]) -> str | Untrusted:
    """The identity that a principal without one has meanwhile, by what its issuer's entry says; else why none.

    `asked`: its requests, the newest first. Whoever was told no, or had an identity that is gone, has no sandbox: what
    somebody decided is undone by somebody, and not by asking once more.
    """
    newest = asked[0] if asked else None
    sentence = f"The token of {issuer.name} for the subject {printed(who.subject)} stands for no identity"
    if newest is not None and newest.state == "denied":
        return Untrusted(
            "identity_request_denied",
            f"{sentence}: {newest.id} was denied by {newest.decided_by}: {(newest.decided_reason or '').rstrip('.')}.",
            f"Ask again, with that mended: {HOW_TO_ASK}.",
        )
    if issuer.sandbox is not None and all(each.decided_at_ns is None for each in asked):
        return issuer.sandbox
    if newest is not None and newest.state == "open":
        return Untrusted(
            "identity_request_pending",
            f"{sentence} yet: {newest.id} waits for an approver.",
            "`comptroller identities request --status` says when it is decided.",
        )
    return Untrusted("identity_request_needed", f"{sentence}.", f"Ask for one: {HOW_TO_ASK}.")
