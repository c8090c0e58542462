"""What every part of a bench works with."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import servers
from tests.bench.machine import Cores, wait_quiet
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
    smoke: bool  # once through everything: numbers mean nothing, so nothing is warmed up or waited for
    identities: Sequence[int]  # sizes of registries
    most_identities: int
    past_calls: int  # recorded before the measurement
    kept: Path | None  # where stores with a long past are kept for the next run
    say: Callable[[str], None]
    stack: ExitStack  # ends whoever was started
    _running: dict[str, Contestant] = field(default_factory=dict[str, Contestant])

    def catch_up(self, contestant: Contestant) -> None:
        """Let it do what it put off: that belongs to the calls which caused it."""
        if contestant.puts_off and not self.smoke:
            wait_quiet(contestant.pid)

    def warm_up(self, contestants: Sequence[Contestant], load: Callable[[Contestant, float], object]) -> None:
        """Load each of them for a while that does not count."""
        for each in () if self.smoke else contestants:
            load(each, self.warm_up_s)
            self.catch_up(each)

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
