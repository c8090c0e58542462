"""Approvals of tools: for one call with just the arguments that were asked for, which whoever answers has seen."""

import json

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from comptroller.core.approval.approvals import Approvals
from comptroller.core.approval.decide import Approved, No, Wanted, approve, deny, give, overdue, withdraw
from comptroller.core.approval.grant import Grant
from comptroller.core.approval.role import ApprovalRole
from comptroller.core.approval.shown import PARSED_MOST, shown
from comptroller.core.approval.ticket import Terms, Ticket, question_of
from comptroller.core.budget.budget import Unit
from comptroller.core.budget.draw import Lift
from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import BudgetTree, Hold
from comptroller.core.tool.secrets import MASKED
from tests.core.test_approval import ANN, AT_NS, BOB, HOUR_NS, OWNERS, ROLES
from tests.core.test_approval import ticket as any_ticket

DELETE, READ, DIGEST = "files/delete", "files/read", "d1"


def ticket(**known: object) -> Ticket:
    of_tool = {
        "tool": DELETE,
        "arguments_digest": DIGEST,
        "arguments": '{"path": "/srv/a"}',
        "model": "",
        "amount": None,
    }
    return any_ticket(**of_tool | known)


def say_yes(asked: Ticket, terms: Terms | None = None) -> object:
    return approve(asked, terms, ANN, ROLES, OWNERS, now_ns=AT_NS, grant_id="grt_1", reason="fine")


def granted(asked: Ticket, terms: Terms | None = None) -> Grant:
    found = say_yes(asked, terms)
    assert isinstance(found, Approved), found
    return found.grant


def grant(**known: object) -> Grant:
    made = {
        "id": "grt_1", "role": "finops", "approver": "ann", "bound": "session", "value": "ses_1", "uses": None,
        "given_at_ns": AT_NS, "expires_at_ns": AT_NS + HOUR_NS,
    }  # fmt: skip
    return Grant(**made | known)  # type: ignore[arg-type]


def test_a_yes_is_for_one_call_with_these_arguments() -> None:
    given = granted(ticket())
    assert (given.tool, given.arguments_digest, given.uses, given.bounds.tool_calls) == (DELETE, DIGEST, 1, 1)
    assert given.bounds.model_calls is None
    assert given.state(AT_NS, Amounts(tool_calls=1)) == "used_up"
    assert given.state(AT_NS, Amounts(calls=1)) == "active", "a call to a model is no use of it"


BY_HAND: dict[str, object] = {"ticket": None}
OF_A_TICKET: dict[str, object] = {"ticket": "apr_1"}


@pytest.mark.parametrize(
    ("known", "tool", "digest", "applies"),
    [
        (OF_A_TICKET | {"tool": DELETE, "arguments_digest": DIGEST}, DELETE, DIGEST, True),
        (OF_A_TICKET | {"tool": DELETE, "arguments_digest": DIGEST}, DELETE, "d2", False),
        (OF_A_TICKET | {"tool": DELETE, "arguments_digest": DIGEST}, READ, DIGEST, False),
        (OF_A_TICKET | {"tool": DELETE, "arguments_digest": DIGEST}, "", "", False),  # a model
        (OF_A_TICKET | {"tool": "files/*", "arguments_digest": DIGEST}, DELETE, DIGEST, False),  # a server's own name
        (OF_A_TICKET | {"tool": DELETE, "arguments_digest": ""}, DELETE, "", False),  # without a digest: for nothing
        (OF_A_TICKET, DELETE, DIGEST, False),  # that a model's call asked for
        (OF_A_TICKET, "", "", True),
        (BY_HAND | {"tool": DELETE}, DELETE, DIGEST, True),
        (BY_HAND | {"tool": DELETE}, DELETE, "d2", True),
        (BY_HAND | {"tool": "files/*"}, READ, DIGEST, True),
        (BY_HAND | {"tool": "files/*"}, "mail/send", DIGEST, False),
        (BY_HAND | {"tool": "files/*"}, "", "", False),
        (BY_HAND | {"uses": 5}, DELETE, DIGEST, False),  # for models
        (BY_HAND | {"uses": 5}, "", "", True),
        (BY_HAND | {"amount": 5, "suspends": False, "budgets": ("pool",)}, DELETE, DIGEST, True),  # money alone
        (BY_HAND | {"amount": 5, "suspends": False, "budgets": ("pool",), "uses": 2}, DELETE, DIGEST, False),
        (BY_HAND | {"amount": 5, "suspends": False, "budgets": ("pool",), "unit": "tokens"}, DELETE, DIGEST, False),
    ],
)
def test_which_calls_a_grant_is_for(known: dict[str, object], tool: str, digest: str, applies: bool) -> None:
    held = Approvals()
    held.add(grant(**known))
    assert bool(held.applying([("session", "ses_1")], "finops", AT_NS, tool, digest)) is applies


