"""What a process weighs over a long run: flat, or growing."""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from tests.torture.judge import Verdict

_MIB = 1024 * 1024
_ENOUGH = 40
_GROWTH_MOST = 1.03  # a leak of 100 bytes a call is more than that in a long run


@dataclass
class Memory:
    """Resident bytes (VmRSS), weighed at even intervals."""

    weights: list[int] = field(default_factory=list[int])

    def weigh(self, pid: int) -> None:
        status = Path(f"/proc/{pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        self.weights.append(int(line.split()[1]) * 1024)

    def says(self) -> str:
        return f", {self.weights[-1] / _MIB:.1f} MiB" if self.weights else ""

    def story(self) -> str:
        """The median of each tenth of the run."""
        return " ".join(f"{median(part) / _MIB:.1f}" for part in self._parts(10))

    def verdict(self) -> Verdict:
        """Flat: once it is warm (the first half), it grows no more."""
        if len(self.weights) < _ENOUGH:
            return Verdict("memory is flat", False, f"{len(self.weights)} weighings", f"{_ENOUGH} are the least")
        quarters = [median(part) for part in self._parts(4)]
        warm, last = quarters[2], quarters[3]
        said = f"{last / _MIB:.1f} MiB in the last quarter", f"{warm / _MIB:.1f} MiB in the third"
        return Verdict("memory is flat", last <= warm * _GROWTH_MOST, *said)

    def _parts(self, count: int) -> list[list[int]]:
        edges = [round(number * len(self.weights) / count) for number in range(count + 1)]
        parts = [self.weights[low:high] for low, high in pairwise(edges)]
        return [part for part in parts if part]
