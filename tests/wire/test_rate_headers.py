"""The headers of rates, in the words that each family of clients reads."""

import pytest

from comptroller.core.instant import NANOS_PER_SECOND as SECOND
from comptroller.wire.rate_headers import Told, duration, rate_headers

TOLD = (Told("calls", 10, 3, 7 * SECOND), Told("tokens", 100_000, 0, 3600 * SECOND))


def test_openai_clients_read_how_long_it_takes() -> None:
    assert dict(rate_headers("openai", TOLD, 0)) == {
        b"x-ratelimit-limit-requests": b"10",
        b"x-ratelimit-remaining-requests": b"3",
        b"x-ratelimit-reset-requests": b"7s",
        b"x-ratelimit-limit-tokens": b"100000",
        b"x-ratelimit-remaining-tokens": b"0",
        b"x-ratelimit-reset-tokens": b"1h0m0s",
    }


def test_anthropic_clients_read_when_it_is() -> None:
    assert dict(rate_headers("anthropic", TOLD[:1], 60 * SECOND)) == {
        b"anthropic-ratelimit-requests-limit": b"10",
        b"anthropic-ratelimit-requests-remaining": b"3",
        b"anthropic-ratelimit-requests-reset": b"1970-01-01T00:01:07.000Z",
    }


def test_gemini_has_no_words_for_it() -> None:
    assert not rate_headers("gemini", TOLD, 0)


@pytest.mark.parametrize(
    ("span_ns", "said"),
    [
        (0, "0ms"),
        (1, "1ms"),
        (20_000_000, "20ms"),
        (SECOND, "1s"),
        (1_500_000_000, "1.5s"),
        (1_005_000_000, "1.005s"),
        (360 * SECOND, "6m0s"),
        (3_723 * SECOND, "1h2m3s"),
    ],
)
def test_a_span_is_written_as_openai_writes_it(span_ns: int, said: str) -> None:
    assert duration(span_ns) == said
