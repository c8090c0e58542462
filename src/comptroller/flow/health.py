"""How the providers stand, by what became of attempts at them (core/routing/health.py has the rule)."""

from __future__ import annotations

from comptroller.core.routing.health import Health, Signal

_WELL = Health()


class Healths:
    """The health of every provider. One entry of the settings has one key, so this is the health of the key, too."""

    def __init__(self) -> None:
        self._unwell: dict[str, Health] = {}

    def of(self, provider: str) -> Health:
        return self._unwell.get(provider, _WELL)

    def well(self, provider: str) -> bool:
        """Whether nothing is known against it."""
        return provider not in self._unwell

    def usable(self, provider: str, now_ns: int) -> bool:
        """Whether calls should go there before they go to one that is aside."""
        health = self._unwell.get(provider)
        return health is None or health.usable(now_ns)

    def aside(self, now_ns: int) -> frozenset[str]:
        """The providers that no further attempt goes to."""
        return frozenset(name for name, health in self._unwell.items() if not health.usable(now_ns))

    def begun(self, provider: str, now_ns: int) -> None:
        """An attempt at it begins."""
        health = self._unwell.get(provider)
        if health is not None:
            self._unwell[provider] = health.begun(now_ns)

    def heard(self, provider: str) -> None:
        """The head of an answer of it has come."""
        health = self._unwell.get(provider)
        if health is not None:
            self._unwell[provider] = health.heard()

    def ended(self, provider: str, signal: Signal, now_ns: int, wait_ns: int = 0) -> tuple[Health, Health]:
        """An attempt at it has ended like this. Returns how it stood, and how it stands now."""
        before = self._unwell.get(provider, _WELL)
        after = before.after(signal, now_ns, wait_ns)
        if after is before:
            return before, after
        if after == _WELL:
            self._unwell.pop(provider, None)
        else:
            self._unwell[provider] = after
        return before, after
