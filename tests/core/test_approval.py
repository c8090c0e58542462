"""Approvals: who may answer a ticket and how, what a grant allows, and that each ticket is answered once."""

import re
from itertools import product
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from comptroller.core.approval.approvals import OPEN_OF_ONE, Approvals, stands_until_ns
from comptroller.core.approval.decide import (
    Approved,
    Decider,
    No,
    Wanted,
    approve,
    deny,
    give,
    overdue,
    own_terms,
    revoke,
    withdraw,
)
from comptroller.core.approval.grant import GRANT_STATES, Grant, GrantState
from comptroller.core.approval.role import ApprovalRole, role_of, way_up
from comptroller.core.approval.ticket import TICKET_STATES, Terms, Ticket, TicketState, question_of, rounded_up
from comptroller.core.budget.hold import Amounts
from comptroller.core.money import NANOS_PER_USD

PAGE = (Path(__file__).parents[2] / "docs" / "approvals.md").read_text(encoding="utf-8")
AT_NS = 1_795_326_431_042_000_000  # 2026-11-22
S = 1_000_000_000
HOUR_NS = 3600 * S
ROLES = {
    "finops": ApprovalRole("finops", ("ann", "bob", "cleo"), "cfo", four_eyes_above_nanos=100 * NANOS_PER_USD),
    "cfo": ApprovalRole("cfo", ("zoe",), answer_within_s=600),
}
OWNERS = {"team-month": "finops", "house": "cfo", "nobodys": None}
ANN, BOB, CLEO, ZOE = (Decider(name, "approver") for name in ("ann", "bob", "cleo", "zoe"))


def ticket(**known: object) -> Ticket:
    made = {
        "id": "apr_1",
        "at_ns": AT_NS,
        "identity": "agent/scout",
        "session": "ses_1",
        "task": "support:77",
        "requested_by": ("agent/scout", "issuer:eve", "cleo"),
        "asked_role": "finops",
        "role": "finops",
        "policies": ("frontier-over-a-dollar",),
        "model": "sandbox-large",
        "dialect": "openai_chat",
        "call_id": "call_1",
        "estimate_nanos": NANOS_PER_USD,
        "amount": 2 * NANOS_PER_USD,
        "question": "q1",
        "due_at_ns": AT_NS + HOUR_NS,
    } | known
    return Ticket(**made)  # type: ignore[arg-type]


def say_yes(asked: Ticket, decider: Decider = ANN, terms: Terms | None = None, at_ns: int = AT_NS) -> object:
    return approve(asked, terms, decider, ROLES, OWNERS, now_ns=at_ns, grant_id="grt_1", reason="fine")


def given(asked: Ticket, decider: Decider = ANN, terms: Terms | None = None) -> Grant:
    found = say_yes(asked, decider, terms)
    assert isinstance(found, Approved)
    assert found.ticket.state == "approved"
    assert found.ticket.grant == found.grant.id
    return found.grant


def code(found: object) -> str:
    assert isinstance(found, No)
    return found.code


def test_the_states_of_the_page_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| ?(.*?) ?\|$", PAGE, re.MULTILINE)
    said = {state: (meaning, tuple(re.findall(r"`(\w+)`", way))) for state, meaning, way in rows}
    assert said == {state: (each.meaning, each.leads_to) for state, each in TICKET_STATES.items()}
    grants = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|$", PAGE.split("## Grants")[1], re.MULTILINE))
    assert grants == GRANT_STATES
    assert set(TICKET_STATES) == set(get_args(TicketState))
    assert set(GRANT_STATES) == set(get_args(GrantState))


def test_a_yes_gives_what_the_call_needs_once_to_the_session_that_asked() -> None:
    grant = given(ticket())
    assert (grant.bound, grant.value, grant.uses, grant.amount) == ("session", "ses_1", 1, 2 * NANOS_PER_USD)
    assert (grant.role, grant.suspends, grant.budgets) == ("finops", True, ())
    assert grant.expires_at_ns == AT_NS + HOUR_NS


@pytest.mark.parametrize(
    ("bound", "value"), [("session", "ses_1"), ("identity", "agent/scout"), ("task", "support:77")]
)
def test_a_grant_is_bound_to_what_the_terms_say(bound: str, value: str) -> None:
    grant = given(ticket(), terms=Terms(amount=1, bound=bound))  # type: ignore[arg-type]
    assert grant.key == (bound, value)


