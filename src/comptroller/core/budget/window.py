"""Windows: the stretch of time a limit is for, computed from the calendar and never reset by a job."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from comptroller.core.instant import NANOS_PER_SECOND, from_datetime, to_datetime

WindowKind = Literal["hour", "day", "week", "month", "lifetime"]

_HOUR_NS = 3600 * NANOS_PER_SECOND


class Span(msgspec.Struct, frozen=True, gc=False):
    """From `start_ns` up to, not including, `end_ns`; no end for a lifetime."""

    start_ns: int
    end_ns: int | None

    def contains(self, instant_ns: int) -> bool:
        return self.start_ns <= instant_ns and (self.end_ns is None or instant_ns < self.end_ns)


def span_at(kind: WindowKind, zone: ZoneInfo, instant_ns: int) -> Span:
    """The window of this kind in this time zone that contains the instant.

    Days, weeks (from Monday) and months begin at local midnight, so a day of a clock change has 23 or 25
    hours. Hours are real hours, cut where the zone's minute is zero at the day's own offset.
    """
    if kind == "lifetime":
        return Span(0, None)
    local = to_datetime(instant_ns).astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    if kind == "hour":
        day = _midnight_ns(midnight, zone)
        start_ns = day + (instant_ns - day) // _HOUR_NS * _HOUR_NS
        return Span(start_ns, min(start_ns + _HOUR_NS, _midnight_ns(midnight + timedelta(days=1), zone)))
    first, following = _days(kind, midnight)
    return Span(_midnight_ns(first, zone), _midnight_ns(following, zone))


def _days(kind: WindowKind, midnight: datetime) -> tuple[datetime, datetime]:
    if kind == "day":
        return midnight, midnight + timedelta(days=1)
    if kind == "week":
        monday = midnight - timedelta(days=midnight.weekday())
        return monday, monday + timedelta(days=7)
    first = midnight.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1)


def _midnight_ns(midnight: datetime, zone: ZoneInfo) -> int:
    """The first instant of a local day. Where the clock skips midnight, the day begins when it skips."""
    return from_datetime(midnight.replace(tzinfo=zone).astimezone(to_datetime(0).tzinfo))
