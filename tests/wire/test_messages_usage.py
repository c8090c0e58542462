"""What a Messages provider reports, in our meters: every token that was billed, each once."""

import json
from dataclasses import astuple, dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.usage import Usage
from comptroller.wire.anthropic_messages import Reported, read_answer, read_usage
from comptroller.wire.anthropic_messages.tiers import asked_tier, possible_tiers, tier_name
from comptroller.wire.anthropic_messages.usage import merge
from comptroller.wire.reported import MOST_TOKENS
from tests.wire.recorded import Exchange
from tests.wire.test_messages_request import MESSAGES, read

WHOLE = [exchange for exchange in MESSAGES if not exchange.stream and exchange.status == 200]


def report(usage: Any, *, hour_cache: bool = False) -> Reported:
    reported = read_usage(usage, hour_cache)
    assert reported is not None
    return reported


def counts(plain: int, made: int, *, read: int = 0, written: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "input_tokens": plain,
        "output_tokens": made,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        **more,
    }


# --- recordings ---------------------------------------------------------------------------------


@dataclass
class Bill:
    """An own, slow reading: the counts, and the rounds that are not in them."""

    plain: int
    read: int
    written: int
    made: int

    def __add__(self, other: "Bill") -> "Bill":
        return Bill(*map(sum, zip(astuple(self), astuple(other), strict=True)))


def bill(usage: Any) -> Bill:
    total = Bill(
        usage["input_tokens"],
        usage["cache_read_input_tokens"],
        usage["cache_creation_input_tokens"],
        usage["output_tokens"],
    )
    for each in usage.get("iterations", ()):
        if each["type"] in {"compaction", "advisor_message"}:
            total += bill(each)
    return total


def as_bill(usage: Usage) -> Bill:
    plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    return Bill(plain, usage.cached_tokens, usage.cache_write_tokens, usage.output_tokens)


@pytest.mark.parametrize("exchange", WHOLE, ids=lambda exchange: exchange.name)
def test_a_recorded_answer(exchange: Exchange) -> None:
    answer, recorded = read_answer(exchange.response), json.loads(exchange.response)
    said = recorded["usage"]
    assert answer.reported is not None
    assert answer.usage == answer.reported.usage
    assert as_bill(answer.reported.usage) == bill(said)
    assert answer.reported.usage.reasoning_tokens == said.get("output_tokens_details", {}).get("thinking_tokens", 0)
    assert answer.reported.usage.service_tier == "default"
    assert answer.reported.usage.cache_write_1h_tokens == 0
    assert answer.reported.server_tool_use == {k: v for k, v in said.get("server_tool_use", {}).items() if v}
    assert [(each.kind, each.model) for each in answer.reported.iterations] == [
        (each["type"], each.get("model")) for each in said.get("iterations", ())
    ]
    assert (answer.served_model, answer.malformed) == (recorded["model"], False)


def test_the_recordings_have_what_matters() -> None:
    reports = [answer for answer in map(read_answer, (each.response for each in WHOLE)) if answer.reported]
    usages = [answer.reported.usage for answer in reports if answer.reported]
    assert sum(usage.cached_tokens > 0 for usage in usages) >= 5
    assert sum(usage.cache_write_tokens > 0 for usage in usages) >= 5
    assert sum(usage.reasoning_tokens > 0 for usage in usages) >= 5
    assert sum(bool(answer.reported and answer.reported.iterations) for answer in reports) >= 4
    assert max(usage.input_tokens for usage in usages) == 494_549  # five searches: more than a context window


@pytest.mark.parametrize("exchange", [each for each in MESSAGES if each.status != 200], ids=lambda each: each.name)
def test_a_recorded_error_has_no_usage(exchange: Exchange) -> None:
    answer = read_answer(exchange.response)
    assert (answer.usage, answer.malformed) == (None, False)


# --- the cache ----------------------------------------------------------------------------------


def test_the_input_is_what_was_cached_and_what_was_not() -> None:
    usage = report(counts(3, 33, read=1_111, written=418)).usage
    assert (usage.input_tokens, usage.cached_tokens, usage.cache_write_tokens) == (1_532, 1_111, 418)
    assert (usage.output_tokens, usage.reasoning_tokens, usage.service_tier) == (33, 0, None)