@pytest.mark.parametrize(
    ("decider", "expected"),
    [
        (Decider("cleo", "approver"), "own_request"),  # its owner
        (Decider("bob", "approver", ("issuer:eve",)), "own_request"),  # on whose behalf it acts
        (Decider("ANN", "approver"), "not_approver"),  # another name
        (Decider("dan", "admin"), "not_approver"),  # an admin, and none of the role
        (Decider("ann", "operator"), "not_approver"),  # of the role, and may not approve any more
        (Decider("zoe", "approver"), "not_approver"),  # of the next role, whose turn it is not
    ],
)
def test_whoever_may_not_answer_changes_nothing(decider: Decider, expected: str) -> None:
    assert code(say_yes(ticket(), decider)) == expected
    assert code(deny(ticket(), decider, ROLES, now_ns=AT_NS, reason="no")) == expected


def test_a_role_without_a_table_is_answered_by_whoever_may_approve() -> None:
    asked = ticket(asked_role="anybody", role="anybody")
    assert given(asked, Decider("dan", "admin")).role == "anybody"
    assert code(say_yes(asked, Decider("oz", "operator"))) == "not_approver"


@pytest.mark.parametrize("state", [name for name, each in TICKET_STATES.items() if not each.open])
def test_a_ticket_is_answered_once(state: TicketState) -> None:
    asked = ticket(state=state, decided_by="ann", decided_at_ns=AT_NS)
    answers = (
        say_yes(asked),
        deny(asked, ANN, ROLES, now_ns=AT_NS, reason="no"),
        withdraw(asked, "agent/scout", now_ns=AT_NS),
    )
    assert [code(each) for each in answers] == ["not_open"] * 3
    assert overdue(asked, ROLES, AT_NS + 10 * HOUR_NS) is None


def test_what_was_not_answered_in_time_goes_to_the_next_role_and_then_is_a_no() -> None:
    asked = ticket()
    assert overdue(asked, ROLES, asked.due_at_ns - 1) is None
    assert code(say_yes(asked, at_ns=asked.due_at_ns)) == "not_open"
    second = overdue(asked, ROLES, asked.due_at_ns)
    assert second is not None
    assert (second.state, second.role, second.asked_role) == ("escalated", "cfo", "finops")
    assert second.due_at_ns == asked.due_at_ns + 600 * S
    assert code(say_yes(second, at_ns=asked.due_at_ns)) == "not_approver"  # it was ann's turn
    late = say_yes(second, ZOE, at_ns=asked.due_at_ns)
    assert isinstance(late, Approved)
    assert late.grant.role == "finops"  # what it lifts is what was asked for
    over = overdue(second, ROLES, second.due_at_ns)
    assert over is not None
    assert (over.state, over.decided_by) == ("expired", "gateway")


def test_roles_that_would_ask_each_other_end() -> None:
    roles = {"a": ApprovalRole("a", escalate_to="b"), "b": ApprovalRole("b", escalate_to="a")}
    assert way_up(roles, "a") == ("a", "b")
    assert role_of(roles, "c") == ApprovalRole("c")


def test_above_the_amount_it_takes_two() -> None:
    much = Terms(amount=101 * NANOS_PER_USD)
    first = say_yes(ticket(), ANN, much)
    assert isinstance(first, Ticket)
    assert (first.state, first.proposed, first.proposed_by) == ("requested", much, "ann")
    assert code(say_yes(first, ANN)) == "second_needed"
    assert code(say_yes(first, Decider("cleo", "approver"))) == "own_request"
    assert code(say_yes(first, BOB, Terms(amount=102 * NANOS_PER_USD))) == "terms_invalid"
    assert code(say_yes(first, BOB, Terms(amount=1, bound="identity"))) == "terms_invalid"
    assert code(say_yes(first, BOB, Terms(amount=1, uses=2))) == "terms_invalid"
    grant = given(first, BOB)
    assert (grant.approver, grant.second, grant.amount) == ("ann", "bob", much.amount)
    assert given(first, BOB, Terms(amount=7)).amount == 7  # narrower
    one_no = deny(first, BOB, ROLES, now_ns=AT_NS, reason="too much")
    assert isinstance(one_no, Ticket)
    assert one_no.state == "denied"


def test_a_grant_that_no_amount_in_usd_bounds_takes_two_as_well() -> None:
    asked = ticket(amount=None)
    assert isinstance(say_yes(asked), Ticket)
    assert isinstance(say_yes(ticket(amount=5, unit="tokens")), Ticket)


@pytest.mark.parametrize(
    "terms",
    [
        Terms(amount=0),
        Terms(amount=-1),
        Terms(amount=1, uses=0),
        Terms(amount=1, uses=101),
        Terms(uses=None),
        Terms(amount=1, lasts_s=59),
        Terms(amount=1, lasts_s=24 * 3600 + 1),
    ],
)
def test_terms_that_a_role_may_not_give_are_refused(terms: Terms) -> None:
    assert code(say_yes(ticket(), ANN, terms)) == "terms_invalid"


