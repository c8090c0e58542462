"""The credential of a session, renewed before it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

_BEFORE_S = 60.0  # a call that is sent now must still find it good; of a short life the half is enough


@dataclass(frozen=True)
class Issued:
    """A credential, the session that it is of, and when it ends."""

    credential: str
    session: str
    name: str
    """Who acts: an identity, or a sub-agent by its own name."""
    ends_at_s: float
    """Unix time."""
    lifetime_s: float

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Self:
        """From what the sessions API says (docs/reference/api.md)."""
        ends_at_s = datetime.fromisoformat(answer["expires_at"]).timestamp()
        session = answer["session"]
        return cls(answer["credential"], session["id"], session["name"], ends_at_s, ends_at_s - time.time())


class Credential:
    """The credential in use. Any thread may ask; one at a time renews."""

    def __init__(self, issued: Issued, renew: Callable[[], Issued] | None) -> None:
        self._issued = issued
        self._renew = renew  # None: whoever handed it out renews it
        self._renewing = threading.Lock()

    @property
    def issued(self) -> Issued:
        return self._issued

    @property
    def due(self) -> bool:
        """True if it ends soon, and can be renewed."""
        held = self._issued
        return self._renew is not None and held.ends_at_s - time.time() < min(_BEFORE_S, held.lifetime_s / 2)

    def get(self) -> str:
        """One that works. Raises Refused, GatewayUnreachable if it had to be renewed and could not."""
        if self.due:
            with self._renewing:
                if self._renew is not None and self.due:
                    held, self._issued = self._issued, self._renew()
                    if self._issued.ends_at_s <= held.ends_at_s:  # its session ends then: there is no longer one
                        self._renew = None
        return self._issued.credential
