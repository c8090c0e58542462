"""Stopping and resuming: at once, once, on record, and whatever becomes of the books."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from comptroller.control import identities, sessions, status, stops, tokens
from comptroller.control.delegate import OpenRequest
from comptroller.control.problem import ControlProblem
from comptroller.core.budget.bounds import Bound
from comptroller.core.work.session import Session
from comptroller.core.work.stop import StopScope
from comptroller.flow.journal import LedgerUnavailableError
from tests.control.house import House, Interrupted, opened


class Unwritable:
    """Books that can be read and take no stop."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def write_stop(self, *written: Any) -> None:
        raise LedgerUnavailableError("disk full")

    async def lift_stop(self, *written: Any) -> None:
        raise LedgerUnavailableError("disk full")


async def suspend(house: House, scope: StopScope, value: str = "", reason: str = "a leak") -> stops.StopMade:
    return await stops.suspend(house.office, scope, value, reason, "dana")


async def resume(house: House, scope: StopScope, value: str = "") -> stops.StopRow:
    return await stops.resume(house.office, scope, value, "it is over", "erin")


async def events(house: House, noun: str) -> list[tuple[str, str, str, str]]:
    """What is on record, the oldest first."""
    found = [each for each in await house.store.changes(100) if each.noun == noun and each.verb != "add"]
    return [(each.verb, each.key, each.actor, each.reason) for each in reversed(found)]


async def test_a_stop_cuts_what_it_matches_and_nothing_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        ant, bee = await house.hold(1), await house.hold(1, identity="agent/bee")
        small = await house.hold(1, model="sandbox-small")
        made = await suspend(house, "team", "blue")
        assert (made.cut_calls, made.already_stopped, made.warnings) == (1, False, ())
        assert [each.live.line.reason for each in (ant, bee, small)] == [None, "stopped", None]
        said = bee.live.line.said
        assert said is not None
        assert (said.code, "The team blue was suspended by dana" in said.sentence) == ("identity_suspended", True)
        assert (await suspend(house, "model", "sandbox-s*")).cut_calls == 1
        assert small.live.line.reason == "stopped"
        assert (await suspend(house, "provider", "sandbox")).cut_calls == 3
        assert ant.live.line.reason == "stopped"
        for call in (ant, bee, small):
            call.settle(0)


async def test_stopping_twice_says_who_did_it_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        first = await suspend(house, "identity", "agent/ant")
        again = await stops.suspend(house.office, "identity", "agent/ant", "me too", "erin")
        assert again.already_stopped
        assert again.stop == first.stop
        assert (again.stop.actor, again.stop.reason) == ("dana", "a leak")
        assert await events(house, "identity") == [("suspend", "agent/ant", "dana", "a leak")]


