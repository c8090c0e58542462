"""The log: one JSON object a line on standard error; facts in fields, never a secret, never a prompt.

Whatever a value holds, a line stays one line of ASCII: control characters, line separators and colours are escaped.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol

from comptroller.core.instant import format_instant
from comptroller.telemetry.events import EVENTS, SEVERITIES, Severity

Value = str | int | float | bool
CHARACTERS_MOST = 500  # of a value


class Lines(Protocol):
    """Wherever lines go (line_writer.py)."""

    def write(self, line: bytes) -> None: ...


class Log:
    """Writes lines that are grave enough, and counts all of them by event."""

    def __init__(
        self,
        lines: Lines,
        *,
        least: Severity = "info",
        lines_per_s: int = 1000,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        self._lines = lines
        self._wall_ns = wall_ns
        self._least = SEVERITIES[least][0]
        self._paces: defaultdict[str, _Pace] = defaultdict(lambda: _Pace(lines_per_s))

    def say(self, event: str, fields: Mapping[str, Value], severity: Severity | None = None) -> None:
        """Write a line about an event of events.py. Text is cut to 500 characters.

        Of one event at most so many lines are written in a second; the next one says how many were left out.
        """
        self.counts[event] += 1
        rank, text = SEVERITIES[severity or EVENTS[event].severity]
        if rank < self._least:
            return
        now_ns = self._wall_ns()
        left_out = self._paces[event].let_through(now_ns // 1_000_000_000)
        if left_out is None:
            return
        line: dict[str, Value] = {"timestamp": format_instant(now_ns), "severity": text, "event.name": event}
        for name, value in fields.items():
            line[name] = value[:CHARACTERS_MOST] if isinstance(value, str) else value
        if left_out:
            line["comptroller.log.left_out"] = left_out
        self._lines.write(json.dumps(line).encode() + b"\n")


class _Pace:
    """At most so many in one second of the clock."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = 0
        self._let = 0
        self._left_out = 0

    def let_through(self, second: int) -> int | None:
        """How many were left out since the last that was let through; None if this one is left out, too."""
        if second != self._second:
            self._second, self._let = second, 0
        if self._let >= self._most:
            self._left_out += 1
            return None
        self._let += 1
        left_out, self._left_out = self._left_out, 0
        return left_out
