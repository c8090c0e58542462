"""Windows tile time in every zone, clock changes included."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.budget.window import Span, WindowKind, span_at
from comptroller.core.instant import NANOS_PER_SECOND, format_instant, from_datetime

KINDS: list[WindowKind] = ["hour", "day", "week", "month"]
ZONES = sorted(zoneinfo.available_timezones())


def at(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


def spoken(span: Span) -> str:
    return f"{format_instant(span.start_ns)[:16]} to {format_instant(span.end_ns or 0)[:16]}"


@pytest.mark.parametrize(
    ("kind", "zone", "instant", "window"),
    [
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00 to 2026-03-29T22:00"),  # 23 hours
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00 to 2026-10-25T23:00"),  # 25 hours
        ("month", "Europe/Berlin", "2026-11-22T12:00", "2026-10-31T23:00 to 2026-11-30T23:00"),
        ("week", "UTC", "2026-11-22T12:00", "2026-11-16T00:00 to 2026-11-23T00:00"),  # from Monday
        ("hour", "Asia/Kolkata", "2026-11-22T12:00", "2026-11-22T11:30 to 2026-11-22T12:30"),
        ("day", "America/Sao_Paulo", "2018-11-04T12:00", "2018-11-04T03:00 to 2018-11-05T02:00"),  # midnight skipped
        ("day", "America/Havana", "2026-11-01T12:00", "2026-11-01T04:00 to 2026-11-02T05:00"),  # midnight twice
        ("day", "Pacific/Apia", "2011-12-30T09:00", "2011-12-29T10:00 to 2011-12-30T10:00"),  # the day before the gap
    ],
)
def test_calendar(kind: WindowKind, zone: str, instant: str, window: str) -> None:
    assert spoken(span_at(kind, zoneinfo.ZoneInfo(zone), at(instant))) == window


def test_a_lifetime_has_no_end() -> None:
    assert span_at("lifetime", zoneinfo.ZoneInfo("UTC"), at("2026-11-22T12:00")) == Span(0, None)


@given(st.sampled_from(KINDS), st.sampled_from(ZONES), st.integers(10**9, 2 * 10**9), st.integers(0, 40))
def test_windows_tile_time(kind: WindowKind, name: str, second: int, steps: int) -> None:
    zone = zoneinfo.ZoneInfo(name)
    span = span_at(kind, zone, second * NANOS_PER_SECOND)
    assert span.contains(second * NANOS_PER_SECOND)
    for _ in range(steps):
        assert span.end_ns is not None
        following = span_at(kind, zone, span.end_ns)
        assert following.start_ns == span.end_ns
        assert span_at(kind, zone, span.end_ns - 1) == span
        span = following
