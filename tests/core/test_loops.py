"""Loops: each shape is stopped and said, and normal work of every shape goes on."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from random import Random
from sys import getsizeof
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.detection.loop_answer import Loop
from comptroller.core.detection.loop_rule import SIGNALS, UNSAID, LoopRule, Signal
from comptroller.core.detection.loops import WINDOW, Rally, Sign, Trail, fingerprint
from comptroller.core.work.outline import Step
from tests.core.loop_runs import NORMAL, RULE, Heard, Session, prose, said, template_bot, told

PLAN = "Read the report of the last quarter, find the three largest costs, and say for each of them who ordered it."
NEAR = msgspec.structs.replace(RULE, similar_step=5)
STRICT = msgspec.structs.replace(NEAR, warn_only=())


def identical() -> Iterator[Step]:
    return (said(PLAN) for _ in count())


def stamped() -> Iterator[Step]:
    return (said(f"[2026-11-22T10:{number // 60:02}:{number % 60:02}Z] {PLAN}") for number in count())


def same_answer() -> Iterator[Step]:
    return (told("status", '{"job":7}', "still running") for _ in count())


def answer_with_ids() -> Iterator[Step]:
    return (told("status", '{"job":7}', f"nothing found (request {number:032x})") for number in count(10**20))


def same_error() -> Iterator[Step]:
    return (told("fetch", '{"url":"a"}', f"503 after {number} ms", failed=True) for number in count(100))


def alternating() -> Iterator[Step]:
    return (said(f"{PLAN} {'plan' if number % 2 else 'do'}") for number in count())


def circle_of_five() -> Iterator[Step]:
    return (told("look", f'{{"at":"{"abcde"[number % 5]}"}}', "nothing here") for number in count())


def replanned() -> Iterator[Step]:
    for number in count(1):
        yield told("book", f'{{"attempt":{number}}}', "429 Too Many Requests", failed=True)
        yield said(f"Attempt {number} has failed. Plan again how to book the room for the meeting.")


def reworded() -> Iterator[Step]:
    random = Random(7)
    words = f"{PLAN} {PLAN.replace('quarter', 'year')} {prose(random, 60, 60)}".split()
    return (said(" ".join([*words[:-1], f"{number}th"])) for number in count())


# What is heard first, and at which call; the call that is refused first.
SHAPES: dict[Callable[[], Iterator[Step]], tuple[Signal, int, int]] = {
    identical: ("same_step", 6, 8),
    stamped: ("same_step", 6, 8),
    same_answer: ("same_step", 6, 8),
    answer_with_ids: ("same_step", 6, 8),
    same_error: ("same_error", 3, 3),
    alternating: ("same_step", 11, 15),
    circle_of_five: ("same_step", 30, 32),
    replanned: ("error_replan", 11, 15),
}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_each_shape_is_warned_about_and_then_refused(shape: Callable[[], Iterator[Step]]) -> None:
    signal, first, refused = SHAPES[shape]
    session = Session(NEAR)
    heard, signals = list[Heard](), list[Signal | None]()
    for step in islice(shape(), 60):
        heard.append(session.take(step))
        signals.append(session.last.sign.signal if session.last else None)
    assert (signals.index(signal) + 1, heard.index("refuse") + 1) == (first, refused)
    assert signals[refused - 1] == signal
    assert set(heard[refused - 1 :]) == {"refuse"}, "what is refused does not count, and so stays refused"


def test_the_steps_of_the_answer_come_in_turn() -> None:
    assert Session().all(islice(identical(), 9)) == ["", "", "", "", "", "warn", "slow", "refuse", "refuse"]


def test_near_matches_only_warn_where_nothing_else_is_said() -> None:
    assert set(Session(NEAR).all(islice(reworded(), 30))) == {"", "warn"}
    assert "refuse" in Session(STRICT).all(islice(reworded(), 30))


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_signal_that_is_off_says_nothing(signal: Signal) -> None:
    off = msgspec.structs.replace(STRICT, **{signal: None})
    for shape in (*SHAPES, reworded):
        session = Session(off)
        for step in islice(shape(), 40):
            session.take(step)
            assert session.last is None or session.last.sign.signal != signal


def test_something_new_ends_the_loop_and_it_may_begin_anew() -> None:
    session = Session()
    assert session.all(islice(identical(), 8))[-1] == "refuse"
    assert session.trail.tries == 1
    assert session.take(told("search", '{"query":"costs"}', "three rows")) == ""
    assert session.trail.tries == 0
    assert session.all(islice(identical(), 7)) == ["", "", "", "", "warn", "slow", "refuse"]


def test_an_error_that_comes_after_work_that_was_done_begins_anew() -> None:
    failing = told("test", '{"path":"tests"}', "1 failed", failed=True)
    session = Session()
    for number in range(20):
        assert session.take(failing) == ""
        assert session.take(told("edit", f'{{"line":{number}}}', f"line {number} is {'ab'[number % 2] * number}")) == ""


def test_equal_calls_at_the_same_time_are_one_step() -> None:
    trail, mark = Trail(), fingerprint(said(PLAN), RULE)
    assert mark is not None
    for _ in range(4):
        counts = [trail.begin(mark) for _ in range(16)]
        assert counts == [True, *[False] * 15]
        for number, each in enumerate(counts):
            trail.end(mark, f"call_{number}", counts=each)
    assert trail.signs(mark, RULE) == [], "64 samples of one prompt, 16 at a time, are 4 steps"


def test_what_stands_beside_the_text_makes_another_step() -> None:
    """A picture for the same question, and the same answer to calls that nobody here knows."""
    pictures, stored = Trail(), Trail()
    ask, answer = said("What does this picture show?"), Step("tool", "ok")
    for number in range(30):
        mark = fingerprint(ask, STRICT, other=bytes([number]))
        unknown = fingerprint(answer, STRICT)
        assert mark is not None
        assert unknown is not None
        for trail, each in ((pictures, mark), (stored, unknown)):
            assert trail.signs(each, STRICT) == []
            trail.end(each, f"call_{number}", counts=trail.begin(each))


def test_what_came_to_nothing_is_no_step() -> None:
    trail, mark = Trail(), fingerprint(said(PLAN), RULE)
    assert mark is not None
    for _ in range(50):
        trail.begin(mark)
        trail.abandon(mark)
    assert trail.signs(mark, RULE) == []


def test_cost_that_rises_without_more_output_is_told() -> None:
    steps = [told("plan", f'{{"turn":{turn % 7}}}', f"noted {turn % 7}") for turn in range(40)]
    rule = msgspec.structs.replace(RULE, same_step=None)
    rising, flat, fruitful = Session(rule), Session(rule), Session(rule)
    found = set[tuple[Signal, str]]()
    for turn, step in enumerate(steps):
        rising.take(step, charge_nanos=1_000 * (turn + 1), output_tokens=40 + turn % 3)
        if rising.last is not None:
            found.add((rising.last.sign.signal, rising.last.stage))
        flat.take(step, charge_nanos=1_000, output_tokens=40)
        fruitful.take(step, charge_nanos=1_000 * (turn + 1), output_tokens=40 * (turn + 1))
        assert fruitful.last is None or fruitful.last.sign.signal != "rising_cost"
        assert flat.last is None or flat.last.sign.signal != "rising_cost"
    assert found == {("rising_cost", "warn")}


def test_two_identities_that_send_each_other_the_same_are_stopped() -> None:
    rally = Rally()
    rule = msgspec.structs.replace(STRICT, same_step=None, similar_step=None)
    ant, bee = Session(rule, rally=rally, actor="agent/ant"), Session(rule, rally=rally, actor="agent/bee")
    heard: list[Heard] = []
    for number in range(10):
        heard.append(ant.take(said(f"Round {number}: is it done?")))
        heard.append(bee.take(said(f"Round {number}: please check it.")))
    assert heard[:9] == [""] * 9
    assert heard[9:12] == ["warn", "slow", "refuse"]
    assert set(heard[11:]) == {"refuse"}
    assert ant.take(said("Here is what was found: the bill of March.")) == ""


def test_an_identity_that_repeats_the_other_is_in_the_same_loop() -> None:
    rally = Rally()
    rule = msgspec.structs.replace(STRICT, same_step=None, similar_step=None)
    ant, bee = Session(rule, rally=rally), Session(rule, rally=rally, actor="agent/bee")
    assert "refuse" in {each.take(said("After you.")) for _ in range(8) for each in (ant, bee)}


def test_two_identities_that_work_with_each_other_are_not_in_a_loop() -> None:
    random, rally = Random(11), Rally()
    ant, bee = Session(STRICT, rally=rally), Session(STRICT, rally=rally, actor="agent/bee")
    assert {each.take(said(prose(random, 10, 40))) for _ in range(100) for each in (ant, bee)} == {""}


def test_a_fan_out_of_children_is_no_rally() -> None:
    rally = Rally()
    children = [Session(RULE, rally=rally, actor="agent/ant~") for _ in range(280)]
    assert {each.take(said(PLAN)) for each in children} == {""}


@pytest.mark.parametrize("rule", [RULE, STRICT], ids=["defaults", "near matches as well"])
def test_normal_work_is_not_stopped(rule: LoopRule) -> None:
    """The numbers of docs/loops.md. Near matches, taken for the same, stop what differs in numbers alone."""
    heard, stopped = Counter[Heard](), Counter[str]()
    for kind in NORMAL:
        for seed in range(150):
            taken = Counter(Session(rule).all(kind(Random(seed))))
            heard.update(taken)
            stopped[kind.__name__] += taken["refuse"]
    assert sum(heard.values()) == 36_889
    if rule is RULE:
        assert heard == {"": 36_889}
    else:
        assert heard["refuse"] == 8_729
        assert {kind for kind, times in stopped.items() if times} == {"number_bot", "batch", "paging"}


def mixed(random: Random, kinds: Sequence[Callable[[Random], list[Step]]]) -> list[Step]:
    """Several runs in one session: each next step is any of theirs."""
    left: list[list[Step]] = [list(reversed(kind(random))) for kind in kinds]
    steps: list[Step] = []
    while left:
        run = random.choice(left)
        steps.append(run.pop())
        left = [each for each in left if each]
    return steps


@given(st.integers(0, 2**32), st.lists(st.sampled_from(NORMAL), min_size=1, unique=True))
def test_no_mixture_of_normal_work_is_stopped(seed: int, kinds: list[Callable[[Random], list[Step]]]) -> None:
    heard = Counter(Session().all(mixed(Random(seed), kinds)))
    assert heard["refuse"] == heard["slow"] == 0, heard


def test_few_are_stopped_where_many_agents_share_one_session() -> None:
    """Three agents that run the same failing test at the same time look like one that is stuck."""
    heard = Counter[Heard]()
    for seed in range(100):
        random = Random(seed)
        heard.update(Session().all(mixed(random, random.choices(NORMAL, k=random.randint(2, 8)))))
    assert sum(heard.values()) > 10_000
    assert heard["refuse"] * 200 < sum(heard.values()), heard


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.booleans()), max_size=80))
def test_a_loop_is_at_least_as_long_as_its_threshold_and_its_state_stays_small(
    steps: list[tuple[int, bool, bool]],
) -> None:
    session, taken = Session(STRICT), 0
    for which, fails, answered in steps:
        step = told("tool", f'{{"n":"{which}"}}', f"result {'x' * which}", failed=fails)
        mark = fingerprint(step, STRICT)
        assert mark is not None
        signs = session.trail.signs(mark, STRICT)
        assert session.trail.signs(mark, STRICT) == signs, "looking changes nothing"
        assert all(each.count <= taken + 1 and each.beyond >= 0 for each in signs)
        session.trail.end(mark, f"call_{taken}", counts=session.trail.begin(mark) and answered)
        taken += answered
    assert bytes_of(session.trail) < 3_000


def bytes_of(trail: Trail) -> int:
    values: list[object] = [getattr(trail, name) for name in Trail.__slots__]
    found = getsizeof(trail) + sum(getsizeof(value) for value in values)
    return found + sum(getsizeof(each) for each in trail.samples)


def test_a_full_trail_is_about_two_kilobytes() -> None:
    session = Session(STRICT)
    session.all(template_bot(Random(1)) + list(islice(same_error(), 30)))
    values: list[object] = [getattr(session.trail, name) for name in Trail.__slots__]
    assert {len(cast("array[int]", value)) for value in values if isinstance(value, array)} == {WINDOW}
    assert bytes_of(session.trail) < 3_000


def test_what_holds_without_a_rule_asks_for_no_dear_digest() -> None:
    mark = fingerprint(told("a", "{}", "done 17"), UNSAID)
    assert mark is not None
    assert (mark.alike, mark.similar, mark.error) == (0, None, 0)
    assert fingerprint(Step(), RULE) is None


def test_the_words_tell_a_model_what_to_do() -> None:
    session = Session()
    session.all(islice(same_error(), 3))
    assert session.last is not None
    refusal = session.last.refusal(RULE)
    assert refusal.code == "loop_detected"
    assert refusal.status == 402
    assert refusal.sentence == (
        "This is a loop: the tool 'fetch' has failed 3 times with the same error for the same arguments."
    )
    assert refusal.hint.startswith("The same call will fail again. Change the arguments, use another tool, or report")
    assert session.last.samples == ("call_1", "call_2")


@pytest.mark.parametrize("signal", SIGNALS)
def test_every_signal_has_words_of_its_own(signal: Signal) -> None:
    for tool in ("", "fetch"):
        refusal = Loop("refuse", Sign(signal, 7, 2), tool, ()).refusal(RULE)
        assert "{" not in refusal.message
        assert refusal.sentence.startswith("This is a loop: ")
