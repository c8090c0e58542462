"""The tools that runs have used: what a policy can forbid a chain by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

_NO_RUNS: Mapping[str, Iterable[str]] = MappingProxyType({})


class ToolsUsed:
    """By the session at the top of a run: every tool that was let through in it, by its full name.

    A run knows as many as its servers have listed, and is forgotten with its sessions.
    """

    def __init__(self, before: Mapping[str, Iterable[str]] = _NO_RUNS) -> None:
        """`before`: what runs that go on used before this process began."""
        self._runs = {top: tuple(sorted(tools)) for top, tools in before.items()}

    def of(self, top: str) -> tuple[str, ...]:
        """In the order of their names."""
        return self._runs.get(top, ())

    def add(self, top: str, tool: str) -> None:
        """A call of it begins: whatever is decided from now on knows."""
        known = self._runs.get(top, ())
        if tool not in known:
            self._runs[top] = tuple(sorted((*known, tool)))

    def forget(self, top: str) -> None:
        """Nothing of that run goes on."""
        self._runs.pop(top, None)
