"""Counting in plain integers: histograms as Prometheus means them, and labels that no flood can make more of."""

from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.telemetry.capped import OTHER, Capped
from comptroller.telemetry.histogram import Histogram
from comptroller.telemetry.tally import METERS, Tally, status_class

BOUNDS_S = (0.001, 0.01, 1.0)


@given(st.lists(st.integers(0, 3_000_000_000) | st.sampled_from([1_000_000, 10_000_000, 1_000_000_000])))
def test_a_histogram_counts_what_is_not_above_each_bound(durations_ns: list[int]) -> None:
    histogram = Histogram(BOUNDS_S)
    for duration_ns in durations_ns:
        histogram.observe(duration_ns)
    assert list(histogram.cumulative()) == [
        (bound, sum(duration_ns <= bound * 1e9 for duration_ns in durations_ns)) for bound in (*BOUNDS_S, float("inf"))
    ]
    assert histogram.sum_s == sum(durations_ns) / 1e9


@given(st.lists(st.tuples(st.text(max_size=3), st.sampled_from("xy"))), st.integers(1, 5))
def test_whatever_the_keys_there_are_few_and_nothing_is_lost(keys: list[tuple[str, str]], most: int) -> None:
    counts: Capped[tuple[str, ...], list[int]] = Capped(most, lambda _: [0], lambda key: (OTHER, key[1]))
    for key in keys:
        counts[key][0] += 1
    assert sum(count for (count,) in counts.values()) == len(keys)
    assert len(counts) <= most + 2
    first = list(dict.fromkeys(keys))[:most]
    assert all(counts[key] == [keys.count(key)] for key in first if key[0] != OTHER), "the first ones keep their own"


class Request:
    """A caller's request, as far as anybody counts."""

    received_ns = 0


def test_strangers_are_counted_without_a_team() -> None:
    tally = Tally(10)
    refusal = Refusal("credential_missing", "", "")
    for dialect in ("openai_chat", "openai_chat", "anthropic_messages"):
        tally.refused(Request(), dialect, "call_1", refusal, None)  # type: ignore[arg-type]
    assert tally.refusals == {
        ("", "", "openai_chat"): {"credential_missing": 2},
        ("", "", "anthropic_messages"): {"credential_missing": 1},
    }


def test_every_meter_of_a_usage_has_a_name() -> None:
    tokens = {name for name in Usage.__struct_fields__ if name.endswith("_tokens")}
    assert {f"{meter}_tokens" for meter in METERS} == {*tokens, "presumed_tokens"}
    assert len(METERS) == len(set(METERS))


def test_statuses_have_few_classes() -> None:
    assert {status_class(status) for status in (None, *range(200, 1000))} == {
        *("none", "401", "402", "403", "429"),
        *(f"{hundred}xx" for hundred in range(2, 10)),
    }
    assert (status_class(200), status_class(404), status_class(529)) == ("2xx", "4xx", "5xx")
