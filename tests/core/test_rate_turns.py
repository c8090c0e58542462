"""Whose turn it is: one of each identity in turn, and nobody's burst pushes out another."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from comptroller.core.rate.turns import Ticket, Turns

NAMES = st.sampled_from(["ada", "bob", "eve"])


def queue(turns: Turns, names: str) -> list[Ticket]:
    tickets = [Ticket(name, 1) for name in names]
    for ticket in tickets:
        assert turns.join(ticket) is None
    return tickets


def served(turns: Turns) -> str:
    order = ""
    while (ticket := turns.first) is not None:
        order += ticket.identity
        turns.serve(ticket)
    return order


def test_one_of_each_identity_is_served_in_turn() -> None:
    turns = Turns()
    queue(turns, "aaaabbc")
    assert served(turns) == "abcabaa"


def test_whoever_comes_later_is_served_after_one_of_each_and_not_after_all() -> None:
    turns = Turns()
    queue(turns, "aaaa")
    assert turns.ahead("b") == 1
    queue(turns, "b")
    assert turns.ahead("b") == 3  # of a two, of b one
    assert turns.ahead("a") == 5
    assert served(turns) == "abaaa"


def test_a_caller_that_leaves_frees_its_place() -> None:
    turns = Turns(most=3)
    a, b, c = queue(turns, "abc")
    turns.leave(b)
    turns.leave(b)
    assert len(turns) == 2
    assert b not in turns
    queue(turns, "d")
    assert served(turns) == "acd"
    turns.serve(a)  # long gone: nothing happens
    assert not turns
    assert c not in turns


def test_a_full_line_sends_away_the_last_of_whoever_has_the_most() -> None:
    turns = Turns(most=4)
    greedy = queue(turns, "aaaa")
    polite = Ticket("b", 1)
    assert turns.join(polite) is greedy[-1]
    assert polite in turns
    late = Ticket("a", 1)
    assert turns.join(late) is late
    assert len(turns) == 4
    assert served(turns) == "abaa"


@given(st.lists(NAMES, max_size=60))
def test_no_identity_waits_for_more_than_one_of_every_other(names: list[str]) -> None:
    turns = Turns()
    for name in names:
        turns.join(Ticket(name, 1))
    since: dict[str, list[str]] = {}
    while (ticket := turns.first) is not None:
        waiting = {each: turns.ahead(each) for each in set(names)}
        turns.serve(ticket)
        assert waiting[ticket.identity] >= 0
        between = since.pop(ticket.identity, [])
        assert all(between.count(other) <= 1 for other in between)
        since[ticket.identity] = []
        for name, seen in since.items():
            if name != ticket.identity:
                seen.append(ticket.identity)


@given(st.lists(st.tuples(NAMES, st.integers(0, 9)), max_size=30), NAMES)
def test_what_is_ahead_is_what_is_served_before(waiting: list[tuple[str, int]], newcomer: str) -> None:
    turns = Turns()
    for name, amount in waiting:
        turns.join(Ticket(name, amount))
    said, mine, before = turns.ahead(newcomer), Ticket(newcomer, 1), 0
    turns.join(mine)
    while (ticket := turns.first) is not mine:
        assert ticket is not None
        before += ticket.amount
        turns.serve(ticket)
    assert said == before
