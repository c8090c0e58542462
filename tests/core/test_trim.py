"""Which messages go together, and which stay whatever happens."""

import pytest

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


SYSTEM = Entry("system")
REASONING = Entry("model", starts=True)
SUMMARY = Entry("model", kept=True)
REFERENCE = Entry("model", reference=True)


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
    ],
)  # fmt: skip
def test_what_can_be_left_out(entries: list[Entry], keep_first: int, places: list[tuple[int, ...]]) -> None:
    found = pieces(entries, [1] * len(entries), keep_first)
    assert found is not None
    assert [piece.places for piece in found] == places


def test_nothing_is_left_out_of_what_nobody_understands() -> None:
    assert pieces([user(), Entry("unknown"), user(), said(), user()], [1] * 5, 0) is None


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
