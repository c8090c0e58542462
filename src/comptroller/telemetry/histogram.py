"""A histogram of durations in plain integers: one bisection and two additions for each observation."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from comptroller.core.instant import NANOS_PER_SECOND


class Histogram:
    """Counts durations by upper bounds. One thread observes; any may read.

    `bounds_s`: rising, in seconds; a last bucket takes what is above them all.
    """

    __slots__ = ("_bounds_ns", "_bounds_s", "_counts", "_sum_ns")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = tuple(bounds_s)
        self._bounds_ns = tuple(round(bound * NANOS_PER_SECOND) for bound in bounds_s)
        self._counts = [0] * (len(self._bounds_ns) + 1)
        self._sum_ns = 0

    def observe(self, duration_ns: int) -> None:
        self._counts[bisect_left(self._bounds_ns, duration_ns)] += 1
        self._sum_ns += duration_ns

    @property
    def sum_s(self) -> float:
        return self._sum_ns / NANOS_PER_SECOND

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Each upper bound in seconds with how many were not above it; the last bound is infinite."""
        total = 0
        for bound, count in zip((*self._bounds_s, float("inf")), tuple(self._counts), strict=True):
            total += count
            yield bound, total
