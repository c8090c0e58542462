"""One bounded run of one identity."""

from __future__ import annotations

import msgspec


class Session(msgspec.Struct, frozen=True, gc=False):
    """A session as it was opened. Ended sessions never come back."""

    id: str
    identity: str
    credential: str  # the id (jti) of the credential that it was opened with
    opened_at_ns: int
    expires_at_ns: int
    minted_by: str
    ended_at_ns: int | None = None
    ended_by: str | None = None
    ended_reason: str | None = None

    def goes_on(self, now_ns: int) -> bool:
        """Whether it is neither ended nor expired."""
        return self.ended_at_ns is None and now_ns < self.expires_at_ns