@pytest.mark.parametrize("terms", [Terms(uses=2), Terms(uses=None, amount=5)])
def test_nobody_approves_more_than_the_one_call_that_they_were_asked_about(terms: Terms) -> None:
    found = say_yes(ticket(), terms)
    assert isinstance(found, No)
    assert "comptroller grants make" in found.hint


@pytest.mark.parametrize(
    ("tool", "unit", "may"),
    [
        ("", "usd", True),
        ("", "tokens", True),
        ("", "calls", True),
        ("", "tool_calls", False),
        ("", "thinking_tokens", False),
        ("files/*", "usd", True),
        ("files/*", "tool_calls", True),
        ("files/*", "calls", False),
        ("files/*", "tokens", False),
    ],
)
def test_an_amount_bounds_what_it_counts_or_it_is_none(tool: str, unit: Unit, may: bool) -> None:
    terms = Terms(amount=5, unit=unit, uses=None)
    wanted = Wanted(role="ops", terms=terms, value="agent/scout", suspends=True, tool=tool)
    found = give(wanted, ANN, ROLES, OWNERS, now_ns=AT_NS, grant_id="grt_2")
    assert isinstance(found, Grant) is may, found
    if isinstance(found, Grant):
        assert found.tool == tool
        assert [limit for limit in (found.bounds.usd_nanos, found.bounds.tokens, found.bounds.model_calls,
                found.bounds.tool_calls) if limit is not None] == [5]  # fmt: skip


@pytest.mark.parametrize(
    ("estimate_nanos", "takes_two"), [(0, False), (99 * 10**9, False), (101 * 10**9, True), (None, True)]
)
def test_what_takes_two_is_what_the_one_call_can_cost(estimate_nanos: int | None, takes_two: bool) -> None:
    found = say_yes(ticket(estimate_nanos=estimate_nanos))
    assert isinstance(found, Ticket) is takes_two
    if isinstance(found, Ticket):
        assert found.arguments, "the second has to see them, too"


def test_the_arguments_are_kept_as_long_as_somebody_may_answer() -> None:
    asked = ticket(role="cfo")
    moved = overdue(ticket(), ROLES, AT_NS + HOUR_NS)
    assert moved is not None
    assert (moved.state, moved.arguments) == ("escalated", asked.arguments)
    yes = approve(ticket(), None, BOB, ROLES, OWNERS, now_ns=AT_NS, grant_id="g", reason="fine")
    assert isinstance(yes, Approved)
    answers = (
        yes.ticket,
        deny(ticket(), ANN, ROLES, now_ns=AT_NS, reason="no"),
        withdraw(ticket(), "agent/scout", now_ns=AT_NS),
        overdue(asked, {"cfo": ApprovalRole("cfo")}, AT_NS + HOUR_NS),
    )
    for each in answers:
        assert isinstance(each, Ticket)
        assert not each.open
        assert (each.arguments, each.arguments_digest) == ("", DIGEST)


SECRET = "-".join(("sk", "a1B2c3D4e5F6g7H8i9"))  # made up


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"path": "/srv/a", "n": 1.5, "deep": [{"x": None}]}, {"path": "/srv/a", "n": 1.5, "deep": [{"x": None}]}),
        ({"api_key": "hunter2", "max_tokens": 5}, {"api_key": MASKED, "max_tokens": 5}),
        ({"Authorization": "Basic x", "author": "ann"}, {"Authorization": MASKED, "author": "ann"}),
        ({"query": f"use {SECRET} now"}, {"query": f"use {MASKED} now"}),
        ({"url": "https://ann:hunter2@db.example/x"}, {"url": f"https://{MASKED}@db.example/x"}),
        ([], []),
    ],
)
def test_whoever_answers_sees_what_they_approve_without_secrets(arguments: object, expected: object) -> None:
    assert json.loads(shown(json.dumps(arguments).encode(), 4096)) == expected


