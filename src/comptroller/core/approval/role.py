"""Roles: who is asked to approve, for how long, and who is asked then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comptroller.core.identity.admin import INCLUDES, Role

ANSWER_WITHIN_S = 3600
LONGEST_S = 24 * 3600
MOST_USES = 100


class ApprovalRole(msgspec.Struct, frozen=True):
    """The role of `approval:ROLE`: one [approvals.ROLE] table. One that has no table is as this is by default."""

    name: str
    approvers: tuple[str, ...] | None = None  # names of admins; None: whoever may approve at all
    escalate_to: str | None = None  # the role that is asked next; None: then it is denied
    answer_within_s: int = ANSWER_WITHIN_S
    four_eyes_above_nanos: int | None = None  # a grant of more, or of no amount, takes two; None: one is enough
    max_uses: int = MOST_USES
    longest_s: int = LONGEST_S  # that a grant may last

    def has(self, admin: str, role: Role) -> bool:
        """Whether an admin of this name and admin role answers for it."""
        return "approver" in INCLUDES[role] and (self.approvers is None or admin in self.approvers)

    def takes_two(self, usd_nanos: int | None) -> bool:
        """Whether a grant of so much takes a second approver. None: a grant that no amount bounds."""
        most = self.four_eyes_above_nanos
        return most is not None and (usd_nanos is None or usd_nanos > most)


Roles = Mapping[str, ApprovalRole]
"""Those that have a table, by name."""


def role_of(roles: Roles, name: str) -> ApprovalRole:
    """The role of this name, as its table says or by default."""
    return roles.get(name) or ApprovalRole(name)


def way_up(roles: Roles, name: str) -> Sequence[str]:
    """The role, the one that is asked after it, and so on: each once."""
    found: dict[str, None] = {}
    following: str | None = name
    while following is not None and following not in found:
        found[following] = None
        following = role_of(roles, following).escalate_to
    return tuple(found)