def test_what_is_for_a_task_needs_one() -> None:
    assert code(say_yes(ticket(task=None), ANN, Terms(amount=1, bound="task"))) == "terms_invalid"


@pytest.mark.parametrize(("budget", "may"), [("team-month", True), ("house", False), ("nobodys", False), ("?", False)])
def test_a_role_lifts_only_what_it_owns(budget: str, may: bool) -> None:
    found = say_yes(ticket(policies=(), budgets=(budget,)))
    assert isinstance(found, Approved) == may
    if isinstance(found, Approved):
        assert (found.grant.suspends, found.grant.budgets) == (False, (budget,))
    terms = Terms(amount=5 * NANOS_PER_USD)
    wanted = Wanted(role="finops", terms=terms, value="agent/scout", suspends=False, budgets=(budget,))
    by_itself = give(wanted, ANN, ROLES, OWNERS, now_ns=AT_NS, grant_id="grt_2")
    assert isinstance(by_itself, Grant) == may


def test_a_budget_is_lifted_by_an_amount_in_its_unit() -> None:
    asked = ticket(policies=(), budgets=("team-month",), amount=500, unit="tokens")
    assert code(say_yes(asked, ANN, Terms(amount=5))) == "terms_invalid"
    assert code(say_yes(asked, ANN, Terms(amount=None, unit="tokens"))) == "terms_invalid"


@pytest.mark.parametrize(
    ("decider", "amount", "for_whom", "expected"),
    [
        (ZOE, 1, (), "not_approver"),
        (ANN, 1, ("ann",), "own_request"),
        (ANN, 101 * NANOS_PER_USD, (), "second_needed"),
        (ANN, 0, (), "terms_invalid"),
    ],
)
def test_a_grant_that_nobody_asked_for_is_bound_the_same(
    decider: Decider, amount: int, for_whom: tuple[str, ...], expected: str
) -> None:
    terms = Terms(amount=amount, bound="identity")
    wanted = Wanted(role="finops", terms=terms, value="agent/scout", suspends=True, for_whom=for_whom)
    found = give(wanted, decider, ROLES, OWNERS, now_ns=AT_NS, grant_id="grt_2")
    assert code(found) == expected


@pytest.mark.parametrize(
    ("terms", "spent", "used_up"),
    [
        (Terms(amount=10), Amounts(usd=9), False),
        (Terms(amount=10), Amounts(usd=10), True),
        (Terms(amount=10, uses=2), Amounts(usd=1, calls=1), False),
        (Terms(amount=10, uses=2), Amounts(usd=1, calls=2), True),
        (Terms(amount=10, unit="tokens", uses=None), Amounts(usd=99, tokens=9, calls=50), False),
        (Terms(amount=10, unit="tokens", uses=None), Amounts(tokens=10), True),
        (Terms(amount=2, unit="calls", uses=5), Amounts(calls=2), True),
    ],
)
def test_a_grant_is_used_up_by_what_it_counts(terms: Terms, spent: Amounts, used_up: bool) -> None:
    grant = Grant(
        id="grt_1", role="r", approver="ann", bound="session", value="ses_1", given_at_ns=AT_NS,
        expires_at_ns=AT_NS + HOUR_NS, amount=terms.amount, unit=terms.unit, uses=terms.uses,
    )  # fmt: skip
    assert grant.state(AT_NS, spent) == ("used_up" if used_up else "active")
    assert grant.state(AT_NS + HOUR_NS, Amounts()) == "expired"
    assert revoke(grant, "bob", AT_NS).state(AT_NS, Amounts()) == "revoked"


@pytest.mark.parametrize(
    ("amount", "expected"), [(0, 0), (1, 1), (3, 5), (7, 10), (1_370_000_000, 2 * 10**9), (10**9, 10**9)]
)
def test_a_repeat_that_needs_a_little_more_asks_for_the_same(amount: int, expected: int) -> None:
    assert rounded_up(amount) == expected


def test_own_terms_keep_to_what_the_role_may_give() -> None:
    short = {"finops": ApprovalRole("finops", longest_s=120)}
    assert own_terms(ticket(), short).lasts_s == 120


def test_a_question_has_one_ticket_and_a_denial_stands_for_a_while() -> None:
    held, asked = Approvals(), ticket()
    held.put(asked)
    assert held.find("q1", AT_NS) == asked
    assert held.find(question_of("another"), AT_NS) is None
    denied = deny(asked, ANN, ROLES, now_ns=AT_NS, reason="no")
    assert isinstance(denied, Ticket)
    held.put(denied)
    assert held.open_tickets == ()
    assert held.find("q1", stands_until_ns(denied) - 1) == denied
    assert held.find("q1", stands_until_ns(denied)) is None
    held.forget(stands_until_ns(denied))
    assert held.ticket(asked.id) is None


