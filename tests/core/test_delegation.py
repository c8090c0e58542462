"""What a session may hand on to a child: a table of every no, and laws of what is narrower."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.refusal import REFUSALS, Refusal
from comptroller.core.work.bounds import DEEPEST, NAMES, Bounds, widened
from comptroller.core.work.delegation import (
    DELEGATION,
    MOST_IN_TREE,
    Wish,
    child_bounds,
    child_wish,
    covers,
    ends_at_ns,
    handed_on,
    may_open_below,
    room_below,
)
from comptroller.core.work.session import Session

NOW_NS = 1_790_000_000 * NANOS_PER_SECOND


def session(**changes: Any) -> Session:
    known = Session(
        "ses_1", "agent/planner", "crd", NOW_NS - 1, NOW_NS + 100, "admin", bounds=Bounds(depth=2, fan_out=2)
    )
    return msgspec.structs.replace(known, **changes)


GRANDPARENT = session(id="ses_0", identity="agent/boss")
LINEAGE = (session(parent="ses_0", root="ses_0", depth=1), GRANDPARENT)

NOES: list[tuple[str, tuple[Session, ...], str | None, int, str, str]] = [
    ("a closed parent", (session(ended_at_ns=NOW_NS), GRANDPARENT), None, 0, "session_ended", "was ended"),
    ("an expired parent", (session(expires_at_ns=NOW_NS), GRANDPARENT), None, 0, "session_ended", "as long as it may"),
    ("a closed ancestor", (LINEAGE[0], session(ended_at_ns=NOW_NS)), None, 0, "session_ended", "was ended"),
    ("a cycle", LINEAGE, "agent/boss", 0, "delegation_forbidden", "in this chain already"),
    ("its own identity", LINEAGE, "agent/planner", 0, "delegation_forbidden", "agent/planner <- agent/boss"),
    ("too deep", (session(bounds=Bounds(depth=0)),), None, 0, "delegation_too_deep", "depth 0"),
    ("deeper than anything", (session(depth=DEEPEST, bounds=Bounds()),), None, 0, "delegation_too_deep", "depth 16"),
    ("too wide", LINEAGE, None, 2, "session_limit", "2 open children of at most 2"),
]


@pytest.mark.parametrize(("what", "lineage", "identity", "open_children", "code", "words"), NOES)
def test_noes(
    what: str, lineage: tuple[Session, ...], identity: str | None, open_children: int, code: str, words: str
) -> None:
    no = may_open_below(lineage, identity, open_children, NOW_NS)
    assert no is not None, what
    assert no.code == code
    assert words in no.sentence
    assert no.code in {*REFUSALS, *DELEGATION}


def test_a_child_that_is_right() -> None:
    assert may_open_below(LINEAGE, "agent/worker", 1, NOW_NS) is None
    assert may_open_below(LINEAGE, None, 1, NOW_NS) is None


BOUNDS = st.builds(Bounds, *(st.none() | st.integers(0, 5) for _ in NAMES))


@given(BOUNDS.filter(lambda bounds: bounds.depth != 0), BOUNDS, BOUNDS)
def test_a_child_has_no_bound_that_is_wider_than_its_parents(has: Bounds, ceiling: Bounds, asked: Bounds) -> None:
    parent = session(bounds=has)
    found = child_bounds([parent], ceiling, asked)
    if isinstance(found, Refusal):
        assert found.code == "delegation_widened"
        return
    assert widened(has, found) == widened(ceiling, found) == ()
    for name in NAMES:  # no bound of the parent is lost: what has none may be anything
        limit = getattr(has, name)
        assert limit is None or getattr(found, name) is not None
    assert found.depth is not None
    assert found.depth < (DEEPEST if has.depth is None else has.depth)


def test_asking_for_more_is_a_no_that_names_it() -> None:
    parent = session(bounds=Bounds(usd_nanos=5, model_calls=9))
    no = child_bounds([parent], Bounds(), Bounds(usd_nanos=6, model_calls=9))
    assert isinstance(no, Refusal)
    assert "usd 0.000000006 is more than the 0.000000005 of ses_" in no.sentence
    assert "model_calls" not in no.sentence


@pytest.mark.parametrize(
    ("held", "asked", "covered"),
    [
        ("gpt-4", "gpt-4", True),
        ("gpt-*", "gpt-4", True),
        ("gpt-*", "gpt-4*", True),
        ("*", "anything-*", True),
        ("gpt-?", "gpt-?", True),
        ("gpt-?", "gpt-4", True),
        ("gpt-4", "gpt-*", False),
        ("gpt-?", "gpt-*", False),
        ("gpt-??", "gpt-*", False),
        ("gpt-4*", "gpt-*", False),
        ("gpt-4", "gpt-?", False),
    ],
)
def test_patterns(held: str, asked: str, covered: bool) -> None:
    assert covers([held], asked) is covered


PATTERN = st.text("ab*?", min_size=1, max_size=4)


@given(PATTERN, PATTERN, st.text("ab", max_size=5))
def test_what_is_covered_matches_nothing_else(held: str, asked: str, name: str) -> None:
    if covers([held], asked) and fnmatchcase(name, asked):
        assert fnmatchcase(name, held)


def test_models_are_handed_on() -> None:
    assert handed_on(("gpt-*",), None) == ("gpt-*",)
    assert handed_on(None, ("gpt-4",)) == ("gpt-4",)
    assert handed_on(("gpt-*", "claude-*"), ("gpt-4*",)) == ("gpt-4*",)
    no = handed_on(("gpt-*",), ("gpt-4", "claude-*"))
    assert isinstance(no, Refusal)
    assert "'claude-*', and its parent has gpt-*" in no.sentence


@pytest.mark.parametrize("name", ["subject", "tenant", "workflow"])
def test_on_whose_behalf_is_said_once(name: str) -> None:
    parent = session(**{name: "a"})
    kept = child_wish(parent, Wish())
    assert isinstance(kept, Wish)
    assert getattr(kept, name) == "a"
    no = child_wish(parent, Wish(**{name: "b"}))
    assert isinstance(no, Refusal)
    assert f"another {name}" in no.sentence
    first = child_wish(session(), Wish(**{name: "b"}))
    assert isinstance(first, Wish)
    assert getattr(first, name) == "b"


def test_a_child_may_have_a_task_of_its_own() -> None:
    parent = session(task_type="ticket", task="7")
    own, its_parents = child_wish(parent, Wish(task_type="search")), child_wish(parent, Wish())
    assert isinstance(own, Wish)
    assert isinstance(its_parents, Wish)
    assert (own.task_type, own.task) == ("search", None)
    assert (its_parents.task_type, its_parents.task) == ("ticket", "7")


@given(st.none() | st.integers(0, 1_000))
def test_a_child_ends_with_its_parent_at_the_latest(wall_clock_s: int | None) -> None:
    parent = session()
    above = msgspec.structs.replace(parent, id="ses_0", expires_at_ns=parent.expires_at_ns - 1)
    assert ends_at_ns([parent, above], NOW_NS, wall_clock_s) <= above.expires_at_ns


def test_less_depth_reaches_what_stands_already() -> None:
    top = session(id="ses_0", bounds=Bounds(depth=1))  # it was 3 when the next was opened
    child = session(parent="ses_0", depth=1, bounds=Bounds(depth=2))
    assert room_below([child, top]) == 0
    no = may_open_below([child, top], None, 0, NOW_NS)
    assert no is not None
    assert no.code == "delegation_too_deep"
    assert room_below([top]) == 1


def test_a_tree_has_so_many_sessions_and_no_more() -> None:
    assert may_open_below([session()], None, 0, NOW_NS, MOST_IN_TREE - 1) is None
    no = may_open_below([session()], None, 0, NOW_NS, MOST_IN_TREE)
    assert no is not None
    assert (no.code, no.limit) == ("session_limit", "session.tree")
