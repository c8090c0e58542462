"""What a verified session credential says. Only a verifier makes `Claims`; unverified tokens stay strings."""

from __future__ import annotations

import msgspec

from comptroller.core.ids import made_at_ns

PREFIX = "cptr_"  # so that secret scanners find it
ADMIN_PREFIX = "cptradm_"
ID_PREFIX = "crd"
AUDIENCE = "comptroller"
DEFAULT_LIFETIME_S = 8 * 3600
LONGEST_LIFETIME_S = 24 * 3600


class Claims(msgspec.Struct, frozen=True, gc=False):
    """The signed facts of a credential (RFC 7519 names in brackets)."""

    credential_id: str  # jti
    identity: str  # the path of the SPIFFE id in sub
    session: str  # sid
    issued_at_ns: int  # iat
    expires_at_ns: int  # exp
    minted_by: str  # mby


def is_credential_id(text: str) -> bool:
    """Whether a credential could have this id."""
    return text.startswith(f"{ID_PREFIX}_") and made_at_ns(text) is not None
