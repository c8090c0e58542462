"""Tickets: a question to a role, whether a call may do what otherwise it may not; answered once, or by nobody.

The same question of the same session has one ticket: whoever asks again finds it, and what became of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2s
from typing import Literal

import msgspec

from comptroller.core.budget.budget import Unit

PREFIX = "apr"

TicketState = Literal["requested", "escalated", "approved", "denied", "expired", "withdrawn"]
GrantBound = Literal["session", "identity", "task"]


class State(msgspec.Struct, frozen=True):
    """What every ticket in one state has in common."""

    meaning: str
    open: bool  # somebody may still answer
    leads_to: tuple[TicketState, ...]


_ANSWERS: tuple[TicketState, ...] = ("approved", "denied", "expired", "withdrawn")

TICKET_STATES: Mapping[TicketState, State] = {
    "requested": State("its role was asked", True, ("escalated", *_ANSWERS)),
    "escalated": State("nobody answered in time: the next role was asked", True, ("escalated", *_ANSWERS)),
    "approved": State("a grant was given for it", False, ()),
    "denied": State("somebody said no", False, ()),
    "expired": State("nobody answered in time, and no role is left to ask: that is a no", False, ()),
    "withdrawn": State("whoever asked does not ask any more", False, ()),
}
"""Which way leads on from each state; none leads back."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a grant comes with. `amount` is in nano-USD or a whole number, by `unit`."""

    amount: int | None = None  # None: none bounds it
    unit: Unit = "usd"
    uses: int | None = 1  # calls that may go upstream by it; None: any number
    lasts_s: int = 3600
    bound: GrantBound = "session"  # whose calls it is for


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a person could be asked about a call that is denied as it stands."""

    role: str
    policies: tuple[str, ...] = ()  # forbids marked `approval:ROLE`
    thresholds: tuple[str, ...] = ()  # budgets whose soft step is `approval:ROLE`
    budgets: tuple[str, ...] = ()  # of the role, with too little left
    reason: str
    model: str
    estimate_nanos: int | None = None
    input_tokens: int | None = None
    amount: int | None = None
    unit: Unit = "usd"


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """One question. What is asked for: to lift the forbids marked `approval:ROLE`, and budgets that the role owns."""

    id: str
    at_ns: int
    identity: str
    session: str
    task: str | None = None  # whose and which: IDENTITY:TYPE:REFERENCE
    requested_by: tuple[str, ...]  # names by which whoever asks is known: none of them may answer
    asked_role: str  # whose forbids and budgets they are
    role: str  # that answers now: the same, or one that it was escalated to
    policies: tuple[str, ...] = ()  # the ids of those forbids
    thresholds: tuple[str, ...] = ()  # budgets whose soft threshold asks for the role
    budgets: tuple[str, ...] = ()  # those that are exhausted
    reason: str = ""  # why a person is asked, in a sentence
    model: str
    dialect: str
    call_id: str  # the first that asked
    estimate_nanos: int | None = None  # of that call, at most; None: nobody knows
    input_tokens: int | None = None
    amount: int | None = None  # what approving allows if nothing else is said, in `unit`; None: no amount
    unit: Unit = "usd"
    tool: str = ""  # that is called, by its full name; "": the call is one to a model
    arguments_digest: str = ""  # keyed, of what it is called with: an approval is for these arguments alone
    arguments_bytes: int = 0
    arguments: str = ""  # as whoever answers may see them (core/approval/shown.py), while it is open and no longer
    classes: tuple[str, ...] = ()  # of the arguments: url, path, email, ...
    risks: tuple[str, ...] = ()  # of the tool
    question: str  # a digest: equal ones are the same question
    due_at_ns: int  # until then `role` may answer
    state: TicketState = "requested"
    proposed: Terms | None = None  # what a first approver agreed to, where it takes two
    proposed_by: str | None = None
    decided_at_ns: int | None = None
    decided_by: str | None = None
    said: str = ""  # why, by whoever decided
    grant: str | None = None  # the id of the one that was given for it

    @property
    def open(self) -> bool:
        return TICKET_STATES[self.state].open

    @property
    def suspends(self) -> bool:
        """Whether it asks for something that is marked `approval:ROLE`, and not for more of a budget alone."""
        return bool(self.policies or self.thresholds)

    def closed(
        self, state: TicketState, by: str, now_ns: int, *, said: str | None = None, grant: str | None = None
    ) -> Ticket:
        """As it is once nobody may answer it any more: what a tool would have been called with is let go of."""
        return msgspec.structs.replace(
            self,
            state=state,
            decided_at_ns=now_ns,
            decided_by=by,
            said=self.said if said is None else said,
            grant=grant,
            arguments="",
        )


def question_of(*asked: object) -> str:
    """A digest of what makes two questions the same."""
    return blake2s(repr(asked).encode(), digest_size=16).hexdigest()


def rounded_up(amount: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50 ...: a repeat that needs a little more asks for the same."""
    if amount <= 0:
        return 0
    step = 10 ** (len(str(amount)) - 1)
    return next(each * step for each in (1, 2, 5, 10) if each * step >= amount)
