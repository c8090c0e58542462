"""Instants: whole nanoseconds since the Unix epoch, and the one rule by which our time moves.

Our time never runs back, and a leap of the wall clock opens no new budget window until it has proved
itself. The rule is given clock readings; it never takes one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NANOS_PER_SECOND = 1_000_000_000
QUARTER_HOUR_NS = 900 * NANOS_PER_SECOND  # every time zone in use begins its hours and days on one
DAY_NS = 86_400 * NANOS_PER_SECOND
JUMP_TOLERANCE_NS = 300 * NANOS_PER_SECOND
AGREEMENT_NS = 60 * NANOS_PER_SECOND
AGREEMENT_TOLERANCE_NS = 2 * NANOS_PER_SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(instant_ns: int) -> datetime:
    """An aware UTC datetime, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=instant_ns // 1000)


def from_datetime(moment: datetime) -> int:
    """Nanoseconds since the epoch of an aware datetime; exact to the microsecond."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def format_instant(instant_ns: int) -> str:
    """RFC 3339 in UTC with milliseconds, such as 2026-11-22T05:47:11.042Z."""
    return to_datetime(instant_ns).strftime("%Y-%m-%dT%H:%M:%S.") + f"{instant_ns // 1_000_000 % 1000:03d}Z"


class TimeKeeper:
    """now = max(wall, last journalled), a nanosecond later on each reading; stands while a leap is unproved.

    A leap is a change of (wall - monotonic) by more than 5 minutes. It is believed once the wall clock
    has kept its new distance for a minute. Across a restart there is no monotonic clock to compare
    with, so the first reading is believed as it is.
    """

    def __init__(self, last_journalled_ns: int = 0) -> None:
        self._now_ns = last_journalled_ns
        self._offset_ns: int | None = None
        self._candidate_ns: int | None = None
        self._candidate_since_ns = 0

    @property
    def last_ns(self) -> int:
        """The instant that was used last."""
        return self._now_ns

    @property
    def leaping(self) -> bool:
        """True while a leap of the wall clock is not yet believed."""
        return self._candidate_ns is not None

    def now(self, wall_ns: int, monotonic_ns: int) -> int:
        """The instant to use, from one reading of each clock (nanoseconds)."""
        offset_ns = wall_ns - monotonic_ns
        known_ns = self._offset_ns
        steady = known_ns is not None and -JUMP_TOLERANCE_NS <= offset_ns - known_ns <= JUMP_TOLERANCE_NS
        if steady or self._believes(offset_ns, monotonic_ns):
            self._offset_ns = offset_ns
            self._candidate_ns = None
            self._now_ns = max(wall_ns, self._now_ns + 1)
        else:
            self._now_ns += 1
        return self._now_ns

    def _believes(self, offset_ns: int, monotonic_ns: int) -> bool:
        if self._offset_ns is None:
            return True
        candidate = self._candidate_ns
        if candidate is None or abs(offset_ns - candidate) > AGREEMENT_TOLERANCE_NS:
            self._candidate_ns = offset_ns
            self._candidate_since_ns = monotonic_ns
            return False
        return monotonic_ns - self._candidate_since_ns >= AGREEMENT_NS


def format_duration(seconds: int) -> str:
    """A whole number of seconds in the largest unit that says it exactly: 48 h, 90 s."""
    for name, size in (("h", 3600), ("min", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