def test_an_answer_that_is_no_denial_lets_the_question_be_asked_again() -> None:
    held = Approvals()
    for number, state in enumerate(("approved", "withdrawn")):
        held.put(ticket(id=f"apr_{number}", state=state, decided_at_ns=AT_NS))
        assert held.find("q1", AT_NS) is None
        assert held.ticket(f"apr_{number}") is not None


def test_what_nobody_answered_is_a_no_for_a_minute() -> None:
    held = Approvals()
    over = ticket(state="expired", decided_at_ns=AT_NS)
    held.put(over)
    assert held.find("q1", AT_NS + 59 * S) == over
    assert held.find("q1", AT_NS + 60 * S) is None


def test_one_identity_cannot_fill_the_desk() -> None:
    held = Approvals()
    for number in range(OPEN_OF_ONE):
        assert held.has_room("agent/scout")
        held.put(ticket(id=f"apr_{number}", question=str(number)))
    assert not held.has_room("agent/scout")
    assert held.has_room("agent/other")
    held.put(msgspec.structs.replace(ticket(id="apr_0", question="0"), state="withdrawn", decided_at_ns=AT_NS))
    assert held.has_room("agent/scout")


def test_grants_apply_to_whom_they_are_for_until_they_end() -> None:
    held = Approvals()
    later, sooner = (
        Grant(id=name, role="finops", approver="ann", bound=bound, value=value, given_at_ns=0, expires_at_ns=end)
        for name, bound, value, end in (("a", "identity", "agent/scout", 9), ("b", "session", "ses_1", 5))
    )  # type: ignore[misc]
    for grant in (later, sooner):
        held.add(grant)
    keys = (("session", "ses_1"), ("identity", "agent/scout"))
    assert list(held.applying(keys, "finops", 1)) == [sooner, later]
    assert list(held.applying(keys, "finops", 5)) == [later]
    assert list(held.applying(keys, "cfo", 1)) == []
    assert list(held.applying([("session", "ses_2")], "finops", 1)) == []
    assert held.drop("a") is later
    assert held.drop("a") is None
    assert list(held.applying(keys, "finops", 1)) == [sooner]


class TicketsLife(RuleBasedStateMachine):
    """One ticket, whatever is done about it in whatever order: each state is reached by a way of the table."""

    def __init__(self) -> None:
        super().__init__()
        self.ticket, self.now_ns, self.grants = ticket(), AT_NS, list[Grant]()

    def _becomes(self, found: object) -> None:
        if isinstance(found, Approved):
            self.grants.append(found.grant)
            found = found.ticket
        if isinstance(found, Ticket):
            same = found.state == self.ticket.state and found.proposed is not None
            assert same or found.state in TICKET_STATES[self.ticket.state].leads_to
            self.ticket = found

    @rule(decider=st.sampled_from([ANN, BOB, CLEO, ZOE]), usd=st.sampled_from([None, 1, 101]))
    def say_yes(self, decider: Decider, usd: int | None) -> None:
        terms = None if usd is None else Terms(amount=usd * NANOS_PER_USD)
        self._becomes(say_yes(self.ticket, decider, terms, self.now_ns))

    @rule(decider=st.sampled_from([ANN, BOB, CLEO, ZOE]))
    def say_no(self, decider: Decider) -> None:
        self._becomes(deny(self.ticket, decider, ROLES, now_ns=self.now_ns, reason="no"))

    @rule(passed_s=st.integers(0, 4000))
    def wait(self, passed_s: int) -> None:
        self.now_ns += passed_s * S
        self._becomes(overdue(self.ticket, ROLES, self.now_ns))

    @rule()
    def withdraw(self) -> None:
        self._becomes(withdraw(self.ticket, "agent/scout", now_ns=self.now_ns))

    @invariant()
    def there_is_one_grant_and_only_for_a_yes(self) -> None:
        assert len(self.grants) == (self.ticket.state == "approved")
        for grant in self.grants:
            people = {grant.approver, grant.second} - {None}
            assert people.isdisjoint(self.ticket.requested_by)
            assert len(people) == (2 if (grant.amount or 0) > 100 * NANOS_PER_USD or grant.second else 1)


TestTicketsLife = TicketsLife.TestCase


def test_every_pair_of_states_is_on_the_way_or_not() -> None:
    for one, other in product(TICKET_STATES, TICKET_STATES):
        if not TICKET_STATES[one].open:
            assert other not in TICKET_STATES[one].leads_to
