"""What happens to the gateway itself: kills, orderly ends, raised limits, ended sessions, stops, resumed models."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from tests.harness.gateway import GatewayFailed, GatewayProcess
from tests.sandbox.process import SandboxProcess
from tests.torture.office import AdminOffice, Unavailable
from tests.torture.world import Mode

RAISE_EVERY_S = 1.2
END_EVERY_S = 0.7
SOAK_END_EVERY_S = 20.0
STOP_EVERY_S = 0.8
RESUME_EVERY_S = 0.8
AGAIN_S = 0.2
LONGEST_TROUBLE_S = 3.0
START_TRIES = 4


class Chaos:
    """The instants come from the seed; what they meet depends on the machine."""

    def __init__(
        self, gateway: GatewayProcess, sandbox: SandboxProcess, office: AdminOffice, seed: int, mode: Mode
    ) -> None:
        self.kills = 0
        self.restarts = 0
        self.troubles: Counter[str] = Counter()
        self.exit_codes: list[int] = []
        self._gateway = gateway
        self._sandbox = sandbox
        self._office = office
        self._mode: Mode = mode
        self._dice = random.Random(f"{seed}/{mode}/chaos")
        self._trouble_dice = random.Random(f"{seed}/{mode}/trouble")

    def says(self) -> str:
        return f", {self.kills} kills, {self.restarts} restarts" if self._mode in {"kill", "term"} else ""

    async def go(self, stop: asyncio.Event) -> None:
        """Until the run is over; then the gateway runs."""
        if self._mode == "soak":
            return await _every(SOAK_END_EVERY_S, stop, self._office.end_some_session)
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(RAISE_EVERY_S, stop, self._office.raise_limits))
            group.create_task(_every(END_EVERY_S, stop, self._office.end_some_session))
            group.create_task(self._make_trouble(stop))
            if self._mode != "overrun":  # there we must hear the end of every answer
                group.create_task(_every(STOP_EVERY_S, stop, self._office.stop_something))
            if self._mode == "overrun":
                group.create_task(_every(RESUME_EVERY_S, stop, self._office.resume_all))
            if self._mode in {"kill", "term"}:
                group.create_task(self._stop_and_start(stop))
        return await _in_the_end(self._office.lift_stops)

    async def _make_trouble(self, stop: asyncio.Event) -> None:
        """Now and then a locked store, or a process that stands still."""
        dice = self._trouble_dice
        kinds = {"locks of the store": self._lock, "frozen provider": self._freeze_provider}
        if self._mode != "overrun":  # there we must hear the end of every answer
            kinds["frozen gateway"] = self._freeze_gateway
        while await goes_on(stop, dice.uniform(1.0, 4.0)):
            kind, seconds = dice.choice(list(kinds)), dice.uniform(0.2, LONGEST_TROUBLE_S)
            await asyncio.to_thread(kinds[kind], seconds)
            self.troubles[kind] += 1

    def _lock(self, seconds: float) -> None:
        """Somebody else writes to the store: a backup, a curious person."""
        path = self._gateway.state / "comptroller.db"
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(path, timeout=5)) as db:
            db.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)  # sleep: how long the store is locked
            db.execute("ROLLBACK")

    def _freeze_provider(self, seconds: float) -> None:
        _freeze(self._sandbox.pid, seconds)

    def _freeze_gateway(self, seconds: float) -> None:
        """Shorter: what the provider `visible` generates meanwhile must stay within its tail."""
        _freeze(self._gateway.pid, seconds / 3)

    def last_restart(self) -> None:
        """At the end, with nothing in flight: once more as this mode does it."""
        if self._mode == "kill":
            self._gateway.kill9()
            self.kills += 1
        else:
            self.exit_codes.append(self._gateway.sigterm())
        self._start()

    async def _stop_and_start(self, stop: asyncio.Event) -> None:
        while await goes_on(stop, self._dice.uniform(0.4, 2.5)):
            act = self._kill if self._mode == "kill" else self._terminate
            await asyncio.to_thread(act)

    def _kill(self) -> None:
        """At once; sometimes in the middle of a drain, sometimes again while it starts."""
        drains, again = self._dice.random() < 0.2, self._dice.random() < 0.3
        wait_s, startup_s = self._dice.uniform(0, 0.8), self._dice.uniform(0.05, 1.5)
        if drains:
            self._gateway.signal(signal.SIGTERM)
            self._wait(wait_s)
        self._gateway.kill9()
        self.kills += 1
        if again:
            self._gateway.spawn()
            self._wait(startup_s)
            self._gateway.kill9()
            self.kills += 1
        self._start()

    def _terminate(self) -> None:
        self.exit_codes.append(self._gateway.sigterm())
        self._start()

    def _start(self) -> None:
        """As a supervisor does: a start that meets a locked store is tried again."""
        for _ in range(START_TRIES):
            try:
                self._gateway.start()
                break
            except GatewayFailed as failure:
                if (
                    self._gateway.running
                    or "database is locked" not in str(failure).rpartition("comptroller listens")[2]
                ):
                    raise
        self.restarts += 1

    def _wait(self, seconds: float) -> None:
        """Let the process go on for so long, if it lives so long."""
        with contextlib.suppress(GatewayFailed):
            self._gateway.wait_exit(seconds)


async def _every(seconds: float, stop: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
    wait_s = seconds
    while await goes_on(stop, wait_s):
        try:
            await act()
            wait_s = seconds
        except Unavailable:
            wait_s = AGAIN_S


async def _in_the_end(act: Callable[[], Awaitable[None]]) -> None:
    """Until it is done: the run itself has an end."""
    while True:
        try:
            return await act()
        except Unavailable:
            await asyncio.sleep(AGAIN_S)  # sleep: until the gateway is back


def _freeze(pid: int, seconds: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)  # sleep: how long the process stands still
        os.kill(pid, signal.SIGCONT)


async def goes_on(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so long; False when the run is over."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return not stop.is_set()