def creation(minutes: Any, hour: Any) -> dict[str, Any]:
    return {"cache_creation": {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour}}


@pytest.mark.parametrize(
    ("written", "told", "hour_cache", "expected"),
    [
        (100, creation(100, 0), False, (100, 0)),
        (100, creation(0, 100), False, (100, 100)),
        (100, creation(60, 40), False, (100, 40)),
        (100, creation(None, 40), False, (100, 100)),  # what is not told goes the way that is
        (100, creation(0, 0), False, (100, 0)),  # nothing told: the usual lifetime
        (100, creation(0, 0), True, (100, 100)),  # unless the request asked for an hour
        (100, {}, True, (100, 100)),
        (100, {"cache_creation": None}, False, (100, 0)),
        (300, creation(60, 40), False, (300, 240)),
        (0, creation(60, 40), False, (100, 40)),  # the parts are more than their whole
    ],
)
def test_cache_writes_of_each_lifetime(written: int, told: Any, hour_cache: bool, expected: tuple[int, int]) -> None:
    reported = report(counts(1, 1, written=written, **told), hour_cache=hour_cache)
    assert (reported.usage.cache_write_tokens, reported.usage.cache_write_1h_tokens) == expected
    assert reported.usage.input_tokens == 1 + expected[0]


# --- rounds -------------------------------------------------------------------------------------

COMPACTION = counts(100, 83, read=55_096, type="compaction", **creation(0, 0))


def test_a_compaction_is_billed_beside_the_counts() -> None:
    """As recorded: 181 in and 8 out are said to be all, and 55,196 in and 83 out were billed with them."""
    message = counts(181, 8, type="message", **creation(0, 0))
    reported = report(counts(181, 8, iterations=[COMPACTION, message]))
    assert as_bill(reported.usage) == Bill(plain=281, read=55_096, written=0, made=91)
    assert reported.usage.input_tokens == 55_377
    assert [(each.kind, each.usage.input_tokens) for each in reported.iterations] == [
        ("compaction", 55_196),
        ("message", 181),
    ]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # the rounds of a server-side tool: the counts are their sum
        (counts(30, 3, iterations=[counts(10, 1, type="message"), counts(20, 2, type="message")]), Bill(30, 0, 0, 3)),
        # an advisor is another model, and beside the counts
        (counts(30, 3, iterations=[counts(30, 3, type="message"), counts(50, 9, type="advisor_message", model="dear")]),
         Bill(80, 0, 0, 12)),
        # a model that declined in the middle of its answer: the counts are those of the model that took over
        (counts(20, 2, iterations=[counts(10, 7, type="message", model="a"),
                                   counts(20, 2, type="fallback_message", model="b")]), Bill(30, 0, 0, 9)),
        # a compaction alone
        (counts(0, 0, iterations=[COMPACTION]), Bill(100, 55_096, 0, 83)),
        # what nobody knows yet is beside the counts
        (counts(1, 1, iterations=[counts(1, 1, type="message"), counts(5, 5, type="new_in_2027")]), Bill(6, 0, 0, 6)),
        (counts(1, 1, iterations=[counts(5, 5, type=["message"])]), Bill(6, 0, 0, 6)),
        # the counts stand where they are more than their rounds
        (counts(30, 3, iterations=[counts(10, 1, type="message")]), Bill(30, 0, 0, 3)),
        # and where they are left out
        ({"iterations": [counts(10, 1, read=2, type="message")]}, Bill(10, 2, 0, 1)),
        (counts(1, 1, iterations=[]), Bill(1, 0, 0, 1)),
        (counts(1, 1, iterations=None), Bill(1, 0, 0, 1)),
    ],
)  # fmt: skip
def test_rounds(said: Any, expected: Bill) -> None:
    assert as_bill(report(said).usage) == expected


def test_cache_writes_of_rounds() -> None:
    said = counts(1, 1, written=10, **creation(10, 0))
    round_ = counts(5, 5, written=20, type="compaction", **creation(0, 20))
    reported = report({**said, "iterations": [{**said, "type": "message"}, round_]})
    assert (reported.usage.cache_write_tokens, reported.usage.cache_write_1h_tokens) == (30, 20)


