"""The runs of this process: which sessions are open, whose children they are, and when each was last at work.

A session of `Gate.sessions` is as it stands in the books; here is what follows from all of them together, and what
changes with every call. Ancestors are at work while their descendants are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush

import msgspec

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.work.session import Session

_NEVER_NS = 2**62
_STALE_MOST = 100  # entries of the heap that nobody waits for


class Pulse:
    """When a session was last at work, and how many calls of its tree are in flight."""

    __slots__ = ("at_ns", "due_ns", "live")

    def __init__(self, at_ns: int) -> None:
        self.at_ns = at_ns
        self.live = 0
        self.due_ns = _NEVER_NS  # when it is looked at next


class Runs:
    """What follows from the sessions of a gate, which it looks at and never changes."""

    def __init__(self, sessions: Mapping[str, Session]) -> None:
        self._sessions = sessions
        self._pulses: dict[str, Pulse] = {}
        self._children: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self._tops: defaultdict[str, dict[str, None]] = defaultdict(dict)  # open ones without a parent, by identity
        self._trees: Counter[str] = Counter()  # sessions that are known, by the top of their tree
        self._dues: list[tuple[int, str]] = []  # a heap: when to look at which session

    def begin(self, session: Session, at_work_ns: int) -> None:
        """A session is open from now on. `at_work_ns`: when it was last at work, or now."""
        self._pulses[session.id] = Pulse(at_work_ns)
        if session.parent is not None:
            self._children[session.parent][session.id] = None
        elif session.ended_at_ns is None:
            self._tops[session.identity][session.id] = None
        self._trees[session.top] += 1
        self.rearm(session)

    def rearm(self, session: Session) -> None:
        """Its bounds are others: look at it when those say, if that is earlier."""
        pulse, due_ns = self._pulses.get(session.id), self._due_ns(session)
        if pulse is not None and due_ns < pulse.due_ns:
            self._look_at(session.id, pulse, due_ns)

    def over(self, session: Session) -> None:
        """It goes on no more: it is nobody's open child."""
        if session.parent in self._children:
            self._children[session.parent].pop(session.id, None)
        tops = self._tops.get(session.identity, {})
        tops.pop(session.id, None)
        if not tops:
            self._tops.pop(session.identity, None)

    def forget(self, session: Session) -> None:
        """It is over, and nobody asks for it any more."""
        if self._pulses.pop(session.id, None) is not None:
            self._trees[session.top] -= 1
            if not self._trees[session.top]:
                del self._trees[session.top]
        self._children.pop(session.id, None)
        self.over(session)

    def open_tops(self, identity: str, most: int, now_ns: int, subject: str | None = None) -> int:
        """How many sessions without a parent an identity has open, or a number below `most`.

        `subject`: only those on behalf of this one count.
        """
        known = self._tops.get(identity, {})
        if len(known) < most:
            return len(known)
        sessions = [self._sessions[each] for each in known if each in self._sessions]
        return sum(each.goes_on(now_ns) and subject in {None, each.subject} for each in sessions)

    def in_tree(self, root: str) -> int:
        """How many sessions of a tree are known."""
        return self._trees[root]

    def pulse(self, session_id: str, now_ns: int) -> Pulse:
        """Of a session that is not open: one that nobody else looks at."""
        return self._pulses.get(session_id) or Pulse(now_ns)

    def lineage(self, session: Session) -> Sequence[Session]:
        """The session, its parent, and so on; the root last. An ancestor that nobody knows stands there as over."""
        line = [session]
        while (parent := line[-1].parent) is not None:
            line.append(self._sessions.get(parent) or _unknown(parent, line[-1]))
        return line

    def children(self, session_id: str) -> Sequence[Session]:
        """Those that were opened by it and are not known to be over."""
        known = self._children.get(session_id, {})
        return [self._sessions[child] for child in known if child in self._sessions]

    def descendants(self, session_id: str) -> Sequence[Session]:
        """Its children, theirs, and so on; parents first."""
        found = list(self.children(session_id))
        for session in found:  # grows while it is walked
            found.extend(self.children(session.id))
        return found

    def outliving(self, session: Session) -> Sequence[Session]:
        """Those below it that would go on after its end, as they are when they end with it."""
        ends_ns = session.expires_at_ns
        longer = [each for each in self.descendants(session.id) if each.expires_at_ns > ends_ns]
        return [msgspec.structs.replace(each, expires_at_ns=ends_ns) for each in longer]

    def past(self, now_ns: int) -> Iterator[Session]:
        """The open sessions that are idle or past their end now, each once; ancestors may come after descendants."""
        while self._dues and self._dues[0][0] <= now_ns:
            due_ns, session_id = heappop(self._dues)
            session, pulse = self._sessions.get(session_id), self._pulses.get(session_id)
            if session is None or pulse is None or session.ended_at_ns is not None or pulse.due_ns != due_ns:
                continue
            if not session.goes_on(now_ns) or self._is_idle(session, now_ns):
                yield session
            else:
                self._look_at(session_id, pulse, max(self._due_ns(session), now_ns + NANOS_PER_SECOND))

    def _look_at(self, session_id: str, pulse: Pulse, due_ns: int) -> None:
        """Look at it then, and not at any other time. What the heap holds beside that is let go of now and then."""
        pulse.due_ns = due_ns
        heappush(self._dues, (due_ns, session_id))
        if len(self._dues) > 2 * len(self._pulses) + _STALE_MOST:
            self._dues = [(each.due_ns, known) for known, each in self._pulses.items()]
            heapify(self._dues)

    def _is_idle(self, session: Session, now_ns: int) -> bool:
        """Whether nothing has happened in it for as long as its bound allows."""
        idle_s = session.bounds.idle_s
        pulse = self._pulses.get(session.id)
        if idle_s is None or pulse is None:
            return False
        return not pulse.live and now_ns - pulse.at_ns >= idle_s * NANOS_PER_SECOND

    def _due_ns(self, session: Session) -> int:
        """When it is idle or past its end, if nothing happens in it."""
        idle_s, pulse = session.bounds.idle_s, self._pulses.get(session.id)
        if idle_s is None or pulse is None:
            return session.expires_at_ns
        return min(session.expires_at_ns, pulse.at_ns + idle_s * NANOS_PER_SECOND)


def _unknown(session_id: str, below: Session) -> Session:
    """One of which nothing is known but what stood below it. It was over before that began: nothing acts below it."""
    return msgspec.structs.replace(below, id=session_id, parent=None, expires_at_ns=0)
