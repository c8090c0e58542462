"""A figure: what was measured, in which unit, over which rounds, and what it should be."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Aim:
    """What a figure should be: at most, or at least, so much."""

    words: str
    most: float | None = None
    least: float | None = None

    def met_by(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


@dataclass(frozen=True)
class Figure:
    """One number of a run: the median of its rounds, beside the lowest and the highest."""

    part: str
    what: str
    unit: str
    rounds: Sequence[float]
    aim: Aim | None = None
    note: str = ""
    value: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", median(self.rounds))

    @property
    def met(self) -> bool | None:
        """Whether the median is what it should be; None where nothing was asked."""
        return None if self.aim is None else self.aim.met_by(self.value)

    def as_json(self) -> dict[str, object]:
        return {
            "part": self.part,
            "what": self.what,
            "unit": self.unit,
            "median": self.value,
            "lowest": min(self.rounds),
            "highest": max(self.rounds),
            "rounds": list(self.rounds),
            "aim": None if self.aim is None else self.aim.words,
            "met": self.met,
            "note": self.note,
        }


def ratios(these: Sequence[float], those: Sequence[float]) -> list[float]:
    """Round by round, so that what slowed the machine for a while slowed both."""
    return [this / that for this, that in zip(these, those, strict=True)]
