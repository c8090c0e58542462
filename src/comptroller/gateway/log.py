"""Logs: one JSON object a line on standard error; facts in fields, never a secret, never a prompt."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping

from comptroller.core.instant import format_instant


class Log:
    """Writes lines, and counts them by event."""

    def __init__(self) -> None:
        self.lines: defaultdict[str, int] = defaultdict(int)

    def say(self, event: str, fields: Mapping[str, str]) -> None:
        """Write one line. Values are cut to 500 characters.

        A line that cannot be written is lost and nothing else: a full disk is where calls must be refused, not fail.
        """
        self.lines[event] += 1
        line = {"at": format_instant(time.time_ns()), "event": event, **{k: v[:500] for k, v in fields.items()}}
        with contextlib.suppress(OSError):
            sys.stderr.write(json.dumps(line) + "\n")
            sys.stderr.flush()
