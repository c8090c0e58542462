"""Which messages go together, and which stay whatever happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.work.conversation import Call, Entry, Result
from comptroller.core.work.trim import cut, pieces


def user() -> Entry:
    return Entry("user")


def said() -> Entry:
    return Entry("model")


def calls(*ids: str, starts: bool = False) -> Entry:
    return Entry("model", calls=tuple(Call(each, "look") for each in ids), starts=starts)


def result(call: str) -> Entry:
    return Entry("tool", results=(Result(call, 1),))


def system(call: str) -> Entry:
    return Entry("system", results=(Result(call, 1),))


SYSTEM = Entry("system")
REASONING = Entry("model", starts=True)
SUMMARY = Entry("model", kept=True)
REFERENCE = Entry("model", reference=True)
SYSTEM_CALL = Entry("system", calls=(Call("a", "look"),))
SYSTEM_REFERENCE = Entry("system", reference=True)


@pytest.mark.parametrize(
    ("entries", "keep_first", "places"),
    [
        ([user()], 1, []),
        ([user(), said(), user()], 1, []),
        ([user(), said(), user()], 0, [(0, 1)]),
        ([user(), said(), user(), said(), user()], 1, [(2, 3)]),
        ([SYSTEM, user(), SYSTEM, said(), user(), said(), user()], 0, [(1, 3), (4, 5)]),
        # One long turn: groups of it, and never the last one.
        ([user(), calls("a"), result("a"), calls("b"), result("b"), said()], 1, [(1, 2), (3, 4)]),
        ([user(), calls("a"), result("a"), calls("b"), result("b")], 0, [(1, 2)]),
        # Two messages of a model in a row, or two of a user, are one.
        ([user(), said(), calls("a"), result("a"), said()], 1, [(1, 2, 3)]),
        ([user(), user(), said(), user()], 0, [(0, 1, 2)]),
        # A model that speaks first belongs to the first turn.
        ([said(), user(), said(), user()], 0, [(0, 1, 2)]),
        # A result that comes late holds together what is in between.
        ([user(), calls("a", "b"), result("a"), calls("c"), result("c"), result("b"), said()], 1, [(1, 2, 3, 4, 5)]),
        ([user(), calls("a"), user(), result("a"), said(), user()], 0, [(0, 1, 2, 3, 4)]),
        ([user(), calls("a"), result("a"), said(), user(), calls("b"), user(), result("b")], 1, [(1, 2)]),
        # The same id again means the later call.
        ([user(), calls("a"), result("a"), calls("a"), result("a"), said()], 1, [(1, 2), (3, 4)]),
        # What was reasoned once is needed by all calls that came of it.
        ([user(), REASONING, calls("a"), result("a"), calls("b"), result("b"), said()], 1, []),
        ([user(), REASONING, calls("a"), result("a"), REASONING, calls("b"), result("b"), REASONING, said()], 1,
         [(1, 2, 3), (4, 5, 6)]),
        # A turn with a summary stays, and so does one with a result whose call nobody sees.
        ([user(), said(), user(), SUMMARY, user(), said(), user()], 0, [(0, 1), (4, 5)]),
        ([user(), said(), user(), result("?"), said(), user()], 0, [(0, 1)]),
        # A reference may be any call.
        ([user(), REFERENCE, result("?"), calls("b"), result("b"), said(), user()], 0, [(0, 1, 2, 3, 4, 5)]),
        ([user(), REFERENCE, said(), user(), result("?"), said(), user()], 0, [(0, 1, 2, 3, 4, 5)]),
        # What a system says stays, and with it the turn of a call that it answers, or of a result of its call.
        ([user(), calls("a"), system("a"), said(), user(), said(), user()], 0, [(4, 5)]),
        ([user(), said(), system("?"), user(), said(), user()], 0, [(0, 1), (3, 4)]),
        ([SYSTEM_CALL, user(), result("a"), said(), user(), said(), user()], 0, [(4, 5)]),
        ([SYSTEM_REFERENCE, user(), result("a"), said(), user(), said(), user()], 0, [(4, 5)]),
    ],
)  # fmt: skip
def test_what_can_be_left_out(entries: list[Entry], keep_first: int, places: list[tuple[int, ...]]) -> None:
    found = pieces(entries, [1] * len(entries), keep_first)
    assert found is not None
    assert [piece.places for piece in found] == places


def test_nothing_is_left_out_of_what_nobody_understands() -> None:
    assert pieces([user(), Entry("unknown"), user(), said(), user()], [1] * 5, 0) is None


ENTRIES = st.builds(
    Entry,
    st.sampled_from(("system", "user", "model", "tool")),
    calls=st.lists(st.builds(Call, st.sampled_from(("", "a", "b")), st.just("look")), max_size=2).map(tuple),
    results=st.lists(st.builds(Result, st.sampled_from(("", "a", "b", "?")), st.just(1)), max_size=2).map(tuple),
    kept=st.booleans(),
    starts=st.booleans(),
    reference=st.booleans(),
)


@given(entries=st.lists(ENTRIES, max_size=12), keep_first=st.integers(0, 3))
def test_whatever_messages_are_what_is_left_out_are_pieces_of_them(entries: list[Entry], keep_first: int) -> None:
    found = pieces(entries, [1] * len(entries), keep_first)
    assert found is not None
    places = [place for piece in found for place in piece.places]
    assert len({*places}) == len(places)
    assert all(entries[place].part != "system" for place in places)
    for piece in found:
        ids = {call.id for place in piece.places for call in entries[place].calls if call.id}
        rest = [entry for place, entry in enumerate(entries) if place not in piece.places]
        answered = {result.call for entry in rest for result in entry.results}
        called = {call.id for entry in rest for call in entry.calls}
        assert ids & answered <= called, "a result has lost its call"


def test_a_growing_conversation_is_cut_at_the_same_place_for_some_turns() -> None:
    """A prompt cache is of use only where the beginning stays; each cut of a turn more would begin anew."""
    turn, most = [user(), said()], 100_000
    cuts: list[int] = []
    for count in range(60, 160):
        entries = turn * count + [user()]
        found = pieces(entries, [1_000] * len(entries), 1)
        assert found is not None
        least = next(n for n in range(len(found) + 1) if len(entries) * 1_000 - n * 2_000 <= most)
        chosen = cut(found, least, (len(entries) - 2 * least) * 1_000)
        assert least <= chosen <= least + most // 4 // 2_000 + 1
        cuts.append(chosen)
    assert cuts == sorted(cuts)
    assert len({*cuts}) <= 15, "of a hundred turns"
