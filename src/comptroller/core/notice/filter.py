"""Filters: which notices somebody wants to be told of."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

import msgspec

from comptroller.core.notice.event import FINDING, KINDS, SEVERITIES, Notice, Severity
from comptroller.core.problem import Fault, did_you_mean


class Wanted(msgspec.Struct, frozen=True):
    """Some name matches, it is grave enough, and all attributes of the scope match; of several values any one."""

    events: tuple[str, ...] = ("*",)
    min_severity: Severity = "info"
    scope: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])

    def matches(self, notice: Notice) -> bool:
        """Whether it is to be told. What a notice does not say of itself is in no scope that names it."""
        return (
            SEVERITIES.index(notice.severity) >= SEVERITIES.index(self.min_severity)
            and any(fnmatchcase(notice.name, pattern) for pattern in self.events)
            and all(notice.about.get(attribute) in values for attribute, values in self.scope.items())
        )


def check_pattern(pattern: str) -> None:
    """Raises Fault for a pattern that no notice can match."""
    if pattern.startswith(FINDING) or any(fnmatchcase(name, pattern) for name in KINDS):
        return
    hint = did_you_mean(pattern, KINDS) or "Write a name or a pattern such as 'budget.*'; docs/notices.md lists them."
    raise Fault(f"Nothing that people are told of matches {pattern!r}.", hint)