def test_who_made_a_round_is_told() -> None:
    said = counts(30, 3, service_tier="standard", iterations=[counts(50, 9, type="advisor_message", model="dear")])
    (advisor,) = report(said).iterations
    assert (advisor.kind, advisor.model, advisor.usage.service_tier) == ("advisor_message", "dear", "default")
    assert as_bill(advisor.usage) == Bill(50, 0, 0, 9)


# --- what cannot be -----------------------------------------------------------------------------

GOOD = counts(1, 2, read=3, written=4)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [-1, 1.5, "1", True, [], {}, MOST_TOKENS + 1, 10**30])
def test_a_count_that_cannot_be(name: str, value: Any) -> None:
    assert read_usage({**GOOD, name: value}) is None
    assert read_usage({**GOOD, "iterations": [{**GOOD, "type": "message", name: value}]}) is None


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
def test_a_count_that_is_missing(name: str) -> None:
    assert read_usage({**GOOD, name: None}) is None
    assert read_usage({key: value for key, value in GOOD.items() if key != name}) is None


@pytest.mark.parametrize("reported", [None, 1, "x", [], {}, {"input_tokens": 1}, {**GOOD, "iterations": {"a": 1}}])
def test_what_is_no_report(reported: Any) -> None:
    assert read_usage(reported) is None


def test_absurd_sums() -> None:
    assert read_usage({**GOOD, "iterations": [counts(MOST_TOKENS, 0, type="compaction")]}) is None


@pytest.mark.parametrize("odd", [None, 5, "x", [1], {"web_search_requests": "5"}, {"x\n": 5}, {"x": 0}, {"x": True}])
def test_odd_counts_of_tools_are_left_out(odd: Any) -> None:
    assert report({**GOOD, "server_tool_use": odd}).server_tool_use == {}
    assert report({**GOOD, "server_tool_use": {"web_search_requests": 3}}).server_tool_use == {"web_search_requests": 3}


@pytest.mark.parametrize(
    ("body", "malformed", "usage_malformed"),
    [
        (b"", True, False),
        (b"oops", True, False),
        (b"[]", True, False),
        (b"[" * 5_000, True, False),
        (b'{"usage":[]}', False, False),
        (b'{"usage":{}}', False, False),
        (b'{"usage":{"input_tokens":1}}', False, True),
        (b'{"usage":5}', False, True),
        (b"{}", False, False),
    ],
)
def test_an_answer_without_usage(body: bytes, malformed: bool, usage_malformed: bool) -> None:
    answer = read_answer(body)
    assert (answer.usage, answer.malformed, answer.usage_malformed) == (None, malformed, usage_malformed)


# --- tiers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "tier"),
    [
        ({}, None),
        ({"service_tier": None, "speed": None}, None),
        ({"service_tier": "standard"}, "default"),
        ({"service_tier": "standard", "inference_geo": "global", "speed": "standard"}, "default"),
        ({"service_tier": "standard", "inference_geo": "not_available"}, "default"),
        ({"service_tier": "priority"}, "priority"),
        ({"service_tier": "batch"}, "batch"),
        ({"service_tier": "standard", "speed": "fast"}, "fast"),
        ({"service_tier": "standard", "inference_geo": "us"}, "us"),
        ({"service_tier": "priority", "inference_geo": "us"}, "priority-us"),
        ({"speed": "fast", "inference_geo": "us"}, "fast-us"),
        ({"speed": "new"}, "new"),
        ({"service_tier": 5, "speed": ["fast"], "inference_geo": "a\nb"}, None),
    ],
)
def test_the_tier_that_was_used(said: Any, tier: str | None) -> None:
    assert report({**GOOD, **said}).usage.service_tier == tier


