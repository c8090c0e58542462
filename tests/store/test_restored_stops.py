"""What was stopped is stopped after a restore, whether the backup knew of it or the store that it replaces."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comptroller.control import changes, findings, stops, timed, tokens
from comptroller.control.problem import ControlProblem
from comptroller.core.identity.request import IdentityRequest
from comptroller.flow.records import Change
from tests.control.house import House, opened
from tests.store.samples import grant, ticket
from tests.store.test_restore import back_up, lose, restore

DATABASE = "comptroller.db"


async def suspend(house: House, scope: Any, value: str, reason: str) -> None:
    await stops.suspend(house.office, scope, value, reason, "dana")


async def in_force(house: House) -> dict[str, tuple[str, str]]:
    """Who stopped what and why, as the books have it."""
    return {f"{row.scope} {row.value}": (row.actor, row.reason) for row in await stops.list_stops(house.office)}


async def test_stops_of_the_backup_and_of_the_replaced_store_are_in_force(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with opened(state) as house:
        await suspend(house, "identity", "agent/ant", "a leak")
        await suspend(house, "team", "blue", "incident 7")
        await house.store.fold()
        made = back_up(state)
        await stops.resume(house.office, "team", "blue", "it is over", "dana")
        await suspend(house, "model", "sandbox-*", "wrong answers")
    restore(state, made)
    async with opened(state) as house:
        assert await in_force(house) == {
            "identity agent/ant": ("dana", "a leak"),
            "team blue": ("dana", "incident 7"),  # lifted after the backup: nobody is let in by an old paper
            "model sandbox-*": ("dana", "wrong answers"),
        }
        with pytest.raises(ControlProblem, match="The team blue was suspended by dana"):
            await tokens.mint(house.office, "agent/bee", None, "admin")
        found = await changes.list_changes(house.office)
        (carried,) = [row for row in found if (row.noun, row.key, row.verb) == ("model", "sandbox-*", "suspend")]
        assert (carried.actor, "stopped by dana in the store that was replaced" in carried.reason) == ("restore", True)


async def test_a_lost_store_leaves_what_the_backup_had_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with opened(state) as house:
        await suspend(house, "everything", "", "on fire")
        await house.store.fold()
        made = back_up(state)
    lose(state)
    restore(state, made, "accept")
    async with opened(state) as house:
        assert await in_force(house) == {"everything ": ("dana", "on fire")}


def asked(number: int, **decided: Any) -> IdentityRequest:
    return IdentityRequest(
        id=f"req_{number}", issuer="main", subject=f"s{number}", owner="red-lead@acme.example", purpose="tries things",
        environment="testing", kind="agent", name=None, asked_at_ns=number, **decided,
    )  # fmt: skip


async def write(house: House, request: IdentityRequest) -> None:
    change = Change(request.asked_at_ns, "dana", "write", "identity_request", request.id)
    await house.store.write_request(request, [change])


async def states(house: House) -> dict[str, str]:
    return {each.id: each.state for each in await house.store.requests(100, every=True)}


async def test_who_was_denied_after_the_backup_stays_denied(tmp_path: Path) -> None:
    """A denial ends a sandbox, and an old paper opens none."""
    state = tmp_path / "state"
    no: dict[str, Any] = {"decided_at_ns": 9, "decided_by": "dana", "decided_reason": "who is that?"}
    async with opened(state) as house:
        for number in (1, 2, 3):
            await write(house, asked(number))
        await house.store.fold()
        made = back_up(state)
        await write(house, asked(1, **no))
        await write(house, asked(2, **no, identity="agent/two", team="red"))
        await write(house, asked(4, **no))
    plan, _ = restore(state, made)
    assert "what was stopped or denied since still is" in plan.forgets
    async with opened(state) as house:
        assert await states(house) == {"req_1": "denied", "req_2": "open", "req_3": "open", "req_4": "denied"}
        found = [row for row in await changes.list_changes(house.office) if row.verb == "carry"]
        assert {row.key for row in found} == {"req_1", "req_4"}


async def test_what_nobody_knows_to_be_stopped_is_said(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with opened(state) as house:
        await house.store.fold()
        made = back_up(state)
        await suspend(house, "team", "blue", "incident 7")
    lose(state)
    plan, _ = restore(state, made, "accept")
    assert "is not known here, and works again" in plan.forgets
    async with opened(state) as house:
        assert await in_force(house) == {}
        (finding,) = [each for each in await findings.list_findings(house.office) if each.code == "restored"]
        assert plan.forgets in finding.sentence


async def test_a_replaced_store_that_knows_no_stops_is_read_all_the_same(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with opened(state) as house:
        await suspend(house, "team", "blue", "incident 7")
        await house.store.fold()
        made = back_up(state)
    with closing(sqlite3.connect(state / DATABASE)) as connection:  # as an older program left it
        connection.execute("DROP TABLE stops")
    plan, _ = restore(state, made)
    assert plan.replaced == "continues"
    async with opened(state) as house:
        assert await in_force(house) == {"team blue": ("dana", "incident 7")}


async def test_no_grant_and_no_question_comes_back_out_of_a_backup(tmp_path: Path) -> None:
    """Who revoked it, and what was spent by it since, the backup does not know: it gives nobody a right."""
    state = tmp_path / "state"
    async with opened(state) as house:
        await house.store.write_ticket(ticket(1), Change(1, "agent/scout", "ask", "approval", ticket(1).id))
        await house.store.write_grant(grant(1), Change(1, "ada", "give", "grant", grant(1).id))
        made = back_up(state)
        await house.store.write_grant(grant(2), Change(2, "ada", "give", "grant", grant(2).id))
    restore(state, made)
    async with opened(state) as house:
        await timed.go_on(house.office)
        assert (house.gate.approvals.open_tickets, house.gate.approvals.grants) == ((), ())
        [denied], [revoked] = await house.store.tickets(10), await house.store.grants(10)
        assert (denied.state, denied.decided_by) == ("denied", "restore")
        assert "restored from a backup" in denied.said
        assert revoked.revoked_by == "restore"
        told = {(row.noun, row.verb, row.actor) for row in await changes.list_changes(house.office)}
        assert {("approval", "deny", "restore"), ("grant", "revoke", "restore")} <= told
