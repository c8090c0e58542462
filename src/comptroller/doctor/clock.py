"""The clock: budgets' windows and credentials' ends depend on it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from comptroller.core.instant import JUMP_TOLERANCE_NS, NANOS_PER_SECOND, format_instant, from_datetime
from comptroller.doctor.check import Check, fail, ok, warn
from comptroller.store.lock import Holder

_BEHIND_WARN_NS = 2 * NANOS_PER_SECOND
_MEND = "Mend the machine's time service (`timedatectl`)."


def check_clock(wall_ns: int, last_ns: int | None, holder: Holder | None) -> Iterator[Check]:
    """`last_ns`: the newest instant in the books."""
    if last_ns is not None:
        yield _against_the_books(wall_ns, last_ns)
    leapt_ns = None if holder is None else _leapt_since_start(wall_ns, holder)
    if leapt_ns is not None:
        yield _against_the_start(leapt_ns)


def _against_the_books(wall_ns: int, last_ns: int) -> Check:
    name, behind_ns = "clock.journal", last_ns - wall_ns
    if behind_ns < _BEHIND_WARN_NS:
        return ok(name, f"It is {format_instant(wall_ns)}, after everything in the books.")
    sentence = f"The clock says {format_instant(wall_ns)}, and the books go until {format_instant(last_ns)}."
    hint = f"{_MEND} Until the clock has caught up, windows and credentials end late by its lag."
    return fail(name, sentence, hint) if behind_ns > JUMP_TOLERANCE_NS else warn(name, sentence, hint)


def _against_the_start(leapt_ns: int) -> Check:
    name, seconds = "clock.jump", abs(leapt_ns) // NANOS_PER_SECOND
    if abs(leapt_ns) <= JUMP_TOLERANCE_NS:
        return ok(name, "Wall clock and monotonic clock have kept together since the gateway started.")
    direction = "ahead" if leapt_ns > 0 else "back"
    sentence = f"The wall clock has leaped {seconds} s {direction} since the gateway started."
    return warn(name, sentence, f"{_MEND} The gateway has followed it once it kept still for a minute.")


def _leapt_since_start(wall_ns: int, holder: Holder) -> int | None:
    """How much further the wall clock went than the monotonic one since the holder wrote its name; None: not known.

    The kernel keeps when a process began on the monotonic clock (proc(5): starttime, ticks since boot).
    """
    try:
        fields = Path("/proc", str(holder.pid), "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        began_s = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        started_ns = from_datetime(datetime.fromisoformat(holder.started_at))
    except (OSError, ValueError, IndexError):
        return None
    lived_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - int(began_s * NANOS_PER_SECOND)
    leapt_ns = (wall_ns - started_ns) - lived_ns
    return leapt_ns if lived_ns >= 0 else None
