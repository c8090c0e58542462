"""Stops: which calls they match, which of several a caller is told, and what it is told."""

import pytest

from comptroller.core.refusal import REFUSALS
from comptroller.core.work.stop import EVERYTHING, Acting, Stop, StopKey, Stops, refusal_of, stop_keys

CHILD = Acting("ses_child", "agent/ant", "ann@acme.example", "red", "customer-7", ("crd_0",), "main:eve")
ROOT = Acting("ses_root", "agent/bee", "bob@acme.example", "blue", "customer-7")
KEYS = stop_keys((CHILD, ROOT), "crd_1")
AT_NS = 1_795_326_431_042_000_000  # 2026-11-22

# In the order in which a caller is told of them.
MATCHING: tuple[StopKey, ...] = (
    ("credential", "crd_1"),
    ("credential", "crd_0"),
    ("session", "ses_child"),
    ("session", "ses_root"),
    ("identity", "agent/ant"),
    ("identity", "agent/bee"),
    ("owner", "ann@acme.example"),
    ("owner", "bob@acme.example"),
    ("team", "red"),
    ("team", "blue"),
    ("subject", "main:eve"),
    ("tenant", "customer-7"),
    EVERYTHING,
)
OTHERS: tuple[StopKey, ...] = (
    ("credential", "crd_2"),
    ("session", "ses_other"),
    ("session", "crd_1"),
    ("identity", "agent/an"),
    ("owner", "red"),
    ("team", "ann@acme.example"),
    ("subject", "customer-7"),
    ("tenant", "customer-8"),
    ("model", "agent/ant"),
    ("provider", "red"),
)


def stop(key: StopKey, **known: object) -> Stop:
    scope, value = key
    made = {"kind": "suspend", "at_ns": AT_NS, "actor": "dana", "reason": "a leak"} | known
    return Stop(f"stp_{scope}_{value}", scope, value, **made)  # type: ignore[arg-type]


def test_the_keys_of_a_chain_are_all_that_can_stop_it() -> None:
    assert KEYS == MATCHING


@pytest.mark.parametrize("key", MATCHING)
def test_what_matches_stops_the_next_call_and_the_one_in_flight(key: StopKey) -> None:
    made = stop(key)
    assert Stops([made]).applies(KEYS) is made
    assert made.matches_call(KEYS, "sandbox", "sandbox-large")


@pytest.mark.parametrize("key", OTHERS)
def test_what_does_not_match_stops_nothing(key: StopKey) -> None:
    made = stop(key)
    assert Stops([made]).applies(KEYS) is None
    assert not made.matches_call(KEYS, "sandbox", "sandbox-large")


def test_a_caller_is_told_what_is_most_about_it() -> None:
    stops = Stops(stop(key) for key in reversed((*MATCHING, *OTHERS)))
    for key in MATCHING:
        told = stops.applies(KEYS)
        assert told is not None
        assert told.key == key
        stops = stops.without(told)
    assert stops.applies(KEYS) is None
    assert len(stops) == len(OTHERS)


def test_a_root_is_not_stopped_with_what_it_started() -> None:
    assert Stops([stop(("session", "ses_child"))]).applies(stop_keys((ROOT,), "crd_9")) is None


@pytest.mark.parametrize(
    ("value", "stopped"),
    [
        ("gpt-large", {"gpt-large"}),
        ("gpt-*", {"gpt-large", "gpt-small"}),
        ("*", {"gpt-large", "gpt-small", "meta/llama"}),
        ("meta/*", {"meta/llama"}),
        ("gpt-?arge", {"gpt-large"}),
        ("GPT-*", set()),
    ],
)
def test_a_model_is_stopped_as_it_is_called_by_name_or_by_pattern(value: str, stopped: set[str]) -> None:
    made = stop(("model", value))
    stops, names = Stops([made]), ("gpt-large", "gpt-small", "meta/llama")
    assert {name for name in names if stops.applies_to_model(name) is not None} == stopped
    assert {name for name in names if made.matches_call(KEYS, "sandbox", name)} == stopped


def test_the_closest_stop_of_a_model_is_told() -> None:
    stops = Stops(stop(("model", value)) for value in ("*", "gpt-*", "gpt-large", "gpt-l*"))
    told = [stops.applies_to_model(name) for name in ("gpt-large", "gpt-lean", "gpt-small", "o9")]
    assert [each.value for each in told if each] == ["gpt-large", "gpt-l*", "gpt-*", "*"]


def test_a_provider_is_stopped_by_its_name() -> None:
    made = stop(("provider", "sandbox"))
    assert Stops([made]).applies_to_provider("sandbox") is made
    assert Stops([made]).applies_to_provider("other") is None
    assert made.matches_call((), "sandbox", "any")
    assert not made.matches_call((), "other", "any")


def test_another_value_is_made_of_stops_and_the_old_one_stays() -> None:
    none = Stops()
    one = none.with_stop(stop(("team", "red")))
    assert (len(none), len(one), len(one.without(stop(("team", "red"))))) == (0, 1, 0)
    assert none.applies_to_model("gpt-large") is None
    assert one.with_stop(stop(("model", "gpt-*"))).applies_to_model("gpt-large") is not None


def test_a_refusal_says_who_when_why_and_the_way_on() -> None:
    refusal = refusal_of(stop(("team", "red")))
    assert refusal.sentence == "The team red was suspended by dana at 2026-11-22T05:47:11.042Z: a leak."
    assert refusal.hint == "Ask dana; an operator lifts it with `comptroller resume team red --reason ...`."
    assert refusal_of(stop(("model", "gpt-*"))).hint.endswith("`comptroller resume model 'gpt-*' --reason ...`.")
    assert refusal_of(stop(EVERYTHING)).sentence.startswith("Everything was suspended by dana")
    assert "`comptroller resume everything --reason ...`" in refusal_of(stop(EVERYTHING)).hint
    by_rule = refusal_of(stop(("session", "ses_1"), kind="quarantine", actor="rule:looping"))
    assert by_rule.sentence.startswith("The session ses_1 was quarantined by rule:looping at ")
    assert by_rule.hint.startswith("Ask whoever runs the gateway;")
    cut = refusal_of(stop(("session", "ses_1")), in_flight=True)
    assert cut.message.startswith("This call was stopped in flight. The session ses_1 was suspended by dana at ")
    assert "is charged" in cut.hint


@pytest.mark.parametrize("key", [*MATCHING, ("model", "m"), ("provider", "p")])
def test_every_refusal_of_a_stop_ends_retries(key: StopKey) -> None:
    kind = REFUSALS[refusal_of(stop(key)).code]
    assert (kind.status, kind.transient) == (402, False)
