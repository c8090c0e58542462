"""The callers that are remembered between calls: by their credentials' ids, and by any session of their chains."""

from __future__ import annotations

from collections.abc import Collection

from comptroller.flow.caller import Caller

_MOST = 50_000


class Callers:
    """What is forgotten is only made again, from the registry and the sessions as they are then."""

    def __init__(self) -> None:
        self._known: dict[str, Caller] = {}
        self._below: dict[str, set[str]] = {}  # the ids of credentials, by each session of their chains

    def get(self, credential_id: str) -> Caller | None:
        return self._known.get(credential_id)

    @property
    def credentials(self) -> Collection[str]:
        """The ids of their credentials."""
        return self._known.keys()

    def remember(self, caller: Caller) -> None:
        if len(self._known) >= _MOST:
            self.clear()
        credential_id = caller.claims.credential_id
        self._known[credential_id] = caller
        for session in caller.lineage:
            self._below.setdefault(session, set()).add(credential_id)

    def forget_below(self, session: str) -> None:
        """All who act in this session or below it."""
        for credential_id in self._below.pop(session, ()):
            caller = self._known.pop(credential_id)
            for other in caller.lineage:
                if other != session:
                    self._leave(other, credential_id)

    def clear(self) -> None:
        self._known.clear()
        self._below.clear()

    def _leave(self, session: str, credential_id: str) -> None:
        known = self._below[session]
        known.discard(credential_id)
        if not known:
            del self._below[session]
