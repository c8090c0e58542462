"""Bootstrap secrets: for who has nothing else to prove who it is with. Only a digest is kept."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

SECRET_PREFIX = "cptrsec_"  # noqa: S105 - so that secret scanners find it
LONGEST_SECRET_LIFE_S = 90 * 86_400
SecretState = Literal["active", "expired", "revoked"]

_ID_PREFIX = "sec_"
_FORM = re.compile(SECRET_PREFIX + r"([0-9a-z]{26})_[A-Za-z0-9_-]{43}", re.ASCII)


class BootstrapSecret(msgspec.Struct, frozen=True, gc=False):
    """What is known of a secret. It may be exchanged for a session credential any number of times until it ends."""

    id: str
    identity: str
    digest: str  # keyed, by a key that stands outside of the store
    created_at_ns: int
    created_by: str
    expires_at_ns: int
    revoked_at_ns: int | None = None
    revoked_by: str | None = None
    revoked_reason: str | None = None

    def state(self, now_ns: int) -> SecretState:
        if self.revoked_at_ns is not None:
            return "revoked"
        return "active" if now_ns < self.expires_at_ns else "expired"


def written_secret(secret_id: str, entropy: str) -> str:
    """The secret itself: its id, so that it is found by one look, and 43 random characters."""
    return f"{SECRET_PREFIX}{secret_id.removeprefix(_ID_PREFIX)}_{entropy}"


def secret_id_of(secret: str) -> str | None:
    """The id that stands in a secret; None for what is none."""
    form = _FORM.fullmatch(secret)
    return None if form is None else _ID_PREFIX + form.group(1)
