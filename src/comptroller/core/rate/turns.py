"""Turns: whoever waits for a limit, in a fair order: one of each identity in turn, each identity's own as they came."""

from __future__ import annotations

from collections.abc import Iterator

MOST_WAITING = 1_000
"""For one limit. A waiting call holds its body and a connection, and the wait is short."""


class Ticket:
    """A place in the line. Compared as itself."""

    __slots__ = ("amount", "identity")

    def __init__(self, identity: str, amount: int) -> None:
        self.identity = identity
        self.amount = amount


class Turns:
    """A bounded line, served round robin by identity. An identity that waits with many delays its own alone."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._lines: dict[str, dict[Ticket, None]] = {}  # in the order in which identities are served
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def __contains__(self, ticket: Ticket) -> bool:
        return ticket in self._lines.get(ticket.identity, ())

    @property
    def first(self) -> Ticket | None:
        """Whose turn it is."""
        line = next(iter(self._lines.values()), None)
        return None if line is None else next(iter(line))

    def join(self, ticket: Ticket) -> Ticket | None:
        """Take the last place of its identity. Returns whoever has to leave for it: itself, if the line is full of
        calls of its own; else the last of the identity with the most.
        """
        line = self._lines.setdefault(ticket.identity, {})
        line[ticket] = None
        self._waiting += 1
        if self._waiting <= self._most:
            return None
        longest = max(self._lines.values(), key=len)
        leaving = ticket if len(line) == len(longest) else next(reversed(longest))
        self._remove(leaving)
        return leaving

    def serve(self, ticket: Ticket) -> None:
        """It had its turn: the next of its identity comes after one of every other."""
        if ticket in self:
            line = self._lines.pop(ticket.identity)
            self._lines[ticket.identity] = line
            self._remove(ticket)

    def leave(self, ticket: Ticket) -> None:
        """It waits no more, and had no turn."""
        if ticket in self:
            self._remove(ticket)

    def ahead(self, identity: str) -> int:
        """What is taken before one that joins now has its turn, if nobody else comes."""
        own = self._lines.get(identity, {})
        total, rounds = sum(each.amount for each in own), len(own) + 1
        for other, line in self._lines.items():
            if other == identity:
                rounds -= 1  # those who are served after this identity
            else:
                total += sum(ticket.amount for ticket in _some(line, rounds))
        return total

    def _remove(self, ticket: Ticket) -> None:
        line = self._lines[ticket.identity]
        del line[ticket]
        self._waiting -= 1
        if not line:
            del self._lines[ticket.identity]


def _some(line: dict[Ticket, None], most: int) -> Iterator[Ticket]:
    return (ticket for ticket, _ in zip(line, range(most), strict=False))
