"""The lines of the comparison: two values, how they must relate, and whether they do."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

from tests.real.tokens import format_usd

Value = int | str | Fraction

RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
}


@dataclass(frozen=True)
class Line:
    """One comparison, as text."""

    phase: str
    what: str
    ours: str
    relation: str
    theirs: str
    ok: bool


@dataclass
class Report:
    """All comparisons of a run; `stopped` says why the run could not go on."""

    mode: str
    stopped: str | None = None
    lines: list[Line] = field(default_factory=list)

    def compare(self, phase: str, what: str, ours: Value, relation: str, theirs: Value) -> None:
        """Add one line; it fails when `ours relation theirs` does not hold."""
        ok = RELATIONS[relation](ours, theirs)
        self.lines.append(Line(phase, what, _text(ours), relation, _text(theirs), ok))

    @property
    def failed(self) -> int:
        """How many lines fail."""
        return sum(not line.ok for line in self.lines)

    @property
    def ok(self) -> bool:
        """Whether the run came to its end and every line passed."""
        return self.stopped is None and not self.failed

    def table(self, seconds: float) -> str:
        """The lines as a table for a person."""
        rows = [[a.phase, a.what, a.ours, a.relation, a.theirs, "PASS" if a.ok else "FAIL"] for a in self.lines]
        rows.insert(0, ["phase", "what", "ours", "", "theirs", ""])
        widths = [max(len(cells[i]) for cells in rows) for i in range(6)]
        text = "\n".join(_row(cells, widths) for cells in rows)
        lines = len(self.lines)
        verdict = f"{self.failed} of {lines} FAILED" if self.failed else f"{lines} of {lines} passed"
        end = f"; the run could not go on: {self.stopped}" if self.stopped else ""
        return f"{text}\n\n{self.mode}: {verdict}, {seconds:.0f} s{end}"

    def fields(self, seconds: float) -> dict[str, Any]:
        """The same for a program."""
        lines = [asdict(line) for line in self.lines]
        took = round(seconds, 1)
        return {"mode": self.mode, "ok": self.ok, "stopped": self.stopped, "seconds": took, "lines": lines}


def _text(value: Value) -> str:
    return format_usd(value) + " USD" if isinstance(value, Fraction) else str(value)


def _row(cells: list[str], widths: list[int]) -> str:
    pairs = enumerate(zip(cells, widths, strict=True))
    aligned = [cell.rjust(width) if i == 2 else cell.ljust(width) for i, (cell, width) in pairs]
    return "  ".join(aligned).rstrip()