def test_what_cannot_be_seen_is_written_out() -> None:
    text = shown(json.dumps({"path": "a\u202eb\u200b\x1b[31m\U000e0041é"}, ensure_ascii=False).encode(), 4096)
    assert text.isprintable()
    assert all(each in text for each in ("\\u202e", "\\u200b", "\\u001b", "\\U000e0041", "é"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (json.dumps({"text": "x" * 5000}).encode(), "5000 characters, of which the first 1000 are shown"),
        (json.dumps(["x"] * 150).encode(), "[50 more]"),
        (json.dumps({str(each): 1 for each in range(150)}).encode(), "[50 more]"),
        (json.dumps(["x" * 900] * 90).encode(), "of which the first 4096 are shown"),
        (b'"' + b"x" * PARSED_MOST + b'"', "more than is looked into"),
        (b"[" * 40 + b"]" * 40, "[...]"),
        (b"{", "no JSON that can be shown"),
    ],
)
def test_what_is_left_out_is_said(arguments: bytes, words: str) -> None:
    text = shown(arguments, 4096)
    assert words in text
    assert len(text) < 4200
    assert shown(arguments, 0) == ""


TEXTS = st.text(max_size=20)
VALUES = st.recursive(st.none() | st.integers() | TEXTS, lambda each: st.dictionaries(TEXTS, each), max_leaves=5)


@drawn(VALUES, st.integers(1, 200))
def test_whatever_the_arguments_are_something_short_is_shown(value: object, most: int) -> None:
    text = shown(json.dumps(value).encode(), most)
    assert text.isprintable()
    assert 0 < len(text) < most + 100


CALLS = st.tuples(st.sampled_from([DELETE, READ, "files/*"]), st.sampled_from(["d1", "d2"]))


class Desk(RuleBasedStateMachine):
    """Calls that ask, are approved and go upstream in whatever order: no approval lets two through, or another."""

    def __init__(self) -> None:
        super().__init__()
        self.held, self.tree, self.made = Approvals(), BudgetTree(()), 0
        self.approved: dict[tuple[str, str], int] = {}
        self.through: dict[tuple[str, str], int] = {}
        self.flying: dict[str, tuple[str, str]] = {}

    def _new(self, prefix: str) -> str:
        self.made += 1
        return f"{prefix}_{self.made}"

    @rule(call=CALLS)
    def call(self, call: tuple[str, str]) -> None:
        """It goes by a grant that has a use left, or asks: the open ticket of its question, or a new one."""
        for each in self.held.applying([("session", "ses_1")], "finops", AT_NS, *call):
            meter = self.tree.meter(each.id)
            assert meter is not None
            attempt = self._new("att")
            draw = self.tree.drawn_by(Facts((), {}, ()), 1).lifted(Lift((meter,)))
            if isinstance(self.tree.hold(attempt, draw, Amounts(tool_calls=1)), Hold):
                self.flying[attempt] = call
                return
        question = question_of("ses_1", *call)
        if self.held.find(question, AT_NS) is None:
            self.held.put(ticket(id=self._new("apr"), tool=call[0], arguments_digest=call[1], question=question))

    @rule(which=st.integers(0, 5))
    def approve(self, which: int) -> None:
        waiting = self.held.open_tickets
        if not waiting:
            return
        asked = waiting[which % len(waiting)]
        yes = approve(asked, None, ANN, ROLES, OWNERS, now_ns=AT_NS, grant_id=self._new("grt"), reason="fine")
        assert isinstance(yes, Approved)
        self.tree.open_session(yes.grant.id, yes.grant.bounds)
        self.held.add(yes.grant)
        self.held.put(yes.ticket)
        self._count(self.approved, (asked.tool, asked.arguments_digest))

    @rule(void=st.booleans(), which=st.integers(0, 5))
    def end(self, which: int, void: bool) -> None:
        if not self.flying:
            return
        attempt = list(self.flying)[which % len(self.flying)]
        call = self.flying.pop(attempt)
        self.tree.settle(attempt, Amounts(tool_calls=1), void=void)
        if not void:
            self._count(self.through, call)

    def _count(self, counted: dict[tuple[str, str], int], call: tuple[str, str]) -> None:
        counted[call] = counted.get(call, 0) + 1

    @invariant()
    def each_approval_lets_one_call_through(self) -> None:
        for call, times in self.through.items():
            assert times <= self.approved.get(call, 0)
        flying = list(self.flying.values())
        for call in set(flying):
            assert flying.count(call) + self.through.get(call, 0) <= self.approved.get(call, 0)


TestDesk = Desk.TestCase
