"""The credential of a session, renewed before it ends."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from comptroller.client.gateway import Gateway

SESSIONS = "/comptroller/v1/sessions"
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

    def __init__(self, gateway: Gateway, issued: Issued, lifetime_s: int | None) -> None:
        self._gateway = gateway
        self._issued = issued
        self._lifetime_s = lifetime_s
        self._renewing = threading.Lock()
        self._last = False  # no other would be good for longer: its session ends with it

    @property
    def issued(self) -> Issued:
        return self._issued

    @property
    def due(self) -> bool:
        """True if it ends soon and another would be good for longer."""
        held = self._issued
        return not self._last and held.ends_at_s - time.time() < min(_BEFORE_S, held.lifetime_s / 2)

    def get(self) -> str:
        """One that works. Raises Refused, GatewayUnreachable if it had to be renewed and could not."""
        if self.due:
            with self._renewing:
                if self.due:
                    self._renew()
        return self._issued.credential

    def _renew(self) -> None:
        held = self._issued
        sent = {} if self._lifetime_s is None else {"lifetime_s": self._lifetime_s}
        found = Issued.of(self._gateway.ask("POST", f"{SESSIONS}/self/credential", held.credential, sent))
        self._last = found.ends_at_s <= held.ends_at_s
        self._issued = found
