"""One bounded run of one identity, and what it can be at an instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from comptroller.core.work.bounds import Bounds

SessionState = Literal["active", "exhausted", "suspended", "ended", "expired"]
DeclaredName = Literal["subject", "tenant", "task", "task_type", "workflow"]
Declared = tuple[DeclaredName, str]
SessionOutcome = Literal["succeeded", "failed", "abandoned", "expired", "idle", "stopped"]


class State(msgspec.Struct, frozen=True):
    """What every session in one state has in common."""

    meaning: str
    refusal: str | None  # the code that its next call is refused with; None: it is not
    final: bool  # no way leads out of it


STATES: Mapping[SessionState, State] = {
    "active": State("its calls are decided on", None, final=False),
    "exhausted": State("a counted bound has nothing left; it can be renewed", "session_limit", final=False),
    "suspended": State("a stop is in force for it or for what it belongs to", "identity_suspended", final=False),
    "ended": State("it was closed, stopped, or idle for too long", "session_ended", final=True),
    "expired": State("its wall-clock bound has passed", "session_ended", final=True),
}


class Reserved(msgspec.Struct, frozen=True, gc=False):
    """A share that was set aside for a session at its opening (core/budget/escrow.py)."""

    usd_nanos: int  # never more than it may spend: less, once that is less
    rows: tuple[tuple[str, str, int], ...] = ()  # of the ledger, whose windows it was set aside on

    def within(self, bounds: Bounds) -> Reserved:
        """The same for a session that has these bounds now."""
        most = self.usd_nanos if bounds.usd_nanos is None else min(self.usd_nanos, bounds.usd_nanos)
        return msgspec.structs.replace(self, usd_nanos=most)


class Session(msgspec.Struct, frozen=True, gc=False):
    """A session as it was opened. Ended sessions never come back.

    What it is for (subject, tenant, task, workflow) is declared once, here, and never by a call.
    """

    id: str
    identity: str  # the registered one that answers for it
    credential: str  # the id (jti) of the credential that it was opened with
    opened_at_ns: int
    expires_at_ns: int  # where its wall-clock bound ends
    minted_by: str
    ended_at_ns: int | None = None
    ended_by: str | None = None
    ended_reason: str | None = None
    parent: str | None = None
    root: str = ""  # the top of its tree; itself, if it has no parent
    depth: int = 0  # 0 at the top
    child: str | None = None  # the name of an ephemeral child of `identity`
    subject: str | None = None  # on whose behalf
    tenant: str | None = None  # the end customer
    task_type: str | None = None
    task: str | None = None  # its reference within the type
    workflow: str | None = None
    profile: str | None = None
    bounds: Bounds = Bounds()
    models: tuple[str, ...] | None = None  # patterns; None: all that its identity may use
    tools: tuple[str, ...] | None = None
    outcome: SessionOutcome | None = None
    opened_with: tuple[str, ...] | None = None  # ids of credentials; None: with none of ours
    operators_only: bool = False  # an operator took something away: nobody else gives it more
    reserved: Reserved | None = None  # None: its limit in USD is a ceiling, and nothing is set aside

    def goes_on(self, now_ns: int) -> bool:
        """Whether it is neither ended nor expired."""
        return self.ended_at_ns is None and now_ns < self.expires_at_ns

    @property
    def name(self) -> str:
        """Who acts in it: an ephemeral child by its own name."""
        return self.child or self.identity

    @property
    def top(self) -> str:
        """The session at the top of its tree."""
        return self.root or self.id

    @property
    def way_on(self) -> str:
        """How whoever acted in it gets a new credential, as a sentence: a sub-agent's comes from what started it."""
        if self.parent is None:
            return f"Get a new credential: `comptroller token {self.identity}`."
        return f"Ask whoever started it (session {self.parent}) for a new one, as it was asked for this."

    @property
    def declared(self) -> Sequence[Declared]:
        """What was said at its opening, as scopes and reports name it."""
        said: tuple[tuple[DeclaredName, str | None], ...] = (
            ("subject", self.subject),
            ("tenant", self.tenant),
            ("task", self.task_key),
            ("task_type", self.task_type),
            ("workflow", self.workflow),
        )
        return tuple((name, value) for name, value in said if value is not None)

    @property
    def task_key(self) -> str | None:
        """The task as scopes and reports name it: TYPE:REFERENCE."""
        return None if self.task is None else f"{self.task_type}:{self.task}"


def state_of(session: Session, now_ns: int, *, exhausted: bool = False, suspended: bool = False) -> SessionState:
    """What a session is at this instant."""
    if session.ended_at_ns is not None:
        return "ended"
    if now_ns >= session.expires_at_ns:
        return "expired"
    if suspended:
        return "suspended"
    return "exhausted" if exhausted else "active"
