"""What is too much, what is said about it, and what the inputs of a session come to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.estimate import Asked, Lines, ModelLimits
from comptroller.core.pricing.input_counts import Count, InputCounts, expected, in_all, is_text
from comptroller.core.work.context import MEASURES, Carried, Limits, excesses, needs_outline, refused
from comptroller.core.work.outline import Outline
from comptroller.core.work.stored import Earlier

OUTLINE = Outline(bytes=9_000, messages=120, tools=46, largest_tool_result_bytes=48_211, largest_tool="read_file")
CARRIED = Carried(tokens=61_300, growth=9_000, session=2_000_100, bytes=245_200, images=7, outline=OUTLINE)
LEAST = "; the largest of read_file has 48,211 bytes"


@pytest.mark.parametrize(
    ("limits", "sentence", "hint"),
    [
        (
            {"input_tokens": 50_000},
            "The request has about 61,300 input tokens, and the context cap c allows 50,000.",
            "Cut at least 11,300 tokens, about the oldest 23 of 120 messages: the oldest messages, or long results of "
            f"tools{LEAST}.",
        ),
        (
            {"bytes": 200_000},
            "The request has 245,200 bytes, and the context cap c allows 200,000.",
            f"Cut at least 45,200 bytes: the oldest messages, or long results of tools{LEAST}.",
        ),
        (
            {"messages": 100},
            "The request has 120 messages, and the context cap c allows 100.",
            "Leave out at least 20 of the oldest, each tool call with its result.",
        ),
        (
            {"tools": 40},
            "The request has 46 tool definitions, and the context cap c allows 40.",
            "Offer at most 40 tools: leave out at least 6.",
        ),
        (
            {"tool_result_bytes": 20_000},
            "The request has 48,211 bytes in one tool result, and the context cap c allows 20,000.",
            f"Shorten every result to 20,000 bytes{LEAST}.",
        ),
        ({"images": 5}, "The request has 7 images, and the context cap c allows 5.", "Leave out at least 2 images."),
        (
            {"growth_tokens": 5_000},
            "The request has about 9,000 input tokens more than the largest request of its session before, and the "
            "context cap c allows 5,000.",
            f"Add at least 4,000 tokens less in one turn{LEAST}.",
        ),
        (
            {"session_tokens": 2_000_000},
            "The request has about 2,000,100 input tokens in all requests of its session together, and the context "
            "cap c allows 2,000,000.",
            "Start a new session, and give it a summary of what this one has come to.",
        ),
    ],
)
def test_a_refusal_says_what_to_cut(limits: dict[str, int], sentence: str, hint: str) -> None:
    (excess,) = excesses(Limits(**limits), CARRIED)
    refusal = refused("c", excess, CARRIED)
    assert (refusal.code, refusal.status, refusal.limit) == ("context_too_large", 413, "c")
    assert (refusal.sentence, refusal.hint) == (sentence, hint)
    ((measure, most),) = limits.items()
    assert (refusal.remaining, refusal.needed) == (str(most), str(CARRIED.of(measure)))  # type: ignore[arg-type]


def test_as_much_as_it_may_is_not_too_much() -> None:
    same = {measure: CARRIED.of(measure) for measure in MEASURES}
    assert list(excesses(Limits(**same), CARRIED)) == []
    less = {measure: most - 1 for measure, most in same.items() if most}
    assert [excess.measure for excess in excesses(Limits(**less), CARRIED)] == list(MEASURES)


def test_what_nobody_knows_is_too_much_of_tokens_and_of_nothing_else() -> None:
    unknown = Carried(tokens=None, growth=None, session=None, bytes=1, images=0, unknown=("a document",))
    limits = Limits(input_tokens=10**9, bytes=9, growth_tokens=1, session_tokens=10**9, messages=1)
    assert [excess.measure for excess in excesses(limits, unknown)] == ["input_tokens", "session_tokens"]
    refusal = refused("c", next(excesses(limits, unknown)), unknown)
    assert refusal.sentence.startswith("The request has input that nothing bounds")
    assert refusal.hint == "Leave out what is not in the body: a document."
    assert refusal.needed is None


@pytest.mark.parametrize("measure", MEASURES)
def test_an_outline_is_made_only_for_what_needs_one(measure: str) -> None:
    assert needs_outline(Limits(**{measure: 1})) == (measure in {"messages", "tools", "tool_result_bytes"})


def asked(text: int, **more: Any) -> Asked:
    return Asked("m", False, text, **more)


def test_a_byte_is_worth_what_the_last_answer_of_the_session_was_billed_for_it() -> None:
    counts = InputCounts()
    assert expected(asked(3_000), None, counts.of("s")) == 1_000
    taken = counts.take("s", asked(3_000))
    counts.end("s", taken, 600, 3_000)
    assert counts.of("s") == Count(600, 600, 200_000)
    assert expected(asked(5_000), None, counts.of("s")) == 1_000
    assert expected(asked(5_000), None, counts.of("other")) == 1_667
    counts.forget("s")
    assert counts.of("s") == Count()


@pytest.mark.parametrize("billed", [1, 50_000])
def test_no_report_is_believed_that_cannot_be_true(billed: int) -> None:
    counts = InputCounts()
    counts.end("s", counts.take("s", asked(3_000)), billed, 3_000)
    assert 3_000 // 16 <= (expected(asked(3_000), None, counts.of("s")) or 0) <= 3_000


@pytest.mark.parametrize(
    ("request_", "limits", "tokens"),
    [
        (asked(3_000, images=2), None, 1_000 + 2 * 1_600),
        (asked(3_000, images=2), ModelLimits(10, max_image_tokens=100), 1_200),
        (asked(3_000, earlier=(Earlier("m", 700),)), None, 1_700),
        (asked(3_000, earlier=(Earlier("m", None),)), None, None),
        (asked(3_000, unbounded=("a document",)), None, None),
        (asked(3_000, unbounded=("a document",)), ModelLimits(10, context_window=128_000), 128_000),
        (asked(3_000, unbounded=("a search",), fees=("a search",)), ModelLimits(10, context_window=128_000), None),
        (asked(9, lines=(Lines(asked(3_000), 5, 6_000, "a"), Lines(asked(300), 5, 600, "b"))), None, 1_000),
    ],
)
def test_what_an_input_comes_to(request_: Asked, limits: ModelLimits | None, tokens: int | None) -> None:
    assert expected(request_, limits, Count()) == tokens
    assert not is_text(request_)


def test_of_a_batch_all_lines_are_sent() -> None:
    batch = asked(9, lines=(Lines(asked(3_000), 5, 6_000, "a"), Lines(asked(300), 5, 600, "b")))
    assert in_all(batch, Count()) == 2_200


@given(st.lists(st.tuples(st.integers(0, 9_000), st.integers(0, 9_000)), max_size=20), st.randoms())
def test_in_the_end_a_session_has_sent_what_was_billed(calls: list[tuple[int, int]], chance: Any) -> None:
    """However many calls are under way at once, and in whatever order they end."""
    counts, under_way = InputCounts(), list[tuple[int, int]]()
    for text, billed in calls:
        under_way.append((counts.take("s", asked(text)), billed))
    assert counts.of("s").total == sum(taken for taken, _ in under_way)
    chance.shuffle(under_way)
    for taken, billed in under_way:
        counts.end("s", taken, billed)
    assert counts.of("s").total == sum(billed for _, billed in under_way)
    assert (counts.of("s").most or 0) == max((billed for _, billed in under_way), default=0)
