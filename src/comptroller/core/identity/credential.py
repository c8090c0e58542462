"""What a verified session credential says. Only a verifier makes `Claims`; unverified tokens stay strings."""

from __future__ import annotations

import msgspec

PREFIX = "cptr_"  # so that secret scanners find it
ADMIN_PREFIX = "cptradm_"
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
