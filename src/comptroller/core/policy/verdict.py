"""What the policies said, which of them determined it, and what can be done about a no."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

from comptroller.core.policy.remedy import Kind, Remedy, Step, choose

Effect = Literal["permit", "forbid"]


class Policy(msgspec.Struct, frozen=True):
    """One policy of the set."""

    id: str
    effect: Effect
    reason: str  # "" where none is given
    remedy: Remedy | None
    where: str  # FILE:LINE
    text: str


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """One decision. Denied by default; a forbid wins; an error denies, whatever else was said."""

    allowed: bool
    determining: tuple[Policy, ...]  # in the order of their files
    errors: tuple[str, ...]
    version: str  # of the policy set

    @property
    def default_deny(self) -> bool:
        """No policy forbids it, and none permits it."""
        return not (self.allowed or self.determining or self.errors)

    @property
    def ids(self) -> tuple[str, ...]:
        """The determining policies."""
        return tuple(policy.id for policy in self.determining)


def next_step(verdict: Verdict, taken: Collection[Kind]) -> Step | None:
    """The next remedy of a denial; None if it stands. `taken`: the kinds of remedies that were tried before."""
    if verdict.allowed or verdict.errors:
        return None
    return choose([(policy.id, policy.remedy) for policy in verdict.determining], taken)
