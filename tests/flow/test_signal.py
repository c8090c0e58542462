"""What an attempt says of its provider."""

import pytest

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.routing.health import Signal
from comptroller.flow.outcome import Outcome
from comptroller.flow.signal import said_wait_ns, signal_of

NOW = 1_795_341_600 * NANOS_PER_SECOND  # Sun, 22 Nov 2026 10:00:00 GMT

ENDS: list[tuple[Outcome, int | None, bool, Signal]] = [
    ("completed", 200, False, "answered"),
    ("client_gone", 200, False, "answered"),
    ("client_gone", None, False, "nothing"),
    ("stopped", None, False, "nothing"),
    ("drained", 200, False, "answered"),
    ("ledger_unavailable", None, False, "nothing"),
    ("fault", None, False, "nothing"),
    ("provider_unreachable", None, False, "failed"),
    ("provider_timeout", None, False, "failed"),
    ("provider_timeout", 200, False, "failed"),
    ("provider_cut", 200, False, "failed"),
    ("provider_error", 200, False, "failed"),
    ("provider_malformed", 200, False, "failed"),
    ("provider_refused", 400, False, "answered"),
    ("provider_refused", 404, True, "answered"),
    ("provider_refused", 401, False, "credential refused"),
    ("provider_refused", 402, False, "credential refused"),
    ("provider_refused", 403, True, "credential refused"),
    ("provider_refused", 429, False, "failed"),
    ("provider_refused", 429, True, "told to wait"),
    ("provider_refused", 529, True, "told to wait"),
    ("provider_error", 503, True, "told to wait"),
    ("provider_error", 500, False, "failed"),
    ("provider_error", 302, False, "failed"),
    ("provider_error", 700, False, "failed"),
]


@pytest.mark.parametrize(("outcome", "status", "said_wait", "signal"), ENDS)
def test_what_an_end_says(outcome: Outcome, status: int | None, said_wait: bool, signal: Signal) -> None:
    assert signal_of(outcome, status, said_wait=said_wait) == signal


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (b"7", 7),
        (b" 0 ", 0),
        (b"1.5", 1.5),
        (b"Sun, 22 Nov 2026 10:00:30 GMT", 30),
        (b"Sun, 22 Nov 2026 09:00:00 GMT", 0),
        (b"-1", None),
        (b"nan", None),
        (b"1e999", None),
        (b"soon", None),
        (b"\xff", None),
        (b"Sun, 99 Nov 2026 10:00:30 GMT", None),
        (b"", None),
    ],
)
def test_how_long_it_asks_us_to_wait(value: bytes, wait_s: float | None) -> None:
    found = said_wait_ns([(b"x-request-id", b"1"), (b"retry-after", value)], NOW)
    assert found == (None if wait_s is None else int(wait_s * NANOS_PER_SECOND))


def test_milliseconds_are_more_exact() -> None:
    said = [(b"retry-after", b"1"), (b"retry-after-ms", b"250")]
    assert said_wait_ns(said, NOW) == NANOS_PER_SECOND // 4
    assert said_wait_ns([(b"retry-after-ms", b"Sun, 22 Nov 2026 10:00:30 GMT")], NOW) is None


def test_nothing_said_is_no_time() -> None:
    assert said_wait_ns([], NOW) is None