async def test_a_stop_and_its_lifting_are_on_record_and_survive(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await suspend(house, "identity", "agent/ant")
        await suspend(house, "everything", reason="on fire")
    async with opened(tmp_path) as house:
        assert [each.name for each in house.gate.stops.in_force] == ["identity agent/ant", "everything"]
        lifted = await resume(house, "identity", "agent/ant")
        assert (lifted.lifted_by, lifted.lifted_reason) == ("erin", "it is over")
        assert [row.scope for row in await stops.list_stops(house.office)] == ["everything"]
        every = await stops.list_stops(house.office, every=True)
        assert {(row.scope, row.lifted_by) for row in every} == {("everything", None), ("identity", "erin")}
        assert await events(house, "identity") == [
            ("suspend", "agent/ant", "dana", "a leak"),
            ("resume", "agent/ant", "erin", "it is over"),
        ]
        assert await events(house, "everything") == [("suspend", "", "dana", "on fire")]
    async with opened(tmp_path) as house:
        assert [each.name for each in house.gate.stops.in_force] == ["everything"]
        again = await suspend(house, "identity", "agent/ant", "once more")
        assert not again.already_stopped


async def test_a_stop_that_cannot_be_written_holds_here_and_is_written_later(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        ledger = house.office.ledger
        call = await house.hold(1)
        house.office.ledger = Unwritable(ledger)
        with pytest.raises(ControlProblem, match="is stopped in this process, but the stop could not be written"):
            await suspend(house, "identity", "agent/ant")
        assert call.live.line.reason == "stopped"
        call.settle(0)
        with pytest.raises(ControlProblem) as caught:
            await tokens.mint(house.office, "agent/ant", None, "admin")
        assert caught.value.code == "identity_suspended"
        with pytest.raises(ControlProblem, match="stays stopped"):
            await resume(house, "identity", "agent/ant")
        assert [row.value for row in await stops.list_stops(house.office)] == ["agent/ant"]
        house.office.ledger = ledger
        assert (await suspend(house, "identity", "agent/ant", "again")).already_stopped
        assert await events(house, "identity") == [("suspend", "agent/ant", "dana", "a leak")]
    async with opened(tmp_path) as house:
        assert [each.name for each in house.gate.stops.in_force] == ["identity agent/ant"]


async def test_a_stop_that_was_never_written_can_be_lifted(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        ledger = house.office.ledger
        house.office.ledger = Unwritable(ledger)
        with pytest.raises(ControlProblem):
            await suspend(house, "team", "red")
        house.office.ledger = ledger
        await resume(house, "team", "red")
        assert [verb for verb, *_ in await events(house, "team")] == ["suspend", "resume"]
        (row,) = await stops.list_stops(house.office, every=True)
        assert row.lifted_by == "erin"


async def test_what_is_stopped_while_somebody_lifts_it_is_stopped(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await suspend(house, "team", "red")
        stopping: list[asyncio.Task[stops.StopMade]] = []

        async def happens(when: str) -> None:
            if when == "before lift_stop":
                stopping.append(asyncio.create_task(suspend(house, "team", "red", "it is not over")))

        house.office.ledger = Interrupted(house.office.ledger, happens)
        await resume(house, "team", "red")
        made = await stopping[0]
        assert not made.already_stopped
        assert [(each.name, each.reason) for each in house.gate.stops.in_force] == [("team red", "it is not over")]
    async with opened(tmp_path) as house:
        assert [each.reason for each in house.gate.stops.in_force] == ["it is not over"]


@pytest.mark.parametrize(
    ("scope", "value", "hint"),
    [
        ("identity", "agent/an", "Did you mean 'agent/ant'?"),
        ("team", "rad", "Did you mean 'red'?"),
        ("owner", "red-lead@acme", "Did you mean 'red-lead@acme.example'?"),
        ("provider", "sandbax", "Did you mean 'sandbox'?"),
        ("session", "ses_nope", "`comptroller sessions` lists them."),
        ("credential", "crd_nope", ""),
    ],
)
async def test_a_name_that_nobody_has_is_an_error_and_stops_nothing(
    tmp_path: Path, scope: StopScope, value: str, hint: str
) -> None:
    async with opened(tmp_path) as house:
        with pytest.raises(ControlProblem, match=f"There is no {scope} '{value}'") as caught:
            await suspend(house, scope, value)
        assert (caught.value.status, caught.value.hint) == (404, hint)
        assert len(house.gate.stops) == 0


async def test_a_model_or_tenant_that_nobody_knows_is_a_warning(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        assert (await suspend(house, "model", "sandbox-small")).warnings == ()
        assert (await suspend(house, "model", "sandbox-*")).warnings == ()
        assert (await suspend(house, "model", "*")).warnings == ()
        (warning,) = (await suspend(house, "model", "sandbax")).warnings
        assert "No entry of the registry serves a model 'sandbax' now." in warning
        (warning,) = (await suspend(house, "tenant", "customer-7")).warnings
        assert "customer-7" in warning
        (warning,) = (await suspend(house, "subject", "main:eve")).warnings
        assert "main:eve" in warning
        assert len(house.gate.stops) == 6


async def test_a_typo_tells_the_nearest_session_and_not_all_that_there_are(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        known = [(await tokens.mint(house.office, "agent/ant", None, "admin")).session for _ in range(3)]
        for typo in (known[1][:-1], "x"):
            with pytest.raises(ControlProblem) as caught:
                await suspend(house, "session", typo)
            assert sum(each in caught.value.hint for each in known) == (typo != "x")
        with pytest.raises(ControlProblem) as caught:
            await suspend(house, "credential", "nothing like it")
        assert "crd_" not in caught.value.hint


@pytest.mark.parametrize(
    ("scope", "value", "reason", "sentence"),
    [
        ("team", "", "x", "Which team?"),
        ("everything", "red", "x", "Everything has no name"),
        ("team", "red", " ", "This needs a reason"),
        ("team", "r" * 201, "x", "at most 200 printable"),
        ("team", "r\x1bd", "x", "at most 200 printable"),
    ],
)
async def test_what_is_no_stop_is_said(
    tmp_path: Path, scope: StopScope, value: str, reason: str, sentence: str
) -> None:
    async with opened(tmp_path) as house:
        with pytest.raises(ControlProblem, match=sentence) as caught:
            await suspend(house, scope, value, reason)
        assert caught.value.status == 422


async def test_a_credential_is_stopped_by_its_id_or_as_it_was_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        one, two = [await tokens.mint(house.office, "agent/ant", None, "admin") for _ in range(2)]
        made = await suspend(house, "credential", one.credential)
        assert made.stop.value == house.gate.sessions[one.session].credential
        assert (await suspend(house, "credential", made.stop.value)).already_stopped
        assert one.credential not in json.dumps(await events(house, "credential"))
        await resume(house, "credential", one.credential)
        with pytest.raises(ControlProblem, match="is of no use to anybody") as caught:
            await suspend(house, "credential", two.credential[:-8] + "AAAAAAAA")
        assert two.credential[:30] not in str(caught.value.body)


async def test_nothing_is_minted_for_what_is_stopped(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        cases: list[tuple[StopScope, str, str]] = [
            ("identity", "agent/ant", "identity_suspended"),
            ("owner", "red-lead@acme.example", "identity_suspended"),
            ("team", "red", "identity_suspended"),
            ("everything", "", "gateway_suspended"),
        ]
        for scope, value, code in cases:
            await suspend(house, scope, value)
            with pytest.raises(ControlProblem) as caught:
                await tokens.mint(house.office, "agent/ant", None, "admin")
            assert (caught.value.status, caught.value.code) == (409, code)
            assert "by dana" in caught.value.message
            if scope != "everything":
                assert (await tokens.mint(house.office, "agent/bee", None, "admin")).credential
            await resume(house, scope, value)
        assert (await tokens.mint(house.office, "agent/ant", None, "admin")).credential


async def test_what_is_stopped_shows(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        key = ("sandbox", "sandbox-large", "openai_chat")
        house.gate.bounds[key] = Bound(*key, overruns=3, quarantined=True, last_overrun_ns=5)
        await stops.suspend(house.office, "owner", "red-lead@acme.example", "it loops", "rule:looping", "quarantine")
        assert {row.id: row.state for row in identities.list_identities(house.office)} == {
            "agent/ant": "suspended",
            "agent/bee": "active",
        }
        assert (await status.show_status(house.office)).stops == 1
        rows = [(row.scope, row.value, row.kind, row.actor) for row in await stops.list_stops(house.office)]
        assert rows == [
            ("owner", "red-lead@acme.example", "quarantine", "rule:looping"),
            ("bound", "sandbox/sandbox-large/openai_chat", "quarantine", "gateway"),
        ]
        assert await events(house, "owner") == [
            ("quarantine", "red-lead@acme.example", "rule:looping", "it loops"),
        ]


async def test_what_is_not_stopped_cannot_be_resumed(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await suspend(house, "team", "red")
        with pytest.raises(ControlProblem, match="team rad is not stopped") as caught:
            await resume(house, "team", "rad")
        assert (caught.value.status, caught.value.hint) == (409, "Did you mean 'team red'?")


async def test_an_ended_session_that_only_the_books_know_can_be_stopped(tmp_path: Path) -> None:
    """Its children may still run."""
    async with opened(tmp_path) as house:
        session = (await tokens.mint(house.office, "agent/ant", None, "admin")).session
        await sessions.end_session(house.office, session, "done", "admin")
        del house.gate.sessions[session]
        assert (await suspend(house, "session", session)).stop.value == session


def open_below(house: House, parent: str, identity: str, **known: Any) -> Session:
    """A session below another, as delegation opens one."""
    gate, above = house.gate, house.gate.sessions[parent]
    opened = Session(
        gate.clock.new_id("ses"), identity, gate.clock.new_id("crd"), gate.clock.now_ns(), above.expires_at_ns, "test",
        parent=parent, root=above.top, depth=above.depth + 1, **known,
    )  # fmt: skip
    gate.open_session(opened)
    return opened


async def test_a_session_is_suspended_with_what_it_started_and_what_it_belongs_to(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        root = (await tokens.mint(house.office, "agent/ant", None, "admin")).session
        other = (await tokens.mint(house.office, "agent/bee", None, "admin")).session
        child = open_below(house, root, "agent/bee", tenant="customer-7", subject="main:eve").id
        leaf = open_below(house, child, "agent/bee").id
        cases: list[tuple[StopScope, str, set[str]]] = [
            ("session", root, {root, child, leaf}),
            ("session", child, {child, leaf}),
            ("identity", "agent/ant", {root, child, leaf}),
            ("team", "blue", {other, child, leaf}),
            ("tenant", "customer-7", {child, leaf}),
            ("subject", "main:eve", {child, leaf}),
            ("everything", "", {root, other, child, leaf}),
        ]
        for scope, value, suspended in cases:
            assert (await suspend(house, scope, value)).warnings == ()
            states = {row.id: row.state for row in await sessions.list_sessions(house.office)}
            assert {key for key, state in states.items() if state == "suspended"} == suspended
            assert len(states) == 4
            await resume(house, scope, value)


async def test_nothing_is_opened_or_minted_below_what_is_stopped(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        office = house.office
        root = (await tokens.mint(office, "agent/ant", None, "admin")).session
        child = (await tokens.open_session(office, OpenRequest(parent=root, tenant="customer-7"), "admin")).session
        cases: list[tuple[StopScope, str, str]] = [
            ("session", root, "session_suspended"),
            ("identity", "agent/ant", "identity_suspended"),
            ("tenant", "customer-7", "identity_suspended"),
        ]
        for scope, value, code in cases:
            await suspend(house, scope, value)
            for minting in (
                tokens.open_session(office, OpenRequest(parent=child), "admin"),
                tokens.fresh_credential(office, child, None, "admin"),
            ):
                with pytest.raises(ControlProblem) as caught:
                    await minting
                assert (caught.value.status, caught.value.code) == (409, code)
                assert "by dana" in caught.value.message
            await resume(house, scope, value)
        await suspend(house, "tenant", "customer-8")
        await suspend(house, "subject", "main:eve")
        for who in ({"tenant": "customer-8"}, {"subject": "main:eve"}):
            with pytest.raises(ControlProblem) as caught:
                await tokens.open_session(office, OpenRequest(identity="agent/ant", **who), "admin")
            assert caught.value.code == "identity_suspended"
        assert (await tokens.fresh_credential(office, child, None, "admin")).session == child
