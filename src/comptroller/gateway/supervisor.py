"""Telling the service manager how the process is: ready, alive, stopping (systemd's protocol, sd_notify(3))."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress

_MICROS_PER_SECOND = 1_000_000


class Supervisor:
    """Whoever started us and wants to know. Where nobody does, everything here does nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path  # @: a name without a file
        micros = environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._patience_s = int(micros) / _MICROS_PER_SECOND if micros.isdecimal() and ours else 0.0

    def say(self, state: str) -> None:
        """`READY=1`, `STOPPING=1`, `WATCHDOG=1`. A manager that does not listen is no reason to stop."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), self._address)

    async def keep_alive(self) -> None:
        """Say twice in the manager's patience that we live: that the loop of the calls goes round."""
        while self._address and self._patience_s:
            self.say("WATCHDOG=1")
            await asyncio.sleep(self._patience_s / 2)
