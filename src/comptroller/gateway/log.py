"""Logs: one JSON object a line on standard error; facts in fields, never a secret, never a prompt."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping

from comptroller.core.instant import format_instant


def warn(event: str, fields: Mapping[str, str]) -> None:
    """Write one line. Values are cut to 500 characters."""
    line = {"at": format_instant(time.time_ns()), "event": event, **{k: v[:500] for k, v in fields.items()}}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()
