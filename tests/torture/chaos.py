"""What happens to the gateway itself: kills, orderly stops, raised limits, ended sessions, resumed models."""

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable

from tests.harness.gateway import GatewayFailed, GatewayProcess
from tests.torture.office import AdminOffice, Unavailable
from tests.torture.plan import Mode

RAISE_EVERY_S = 1.2
END_EVERY_S = 0.7
RESUME_EVERY_S = 0.8


class Chaos:
    """The instants come from the seed; what they meet depends on the machine."""

    def __init__(self, gateway: GatewayProcess, office: AdminOffice, seed: int, mode: Mode) -> None:
        self.kills = 0
        self.restarts = 0
        self.exit_codes: list[int] = []
        self._gateway = gateway
        self._office = office
        self._mode: Mode = mode
        self._dice = random.Random(f"{seed}/{mode}/chaos")

    def says(self) -> str:
        return f", {self.kills} kills, {self.restarts} restarts" if self._mode in {"kill", "term"} else ""

    async def go(self, stop: asyncio.Event) -> None:
        """Until the run is over; then the gateway runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(RAISE_EVERY_S, stop, self._office.raise_limits))
            group.create_task(_every(END_EVERY_S, stop, self._office.end_some_session))
            if self._mode == "overrun":
                group.create_task(_every(RESUME_EVERY_S, stop, self._office.resume_all))
            if self._mode in {"kill", "term"}:
                group.create_task(self._stop_and_start(stop))

    def last_restart(self) -> None:
        """At the end, with nothing in flight: once more as this mode does it."""
        if self._mode == "kill":
            self._gateway.kill9()
            self.kills += 1
        else:
            self.exit_codes.append(self._gateway.sigterm())
        self._start()

    async def _stop_and_start(self, stop: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._dice.uniform(0.4, 2.5))
            if stop.is_set():
                return
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
        self._gateway.start()
        self.restarts += 1

    def _wait(self, seconds: float) -> None:
        """Let the process go on for so long, if it lives so long."""
        with contextlib.suppress(GatewayFailed):
            self._gateway.wait_exit(seconds)


async def _every(seconds: float, stop: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
        if stop.is_set():
            return
        with contextlib.suppress(Unavailable):
            await act()
