"""Sessions of the older era of MCP: an id that a server gives is good for whoever it was given to, and nobody else.

In memory and bounded. After a restart nobody's id is known: clients then begin anew, as the specification wants it.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

MOST = 10_000  # of more, those that were used longest ago are forgotten
LONGEST_ID = 256


class Bound(msgspec.Struct, frozen=True, gc=False):
    """Whose an id is."""

    server: str
    session: str  # of ours
    elicits: bool = False  # the client said that it can ask its user


class McpSessions:
    """By the id that the server gave."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._bound = OrderedDict[str, Bound]()

    def bind(self, mcp_session: str, bound: Bound) -> None:
        """A server has given this id. One that somebody else has already is nobody's from now on."""
        if not mcp_session or len(mcp_session) > LONGEST_ID:
            return
        known = self._bound.get(mcp_session)
        if known is not None and (known.server, known.session) != (bound.server, bound.session):
            bound = Bound("", "")
        self._bound[mcp_session] = bound
        self._bound.move_to_end(mcp_session)
        if len(self._bound) > self._most:
            self._bound.popitem(last=False)

    def find(self, mcp_session: str, server: str, session: str) -> Bound | None:
        """What is known of an id, for the session of ours that it was given to."""
        found = self._bound.get(mcp_session)
        if found is None or (found.server, found.session) != (server, session):
            return None
        self._bound.move_to_end(mcp_session)
        return found

    def end(self, mcp_session: str) -> None:
        """Its client has ended it."""
        self._bound.pop(mcp_session, None)
