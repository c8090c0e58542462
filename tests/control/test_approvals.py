"""Answering tickets: who may, how often, with what, and what a start, a full disk and time make of it."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comptroller.control import admins, api, approvals, grants, timed, tokens
from comptroller.control.approval_rows import Answered, TermsSent, TicketRow
from comptroller.control.door import Outside
from comptroller.control.problem import ControlProblem
from comptroller.core.approval.decide import Wanted
from comptroller.core.approval.ticket import Terms, Ticket
from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.meter import ledger_key
from comptroller.core.identity.admin import BOOTSTRAP, Actor
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.notice.event import kind_of
from comptroller.flow.approvals import asked_by, put_ticket
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import TicketChanged
from tests.control.asgi import Admin, ask
from tests.control.house import House, opened
from tests.harness.configuration import budget
from tests.store.samples import held, settled

USD = 10**9
ROLES = {
    "finops": {
        "approvers": ["ada", "eve", "red-lead@acme.example"],
        "escalate_to": "cfo",
        "answer_within_s": 600,
        "four_eyes_above_usd": "10.00",
    },
    "cfo": {"approvers": ["cleo"], "answer_within_s": 60},
}
BUDGETS = [
    budget("pool", "1.00 USD", owner_role="finops"),
    budget("board", "5.00 USD", owner_role="cfo"),
    budget("nobodys", "7.00 USD"),
]
ADA, EVE, CLEO, LEAD = (Actor(name, "approver", named=True) for name in ("ada", "eve", "cleo", "red-lead@acme.example"))
AS_ASKED = TermsSent()
WHY = "INC-9"


def wide_open(tmp_path: Path) -> Any:
    return opened(tmp_path, budgets=BUDGETS, approvals=ROLES)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with wide_open(tmp_path) as house:
        await add_all(house)
        yield house


async def add_all(house: House) -> None:
    for each in (ADA, EVE, CLEO, LEAD):
        await admins.add(house.office, each.name, each.role, None, None, None, "test")


async def asked(house: House, **changes: Any) -> str:
    """A ticket as a call makes one."""
    minted = await tokens.mint(house.office, "agent/ant", None, "olga")
    gate = house.gate
    session, now_ns = gate.sessions[minted.session], gate.clock.now_ns()
    ticket = Ticket(
        id=gate.clock.new_id("apr"),
        at_ns=now_ns,
        identity=session.identity,
        session=session.id,
        requested_by=asked_by(gate, session),
        asked_role="finops",
        role="finops",
        policies=("dear",),
        reason="frontier models over a dollar",
        model="sandbox-large",
        dialect="openai_chat",
        call_id=gate.clock.new_id("call"),
        estimate_nanos=2 * USD,
        amount=2 * USD,
        question=f"of {session.id}",
        due_at_ns=now_ns + 600 * NANOS_PER_SECOND,
    )
    ticket = msgspec.structs.replace(ticket, **changes)
    put_ticket(gate, ticket)
    gate.journal.append(TicketChanged(now_ns, ticket))
    return ticket.id


async def approve(house: House, ticket: str, who: Actor = ADA, **terms: Any) -> Answered:
    return await approvals.approve(house.office, ticket, TermsSent(**terms), WHY, who)


def later(house: House, monkeypatch: pytest.MonkeyPatch, by_s: float) -> None:
    now_ns = house.gate.clock.now_ns() + int(by_s * NANOS_PER_SECOND)
    monkeypatch.setattr(house.gate.clock, "now_ns", lambda: now_ns)


async def told(house: House, key: str) -> list[tuple[str, str]]:
    await house.store.fold()
    return [(each.actor, each.verb) for each in await house.store.changes(100, key=key)][::-1]


def no(problem: pytest.ExceptionInfo[ControlProblem]) -> tuple[int, str]:
    return problem.value.status, problem.value.code


async def test_an_approval_gives_a_grant_that_calls_find_and_books_keep(house: House) -> None:
    ticket = await asked(house)
    [waiting] = await approvals.list_tickets(house.office)
    assert (waiting.id, waiting.state, waiting.role, waiting.estimate_usd) == (ticket, "requested", "finops", "2.00")
    done = await approve(house, ticket)
    assert done.grant is not None
    assert (done.ticket.state, done.ticket.decided_by, done.ticket.said) == ("approved", "ada", WHY)
    grant = house.gate.approvals.grant(done.grant.id)
    assert grant is not None
    assert (grant.bound, grant.value, grant.uses, grant.amount) == ("session", waiting.session, 1, 2 * USD)
    assert house.gate.tree.meter(grant.id) is not None, "what is spent by it is counted"
    assert await approvals.list_tickets(house.office) == []
    [row] = await approvals.list_tickets(house.office, every=True)
    assert (row.state, row.grant) == ("approved", grant.id)
    assert await house.store.grant(grant.id) == grant
    assert await told(house, ticket) == [("agent/ant", "ask"), ("ada", "approve")]


async def test_terms_are_what_the_approver_says_and_the_rest_as_it_was_asked(house: House) -> None:
    wide = await approve(house, await asked(house), amount="9.50", lasts_s=7200, bound="identity")
    assert wide.grant is not None
    assert (wide.grant.amount, wide.grant.uses, wide.grant.value) == ("9.50", None, "agent/ant")
    counted = await approve(house, await asked(house), amount="9.50", uses=3)
    assert counted.grant is not None
    assert (counted.grant.uses, counted.grant.bound) == (3, "session")
    with pytest.raises(ControlProblem) as problem:
        await approve(house, await asked(house), uses="any", amount="-1")
    assert no(problem) == (422, "terms_invalid")


async def test_nobody_approves_what_they_ask_for(house: House) -> None:
    """Not its owner; and not the person on whose behalf it acts, by whatever name an issuer knows them."""
    ticket = await asked(house)
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket, LEAD)
    assert no(problem) == (403, "own_request")
    eve = msgspec.structs.replace(house.office.admins.get("eve"), issuer="main", subject="e-17")  # type: ignore[type-var]
    assert eve is not None
    house.office.admins = house.office.admins.with_admin(eve)
    ticket = await asked(house, requested_by=("agent/ant", "e-17"))
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket, EVE)
    assert no(problem) == (403, "own_request")
    with pytest.raises(ControlProblem) as problem:
        await approvals.deny(house.office, ticket, WHY, EVE)
    assert no(problem) == (403, "own_request")
    assert house.gate.approvals.grants == ()


async def test_only_the_role_answers_and_nobody_in_particular_does_not(house: House) -> None:
    ticket = await asked(house)
    for who, code in ((CLEO, "not_approver"), (Actor(BOOTSTRAP, "admin", named=False), "named_admin_needed")):
        with pytest.raises(ControlProblem) as problem:
            await approve(house, ticket, who)
        assert no(problem) == (403, code)
    await admins.disable(house.office, "ada", "has left", "test")
    with pytest.raises(ControlProblem, match="ada may not act any more"):
        await approve(house, ticket)
    assert (await approve(house, ticket, EVE)).ticket.state == "approved"


async def test_a_ticket_is_answered_once(house: House) -> None:
    ticket = await asked(house)
    answers = await asyncio.gather(
        *(approve(house, ticket, who) for who in (ADA, EVE, ADA, EVE)), return_exceptions=True
    )
    given = {each.grant.id for each in answers if isinstance(each, Answered) and each.grant is not None}
    assert len(given) == len(house.gate.approvals.grants) == 1
    refused = [each for each in answers if isinstance(each, ControlProblem)]
    assert [(each.status, each.code) for each in refused] == [(409, "not_open")] * 2, "the other person, both times"
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket, ADA, amount="9.00")
    assert no(problem) == (409, "not_open"), "the same again is what stands; something else is not"
    with pytest.raises(ControlProblem) as problem:
        await approvals.deny(house.office, ticket, "too late", EVE)
    assert no(problem) == (409, "not_open")
    assert await told(house, ticket) == [("agent/ant", "ask"), ("ada", "approve")]


async def test_a_no_stands(house: House) -> None:
    ticket = await asked(house)
    row = await approvals.deny(house.office, ticket, "use the small one", EVE)
    assert (row.state, row.said) == ("denied", "use the small one")
    assert (await approvals.deny(house.office, ticket, "again", EVE)).said == "use the small one"
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket)
    assert no(problem) == (409, "not_open")
    assert house.gate.approvals.grants == ()


async def test_above_an_amount_it_takes_two(house: House) -> None:
    ticket = await asked(house)
    first = await approve(house, ticket, amount="50.00", lasts_s=600)
    assert first.grant is None
    assert (first.ticket.state, first.ticket.proposed_by) == ("requested", "ada")
    assert house.gate.approvals.grants == ()
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket)
    assert no(problem) == (403, "second_needed"), "one person is not two"
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket, EVE, amount="60.00")
    assert no(problem) == (422, "terms_invalid"), "more than the first has agreed to"
    done = await approve(house, ticket, EVE)
    assert done.grant is not None
    assert (done.grant.amount, done.grant.approver, done.grant.second) == ("50.00", "ada", "eve")
    assert await told(house, ticket) == [("agent/ant", "ask"), ("ada", "propose"), ("eve", "approve")]


async def test_the_first_of_two_who_is_disabled_meanwhile_is_none(house: House) -> None:
    ticket = await asked(house)
    await approve(house, ticket, amount="50.00")
    await admins.disable(house.office, "ada", "has left", "test")
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket, EVE)
    assert no(problem) == (403, "second_needed")
    assert house.gate.approvals.grants == ()


@pytest.mark.parametrize(("name", "words"), [("board", "it is cfo's"), ("nobodys", "no role owns it")])
async def test_a_budget_is_lifted_by_the_role_that_owns_it_alone(house: House, name: str, words: str) -> None:
    ticket = await asked(house, policies=(), budgets=(name,))
    with pytest.raises(ControlProblem, match=words) as problem:
        await approve(house, ticket)
    assert no(problem) == (422, "terms_invalid")
    done = await approve(house, await asked(house, policies=(), budgets=("pool",)))
    assert done.grant is not None
    assert (done.grant.budgets, done.grant.suspends) == (("pool",), False)


async def test_what_nobody_answers_goes_to_the_next_role_and_then_is_a_no(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await asked(house)
    later(house, monkeypatch, 600)
    await approvals.go_on_overdue(house.office)
    [row] = await approvals.list_tickets(house.office)
    assert (row.state, row.role, row.asked_role) == ("escalated", "cfo", "finops")
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket)
    assert no(problem) == (403, "not_approver"), "it is not theirs any more"
    later(house, monkeypatch, 60)
    for _ in range(2):
        await approvals.go_on_overdue(house.office)
    shown = (await approvals.show_ticket(house.office, ticket)).ticket
    assert (shown.state, shown.decided_by) == ("expired", "gateway")
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket, CLEO)
    assert no(problem) == (409, "not_open")
    assert await told(house, ticket) == [("agent/ant", "ask"), ("gateway", "escalate"), ("gateway", "expire")]


async def test_an_answer_that_comes_too_late_is_none_though_no_job_has_come_by(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await asked(house)
    later(house, monkeypatch, 600)
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket)
    assert no(problem) == (403, "not_approver")
    done = await approve(house, ticket, CLEO)
    assert done.grant is not None
    assert done.grant.role == "finops", "what it lifts is what was asked for, whoever answers"


async def test_a_question_can_be_taken_back(house: House) -> None:
    ticket = await asked(house)
    for _ in range(2):
        assert (await approvals.withdraw(house.office, ticket, "agent/ant")).state == "withdrawn"
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket)
    assert no(problem) == (409, "not_open")
    with pytest.raises(ControlProblem, match="There is no ticket"):
        await approve(house, "apr_nope")


async def test_what_waits_outlives_a_start(tmp_path: Path) -> None:
    async with wide_open(tmp_path) as house:
        await add_all(house)
        waiting, answered, given = await asked(house), await asked(house), await asked(house)
        await approvals.deny(house.office, answered, WHY, ADA)
        first = (await approve(house, given)).grant
        await approve(house, waiting, amount="50.00")  # the first of two
    async with wide_open(tmp_path) as house:
        await timed.go_on(house.office)
        assert [each.id for each in house.gate.approvals.open_tickets] == [waiting]
        assert [each.id for each in house.gate.approvals.grants] == [first.id if first else None]
        done = await approve(house, waiting, EVE)
        assert done.grant is not None
        assert (done.grant.amount, done.grant.approver, done.grant.second) == ("50.00", "ada", "eve")
        assert len(house.gate.approvals.grants) == 2


async def test_a_ticket_of_a_process_that_died_waits_on(tmp_path: Path) -> None:
    """It was on disk, and in no table yet."""
    async with wide_open(tmp_path) as house:
        await add_all(house)
        ticket = await asked(house)
        held = await house.hold(1)  # is on disk, and so is what was said before it
        with sqlite3.connect(tmp_path / "comptroller.db") as source, sqlite3.connect(tmp_path / "copy.db") as copy:
            source.backup(copy)
        held.settle(1)
    (tmp_path / "other").mkdir(mode=0o700)
    (tmp_path / "copy.db").rename(tmp_path / "other" / "comptroller.db")
    async with opened(tmp_path / "other") as house:
        await timed.go_on(house.office)
        assert [each.id for each in house.gate.approvals.open_tickets] == [ticket]


class Unwritable:
    """Books that can be read alone."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def write_ticket(self, *_: Any) -> None:
        raise LedgerUnavailableError("disk full")

    async def write_grant(self, *_: Any) -> None:
        raise LedgerUnavailableError("disk full")


