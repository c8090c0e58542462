"""What a verified session credential says. Only a verifier makes `Claims`; unverified tokens stay strings."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.core.ids import made_at_ns, spiffe_id

PREFIX = "cptr_"  # so that secret scanners find it
ADMIN_PREFIX = "cptradm_"
ID_PREFIX = "crd"
AUDIENCE = "comptroller"
DEFAULT_LIFETIME_S = 8 * 3600
LONGEST_LIFETIME_S = 24 * 3600


class Claims(msgspec.Struct, frozen=True, gc=False):
    """The signed facts of a credential (RFC 7519 names in brackets)."""

    credential_id: str  # jti
    identity: str  # the path of the SPIFFE id in act.sub, or in sub where nobody acts for another
    session: str  # sid
    issued_at_ns: int  # iat
    expires_at_ns: int  # exp
    minted_by: str  # mby


class Actor(msgspec.Struct, frozen=True, gc=False):
    """One of a chain of sessions: the identity that answers for it, and the name of an ephemeral child of that."""

    identity: str
    name: str | None = None


class Act(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claim `act` (RFC 8693 section 4.1): who acts, and inside of it who started that one, and so on."""

    sub: str
    name: str | None = None  # ours, of an ephemeral child
    act: Act | None = None


def act_of(trust_domain: str, actors: Sequence[Actor]) -> Act | None:
    """The claim for these, who acts now first; None for nobody."""
    act: Act | None = None
    for actor in reversed(actors):
        act = Act(spiffe_id(trust_domain, actor.identity), actor.name, act)
    return act


def is_credential_id(text: str) -> bool:
    """Whether a credential could have this id."""
    return text.startswith(f"{ID_PREFIX}_") and made_at_ns(text) is not None
