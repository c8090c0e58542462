"""What every part of a bench works with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import Cores


@dataclass(frozen=True)
class Bench:
    """One run: where it keeps its states, what it may take, and how it says what it does."""

    folder: Path
    cores: Cores
    provider_port: int
    rounds: int
    round_s: float
    warm_up_s: float
    quick: bool
    identities: Sequence[int]  # sizes of registries
    most_identities: int
    past_calls: int  # recorded before the measurement
    kept: Path | None  # where stores with a long past are kept for the next run
    say: Callable[[str], None]
