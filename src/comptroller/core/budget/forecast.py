"""Run-out forecasts: whether a window, at its pace, has spent its limit before it ends.

The pace is the mean of two: what was posted since the window began, and what was posted lately. A burst that is over
counts half, and so does a quiet beginning. Nothing is said before a quarter of the window has passed.
"""

from __future__ import annotations

import msgspec

from comptroller.core.budget.window import Span

LEAST_SHARE = 4  # of a window must have passed: one of so many
LATELY = 10  # `lately` is one of so many parts of a window


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What was posted in a window at an instant."""

    at_ns: int
    posted: int


def lately_ns(span: Span) -> int:
    """How long `lately` is; 0 for a window without an end."""
    return 0 if span.end_ns is None else (span.end_ns - span.start_ns) // LATELY


def run_out_ns(span: Span, limit: int, now: Seen, before: Seen | None) -> int | None:
    """When it will have run out, if that is before its end and not yet.

    `before`: how it stood about `lately_ns` ago; None: nobody knows, and the pace is that of the whole window.
    """
    if span.end_ns is None or not 0 < now.posted < limit:
        return None
    passed_ns = now.at_ns - span.start_ns
    if passed_ns * LEAST_SHARE < span.end_ns - span.start_ns or now.at_ns >= span.end_ns:
        return None
    # Amount per 2 * passed_ns * since_ns, in whole numbers: no amount is ever a float.
    left = limit - now.posted
    if before is None or before.at_ns >= now.at_ns:
        needed_ns = left * passed_ns // now.posted
    else:
        since_ns = now.at_ns - before.at_ns
        pace = now.posted * since_ns + max(0, now.posted - before.posted) * passed_ns
        needed_ns = left * 2 * passed_ns * since_ns // pace
    run_out = now.at_ns + needed_ns
    return run_out if run_out < span.end_ns else None
