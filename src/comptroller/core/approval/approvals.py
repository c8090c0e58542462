"""The tickets and grants of one process: those that are open or in force, and answers that still stand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import GrantBound, Ticket

OPEN_MOST = 10_000  # tickets that wait for an answer, of everybody
OPEN_OF_ONE = 20  # and of one identity
_STANDS_NS = {"denied": 3600 * 1_000_000_000, "expired": 60 * 1_000_000_000}
_ANSWERED_MOST = 10_000

GrantKey = tuple[GrantBound, str]


class Approvals:
    """What memory holds. The store has all there ever were."""

    __slots__ = ("_answered", "_by_key", "_by_question", "_grants", "_open", "_open_of", "behind", "known_as")

    def __init__(self) -> None:
        self._open: dict[str, Ticket] = {}
        self._answered: dict[str, Ticket] = {}  # the oldest answer first
        self._by_question: dict[str, str] = {}  # the last ticket of a question
        self._open_of: dict[str, int] = {}  # by identity
        self._grants: dict[str, Grant] = {}
        self._by_key: dict[GrantKey, tuple[Grant, ...]] = {}
        self.behind: dict[str, str] = {}  # who issued the secret by which sessions say that they were opened
        self.known_as: Callable[[str], Sequence[str]] = lambda name: (name,)  # all names of an approver

    @property
    def open_tickets(self) -> Sequence[Ticket]:
        """The oldest first."""
        return tuple(self._open.values())

    @property
    def grants(self) -> Sequence[Grant]:
        """Those that calls may use, the oldest first."""
        return tuple(self._grants.values())

    @property
    def has_grants(self) -> bool:
        return bool(self._grants)

    def ticket(self, ticket_id: str) -> Ticket | None:
        """One that is open, or was answered lately."""
        return self._open.get(ticket_id) or self._answered.get(ticket_id)

    def grant(self, grant_id: str) -> Grant | None:
        return self._grants.get(grant_id)

    def find(self, question: str, now_ns: int) -> Ticket | None:
        """The ticket of this question that whoever asks again is told of: one that is open, or a no that stands."""
        found = self.ticket(self._by_question.get(question, ""))
        if found is None or found.open:
            return found
        return found if now_ns < stands_until_ns(found) else None

    def has_room(self, identity: str) -> bool:
        """Whether one more ticket of this identity may be open."""
        return len(self._open) < OPEN_MOST and self._open_of.get(identity, 0) < OPEN_OF_ONE

    def put(self, ticket: Ticket) -> None:
        """The ticket is so from now on."""
        before = self._open.pop(ticket.id, None)
        if before is not None:
            self._count(before.identity, -1)
        self._answered.pop(ticket.id, None)
        self._by_question[ticket.question] = ticket.id
        if ticket.open:
            self._open[ticket.id] = ticket
            self._count(ticket.identity, 1)
            return
        self._answered[ticket.id] = ticket
        if len(self._answered) > _ANSWERED_MOST:
            self._forget(next(iter(self._answered)))

    def forget(self, now_ns: int) -> None:
        """Let go of answers that do not stand any more."""
        for ticket in [each for each in self._answered.values() if _kept_until_ns(each) <= now_ns]:
            self._forget(ticket.id)

    def add(self, grant: Grant) -> None:
        """Calls may use it from now on."""
        self._grants[grant.id] = grant
        self._sort(grant.key)

    def drop(self, grant_id: str) -> Grant | None:
        """No call may use it any more."""
        grant = self._grants.pop(grant_id, None)
        if grant is not None:
            self._sort(grant.key)
        return grant

    def applying(
        self, keys: Collection[GrantKey], role: str, now_ns: int, tool: str = "", arguments_digest: str = ""
    ) -> Sequence[Grant]:
        """Grants of a role for whoever has these keys, the one that ends first coming first: for a call of a tool with
        these arguments, or for one to a model.
        """
        found = [each for key in keys for each in self._by_key.get(key, ()) if each.role == role]
        in_time = [each for each in found if now_ns < each.expires_at_ns and each.is_for(tool, arguments_digest)]
        return sorted(in_time, key=lambda each: (each.expires_at_ns, each.id)) if len(in_time) > 1 else in_time

    def held_by(self, keys: Collection[GrantKey], now_ns: int) -> Sequence[Grant]:
        """Grants of any role for whoever has these keys."""
        return [each for key in keys for each in self._by_key.get(key, ()) if now_ns < each.expires_at_ns]

    def open_of(self, sessions: Collection[str]) -> Sequence[Ticket]:
        """What these sessions wait for."""
        return [ticket for ticket in self._open.values() if ticket.session in sessions]

    def by_others(self, grants: Collection[Grant], asking: Collection[str]) -> Sequence[Grant]:
        """Those that nobody gave who asks, by whatever name: nobody approves their own calls, however it came about."""
        known = {each.casefold() for each in asking}
        return [each for each in grants if known.isdisjoint(self._givers(each))]

    def _givers(self, grant: Grant) -> Collection[str]:
        people = (grant.approver,) if grant.second is None else (grant.approver, grant.second)
        return {name.casefold() for each in people for name in self.known_as(each)}

    def _sort(self, key: GrantKey) -> None:
        found = tuple(each for each in self._grants.values() if each.key == key)
        if found:
            self._by_key[key] = found
        else:
            self._by_key.pop(key, None)

    def _count(self, identity: str, more: int) -> None:
        left = self._open_of.get(identity, 0) + more
        if left:
            self._open_of[identity] = left
        else:
            self._open_of.pop(identity, None)

    def _forget(self, ticket_id: str) -> None:
        ticket = self._answered.pop(ticket_id)
        if self._by_question.get(ticket.question) == ticket_id:
            del self._by_question[ticket.question]


def stands_until_ns(ticket: Ticket) -> int:
    """Until then whoever asks the same again is told the same: for a while after a no, and after nothing else."""
    return (ticket.decided_at_ns or 0) + _STANDS_NS.get(ticket.state, 0)


def _kept_until_ns(ticket: Ticket) -> int:
    """So long memory can say what became of it."""
    return (ticket.decided_at_ns or 0) + max(_STANDS_NS.values())
