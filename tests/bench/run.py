"""What every part of a bench works with."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import servers
from tests.bench.machine import Cores
from tests.bench.servers import Contestant


@dataclass(frozen=True)
class Bench:
    """One run: where it keeps its states, what it may take, how it says what it does, and who takes part."""

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
    stack: ExitStack  # ends whoever was started
    _running: dict[str, Contestant] = field(default_factory=dict[str, Contestant])

    def ours(self, durability: str) -> Contestant:
        """The gateway, the same one for every part that is content with one which has worked before."""
        folder = self.folder / durability
        return self._started(
            durability,
            lambda: servers.comptroller(folder, self.provider_port, self.cores, durability=durability),
        )

    def nginx(self) -> list[Contestant]:
        """nginx, if it is installed."""
        if servers.nginx_program() is None:
            return []
        folder = self.folder / "nginx"
        return [self._started("nginx", lambda: servers.nginx(folder, self.provider_port, self.cores))]

    def _started(self, name: str, start: Callable[[], AbstractContextManager[Contestant]]) -> Contestant:
        if name not in self._running:
            self._running[name] = self.stack.enter_context(start())
        return self._running[name]