async def test_what_cannot_be_written_is_not_given(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = await asked(house)
    ledger, house.office.ledger = house.office.ledger, Unwritable(house.office.ledger)
    with pytest.raises(ControlProblem, match="stays as it was: disk full"):
        await approve(house, ticket)
    with pytest.raises(ControlProblem, match="disk full"):
        await approvals.deny(house.office, ticket, WHY, ADA)
    with pytest.raises(ControlProblem, match="disk full"):
        await grants.give(house.office, wanted(), WHY, ADA)
    assert house.gate.approvals.grants == ()
    assert [each.id for each in house.gate.approvals.open_tickets] == [ticket]
    house.office.ledger = ledger
    assert (await approve(house, ticket)).ticket.state == "approved"


# Grants.


def wanted(**changes: Any) -> Wanted:
    terms = Terms(amount=5 * USD, uses=None, lasts_s=600, bound="identity")
    given = {"role": "finops", "value": "agent/ant", "terms": terms, "suspends": True, "budgets": ("pool",)} | changes
    return Wanted(**given)


async def test_a_grant_can_be_given_to_who_has_not_asked(house: House) -> None:
    row = await grants.give(house.office, wanted(), WHY, ADA)
    assert (row.ticket, row.state, row.approver, row.expires_at > row.given_at) == (None, "active", "ada", True)
    assert [each.id for each in house.gate.approvals.grants] == [row.id]
    assert await told(house, row.id) == [("ada", "give")]
    minted = await tokens.mint(house.office, "agent/bee", None, "test")
    once = Terms(amount=USD, uses=2, lasts_s=60, bound="session")
    row = await grants.give(house.office, wanted(value=minted.session, terms=once, budgets=()), WHY, ADA)
    assert (row.bound, row.uses, row.amount) == ("session", 2, "1.00")
    task = Terms(amount=USD, lasts_s=60, bound="task")
    request = tokens.OpenRequest(identity="agent/bee", task_type="ticket", task="7")
    await tokens.open_session(house.office, request, "test")
    row = await grants.give(house.office, wanted(value="agent/bee:ticket:7", terms=task, budgets=()), WHY, ADA)
    assert (row.bound, row.value) == ("task", "agent/bee:ticket:7")


@pytest.mark.parametrize(
    ("changes", "who", "status", "code"),
    [
        ({"value": "agent/nope"}, ADA, 404, "not_found"),
        ({"budgets": ("pol",)}, ADA, 404, "not_found"),
        ({"budgets": ("board",)}, ADA, 422, "terms_invalid"),
        ({"budgets": (), "suspends": False}, ADA, 422, "terms_invalid"),
        ({"terms": Terms(amount=50 * USD, uses=None, bound="identity")}, ADA, 403, "second_needed"),
        ({"terms": Terms(amount=None, uses=1, bound="identity")}, ADA, 422, "terms_invalid"),
        ({"terms": Terms(amount=USD, lasts_s=10**6, bound="identity")}, ADA, 422, "terms_invalid"),
        ({"terms": Terms(amount=USD, bound="session")}, ADA, 404, "not_found"),
        ({"terms": Terms(amount=USD, bound="task")}, ADA, 404, "not_found"),
        ({}, CLEO, 403, "not_approver"),
        ({}, LEAD, 403, "own_request"),
    ],
)
async def test_grants_that_are_not_given(
    house: House, changes: dict[str, Any], who: Actor, status: int, code: str
) -> None:
    with pytest.raises(ControlProblem) as problem:
        await grants.give(house.office, wanted(**changes), WHY, who)
    assert no(problem) == (status, code)
    assert problem.value.hint
    assert house.gate.approvals.grants == ()


async def test_a_grant_is_taken_back_at_once_while_calls_use_it(house: House) -> None:
    row = await grants.give(house.office, wanted(), WHY, ADA)
    gate = house.gate
    call = await use(house, row.id, 2 * USD)
    [live] = await grants.list_grants(house.office)
    assert (live.held, live.spent) == ("2.00", "0.00")
    gone = await grants.revoke(house.office, row.id, "the incident is over", EVE)
    assert (gone.state, gone.revoked_by) == ("revoked", "eve")
    assert gate.approvals.grants == ()
    assert await grants.list_grants(house.office) == []
    gate.tree.settle(call, Amounts(USD, 10, 1))
    again = await grants.revoke(house.office, row.id, "twice", ADA)
    assert (again.state, again.revoked_by) == ("revoked", "eve")
    assert await told(house, row.id) == [("ada", "give"), ("eve", "revoke")]
    [listed] = await grants.list_grants(house.office, every=True)
    assert (listed.id, listed.state) == (row.id, "revoked")
    with pytest.raises(ControlProblem, match="There is no grant"):
        await grants.revoke(house.office, "grt_nope", WHY, ADA)


async def test_one_that_cannot_be_put_on_record_is_taken_back_all_the_same(house: House) -> None:
    row = await grants.give(house.office, wanted(), WHY, ADA)
    house.office.ledger = Unwritable(house.office.ledger)
    with pytest.raises(ControlProblem, match=r"is over in this process, but .* could not be written") as problem:
        await grants.revoke(house.office, row.id, WHY, ADA)
    assert "After a restart it goes on until" in problem.value.hint
    assert house.gate.approvals.grants == ()
    house.office.ledger = house.store
    assert (await grants.revoke(house.office, row.id, WHY, ADA)).state == "revoked", "once the disk has room"
    assert await house.store.grants_going_on() == []


async def test_its_end_is_on_record_once_expired_or_used_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Terms(amount=USD, uses=None, lasts_s=60, bound="identity")
    expires = await grants.give(house.office, wanted(terms=short), WHY, ADA)
    used_up = await grants.give(house.office, wanted(terms=Terms(amount=USD, uses=1, bound="identity")), WHY, ADA)
    goes_on = await grants.give(house.office, wanted(), WHY, ADA)
    call = await use(house, used_up.id, USD)
    house.gate.tree.settle(call, Amounts(USD // 2, 10, 1))
    later(house, monkeypatch, 60)
    for _ in range(2):
        await grants.end_past(house.office)
    assert [each.id for each in house.gate.approvals.grants] == [goes_on.id]
    for each, state in ((expires, "expired"), (used_up, "used_up")):
        assert await told(house, each.id) == [("ada", "give"), ("gateway", "end")]
        [end] = [change for change in await house.store.changes(10, key=each.id) if change.verb == "end"]
        assert end.reason == state
    assert '"spent":"0.50","used":1' in end.after


async def test_a_ticket_goes_on_saying_what_became_of_its_grant(house: House) -> None:
    """Memory has let go of it: what was spent by it stands in the books."""
    ticket = await asked(house)
    given = (await approve(house, ticket)).grant
    assert given is not None
    key = ledger_key(given.id)
    house.gate.tree.settle(await use(house, given.id, USD), Amounts(USD, 10, 1))
    house.gate.journal.append(held(1, windows=(key,)))
    house.gate.journal.append(settled(1, windows=(key,), posted=Amounts(USD, 10, 1)))
    await grants.end_past(house.office)
    assert house.gate.approvals.grants == ()
    shown = (await approvals.show_ticket(house.office, ticket)).grant
    assert shown is not None
    assert (shown.state, shown.spent, shown.used) == ("used_up", "1.00", 1)
    assert (await grants.revoke(house.office, given.id, WHY, ADA)).state == "used_up", "it is over already"


async def use(house: House, grant_id: str, usd: int) -> str:
    """Take a hold that the grant counts."""
    from comptroller.core.budget.draw import Draw
    from comptroller.core.budget.tree import Hold

    meter = house.gate.tree.meter(grant_id)
    assert meter is not None
    hold = house.gate.tree.hold(f"{grant_id}.1", Draw((), (meter,)), Amounts(usd, 10, 1))
    assert isinstance(hold, Hold)
    return hold.id


# Over HTTP.


async def test_roles_and_what_is_not_understood(house: House) -> None:
    app = api.build(house.office, Outside(Admin()))
    ticket = await asked(house)
    made = {
        role: (await admins.add(house.office, f"{role}-1", role, None, None, None, "test")).credential
        for role in ("viewer", "operator", "approver")
    }
    path, sent = f"/api/v1/approvals/{ticket}", {"reason": WHY}
    for role in ("viewer", "operator"):
        said = await ask(app, "POST", f"{path}/approve", sent, credential=made[role])
        assert (said.status, said.code) == (403, "role_forbidden")
        assert (await ask(app, "GET", path, credential=made[role])).body["ticket"]["id"] == ticket
    said = await ask(app, "POST", f"{path}/approve", sent, credential=made["approver"])
    assert (said.status, said.code) == (403, "not_approver"), "an approver, and not of this role"
    for wrong in ({"uses": "many"}, {"bound": "team"}, {"lasts_s": "1h"}, {"amount": 5}):
        said = await ask(app, "POST", f"{path}/approve", sent | wrong, credential=made["approver"])
        assert (said.status, said.code) == (400, "request_invalid"), wrong
    said = await ask(app, "POST", f"{path}/approve", {"reason": " "}, credential=made["approver"])
    assert (said.status, said.code) == (422, "invalid")


OF_TOOL: dict[str, Any] = {
    "model": "", "tool": "files/delete", "arguments_digest": "d1", "arguments": '{"path": "/srv/a"}',
    "arguments_bytes": 18, "classes": ("path",), "risks": ("destructive",), "amount": None, "estimate_nanos": 0,
}  # fmt: skip


async def test_of_a_tool_the_arguments_are_seen_until_somebody_answers(house: House) -> None:
    ticket = await asked(house, **OF_TOOL)
    [row] = await approvals.list_tickets(house.office)
    assert (row.tool, row.arguments, row.arguments_bytes) == ("files/delete", '{"path": "/srv/a"}', 18)
    assert (row.classes, row.risks) == (("path",), ("destructive",))
    with pytest.raises(ControlProblem) as problem:
        await approve(house, ticket, uses=2)
    assert no(problem) == (422, "terms_invalid")
    done = await approve(house, ticket, amount="0.50")
    assert done.grant is not None
    assert (done.grant.tool, done.grant.arguments_digest, done.grant.uses) == ("files/delete", "d1", 1)
    await house.store.fold()
    [kept] = await approvals.list_tickets(house.office, every=True)
    assert (kept.arguments, kept.arguments_digest) == ("", "d1")


def test_rows_name_every_field_of_a_ticket() -> None:
    """What a field is for is decided when it comes."""
    hidden = {"dialect", "question"}
    renamed = {"at_ns": "asked_at", "call_id": "call", "estimate_nanos": "estimate_usd"}
    shown = {renamed.get(name, name.removesuffix("_ns")) for name in Ticket.__struct_fields__ if name not in hidden}
    assert shown == set(TicketRow.__struct_fields__)


class Told:
    """Whoever wants to be told."""

    heard = True

    def __init__(self) -> None:
        self.said: list[tuple[str, str, Any, Any]] = []

    def emit(
        self, name: str, subject: str, data: Any, about: Any = None, *, once: str = "", until_ns: int | None = None
    ) -> None:
        assert kind_of(name)
        self.said.append((name, subject, json.loads(msgspec.json.encode(data)), about))


async def test_whoever_wants_to_know_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without amounts as numbers, secrets or prompts; filters see whose it is."""
    told = house.gate.notices = Told()
    answered, late = await asked(house), await asked(house)
    given = (await approve(house, answered)).grant
    assert given is not None
    await grants.revoke(house.office, given.id, WHY, EVE)
    await grants.give(house.office, wanted(), WHY, ADA)
    later(house, monkeypatch, 600)
    await approvals.go_on_overdue(house.office)
    await grants.end_past(house.office)
    names = [name for name, *_ in told.said]
    assert names == [
        "grant.made",
        "approval.decided",
        "grant.revoked",
        "grant.made",
        "approval.escalated",
        "grant.ended",
    ]
    (_, subject, made, about), (_, ticket, decided, _) = told.said[:2]
    assert (subject, made["amount"], made["approver"], made["actor"]) == (given.id, "2.00", "ada", "ada")
    assert about == {
        "identity": "agent/ant", "team": "red", "owner": "red-lead@acme.example", "environment": "testing",
        "session": given.value,
    }  # fmt: skip
    assert (ticket, decided["state"], decided["decided_by"], decided["grant"]) == (
        answered,
        "approved",
        "ada",
        given.id,
    )
    escalated = told.said[4][2]
    assert (escalated["ticket"], escalated["role"], escalated["estimate_usd"]) == (late, "cfo", "2.00")
