"""Slots: so many calls at once."""

from __future__ import annotations

from comptroller.core.budget.budget import label
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.rate.rate import Rate
from comptroller.core.rate.turns import Turns


class Slot:
    """The place of one call. It is given back once, whoever says so first."""

    __slots__ = ("_open", "_slots")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._open = True

    def end(self, _amount: int | None) -> None:
        """The call has ended, however."""
        if self._open:
            self._open = False
            self._slots.taken -= 1


class Slots:
    """One instance of a limit on calls at once."""

    __slots__ = ("burst", "instance", "rate", "taken", "tokens", "turns")

    def __init__(self, rate: Rate, instance: str) -> None:
        self.rate = rate
        self.burst = rate.burst
        self.tokens = False
        self.instance = instance
        self.turns = Turns()
        self.taken = 0

    @property
    def label(self) -> str:
        """How a person reads it."""
        return label(self.rate.name, self.instance)

    def fits(self, _amount: int, _now_ns: int) -> bool:
        return self.taken < self.burst

    def free_at(self, amount: int, ahead: int, now_ns: int) -> int:
        """Nobody knows when a call ends: look again in a second."""
        return now_ns if not ahead and self.fits(amount, now_ns) else now_ns + NANOS_PER_SECOND

    def full_at(self, now_ns: int) -> int:
        """When no slot is taken any more, on the same guess."""
        return now_ns + NANOS_PER_SECOND if self.taken else now_ns

    def take(self, _amount: int, _now_ns: int) -> Slot:
        self.taken += 1
        return Slot(self)

    def used(self, _now_ns: int) -> int:
        return self.taken

    def remaining(self, _now_ns: int) -> int:
        return max(0, self.burst - self.taken)

    def idle(self, _now_ns: int) -> bool:
        """Whether a new one would be the same."""
        return not self.taken and not self.turns

    def change(self, rate: Rate, _now_ns: int) -> None:
        """Another limit from now on. Whoever is in stays in."""
        self.rate, self.burst = rate, rate.burst