@pytest.mark.parametrize(
    ("fields", "asked", "possible"),
    [
        ({}, None, {"default", "priority", "us", "priority-us"}),
        ({"service_tier": "auto"}, None, {"default", "priority", "us", "priority-us"}),
        ({"service_tier": "standard_only"}, "default", {"default", "us"}),
        ({"service_tier": "standard_only", "inference_geo": "global"}, "default", {"default"}),
        ({"inference_geo": "global", "speed": "standard"}, None, {"default", "priority"}),
        ({"inference_geo": "us"}, "us", {"us", "priority-us"}),
        ({"inference_geo": "us", "service_tier": "standard_only"}, "us", {"us"}),
        ({"speed": "fast", "inference_geo": "global"}, "fast", {"fast", "default", "priority", "priority-fast"}),
        ({"speed": "fast", "inference_geo": "us", "service_tier": "standard_only"}, "fast-us", {"fast-us", "us"}),
        ({"service_tier": "priority", "inference_geo": "global"}, "priority", {"priority", "default"}),
    ],
)
def test_the_tiers_that_are_possible(fields: Any, asked: str | None, possible: set[str]) -> None:
    """Fast mode is never given to a request that does not ask for it: its price must not raise other holds."""
    request = read(**fields)
    assert request.asked.service_tier == asked
    assert request.asked.possible_tiers == possible


TIERS = st.sampled_from([None, "auto", "standard_only", "priority"])
SPEEDS = st.sampled_from([None, "standard", "fast"])
PLACES = st.sampled_from([None, "global", "us"])


@given(TIERS, SPEEDS, PLACES, st.data())
def test_a_bill_is_in_a_possible_tier(tier: str | None, speed: str | None, place: str | None, data: Any) -> None:
    possible = possible_tiers(tier, speed, place)
    used = "standard" if tier == "standard_only" else data.draw(st.sampled_from(["standard", "priority"]))
    ran = data.draw(st.sampled_from(["standard", "fast"])) if speed == "fast" else "standard"
    where = place or data.draw(st.sampled_from(["global", "us", "not_available"]))
    assert tier_name(used, ran, where) in possible
    assert asked_tier(tier, speed, place) in possible | {None}


# --- two reports of one stream ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ({"output_tokens": 9}, Bill(10, 20, 30, 9)),
        (counts(10, 9, read=20, written=30), Bill(10, 20, 30, 9)),
        (counts(700, 9, read=20, written=30), Bill(700, 20, 30, 9)),  # rounds of a server-side tool
        (counts(1, 9, read=59, written=0), Bill(1, 59, 0, 9)),  # a server that only guessed at the head
        (counts(0, 9), Bill(10, 20, 30, 9)),  # no call has no input
        ({"output_tokens": 9, "cache_read_input_tokens": None}, Bill(10, 20, 30, 9)),
        (counts(181, 8, iterations=[COMPACTION, counts(181, 8, type="message")]), Bill(281, 55_096, 0, 91)),
        ({"output_tokens": 8, "iterations": [COMPACTION, counts(181, 8, type="message")]}, Bill(281, 55_096, 0, 91)),
    ],
)
def test_the_later_report_stands(later: Any, expected: Bill) -> None:
    earlier = counts(10, 1, read=20, written=30, service_tier="standard")
    merged = report(merge(earlier, later))
    assert as_bill(merged.usage) == expected
    assert merged.usage.service_tier == "default"


COUNTS = st.integers(0, 1_000) | st.none() | st.integers()
REPORTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys([*GOOD, "x"], COUNTS),
        "cache_creation": st.none() | st.dictionaries(st.sampled_from(list(creation(0, 0)["cache_creation"])), COUNTS),
        "iterations": st.none() | st.lists(st.dictionaries(st.sampled_from([*GOOD, "type"]), COUNTS), max_size=3),
        "service_tier": st.none() | st.text(),
    },
)


@given(REPORTS, REPORTS)
def test_any_reports_are_read_or_are_none(earlier: Any, later: Any) -> None:
    for said in (earlier, later, merge(earlier, later)):
        reported = read_usage(said)
        if reported is not None:
            usage = reported.usage
            assert usage.input_tokens >= usage.cached_tokens + usage.cache_write_tokens
            assert usage.cache_write_tokens >= reported.usage.cache_write_1h_tokens >= 0
            assert usage.total_tokens >= sum(each.usage.output_tokens for each in reported.iterations)
            for each in reported.iterations:
                assert each.usage.input_tokens <= usage.input_tokens
