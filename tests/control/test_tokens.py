"""Minting: for whom, for how long, and that nothing works that was not written down."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from comptroller.control import sessions, tokens
from comptroller.control.problem import ControlProblem
from comptroller.core.identity.credential import Claims
from comptroller.core.instant import NANOS_PER_SECOND, from_datetime
from comptroller.flow.journal import LedgerUnavailableError
from tests.control.house import Interrupted, opened
from tests.harness.configuration import identity

TODAY = datetime.now(UTC).date()
MEMBERS = {
    "agent/ant": identity("red"),
    "agent/old": identity("red", expires=TODAY - timedelta(days=1)),
    "agent/last-day": identity("red", expires=TODAY),
    "agent/grace": identity("red", environment="production", expires=TODAY - timedelta(days=1)),
}


async def test_a_credential_opens_a_session_that_is_on_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        before_ns = time.time_ns()
        minted = await tokens.mint(house.office, "agent/ant", 600, "admin")
        after_ns = time.time_ns()
        claims = house.keyring.verify(minted.credential, house.gate.clock.expiry_ns())
        assert isinstance(claims, Claims)
        assert (claims.identity, claims.session, claims.minted_by) == ("agent/ant", minted.session, "admin")
        assert minted.lifetime_s == 600
        assert before_ns - NANOS_PER_SECOND <= claims.expires_at_ns - 600 * NANOS_PER_SECOND <= after_ns
        assert house.gate.sessions[minted.session].identity == "agent/ant"
        (change,) = await house.store.changes(1)
        assert (change.actor, change.verb, change.noun, change.key) == ("admin", "mint", "session", minted.session)
        assert minted.credential not in str(change)
    async with opened(tmp_path) as house:
        assert minted.session in house.gate.sessions
        assert not files_with(tmp_path, minted.credential)


def files_with(folder: Path, secret: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("identity_id", "code"),
    [("agent/nobody", "not_found"), ("agent/old", "identity_expired"), ("agent/an", "not_found")],
)
async def test_who_may_not_act_gets_none(tmp_path: Path, identity_id: str, code: str) -> None:
    async with opened(tmp_path, identities=MEMBERS) as house:
        with pytest.raises(ControlProblem) as caught:
            await tokens.mint(house.office, identity_id, None, "admin")
        assert caught.value.code == code
        assert caught.value.hint
        assert house.gate.sessions == {}


async def test_a_near_name_is_offered(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        with pytest.raises(ControlProblem) as caught:
            await tokens.mint(house.office, "agent/atn", None, "admin")
        assert "'agent/ant'" in caught.value.hint


async def test_grace_still_mints_and_no_credential_outlives_its_identity(tmp_path: Path) -> None:
    async with opened(tmp_path, identities=MEMBERS) as house:
        await tokens.mint(house.office, "agent/grace", None, "admin")
        minted = await tokens.mint(house.office, "agent/last-day", 24 * 3600, "admin")
        midnight = datetime.combine(TODAY + timedelta(days=1), datetime.min.time(), UTC)
        assert house.gate.sessions[minted.session].expires_at_ns <= from_datetime(midnight)


async def test_what_cannot_be_written_is_not_handed_out(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        ledger: Any = house.store

        async def full(point: str) -> None:
            if point == "before open_session":
                raise LedgerUnavailableError("disk full")

        house.office.ledger = Interrupted(ledger, full)
        with pytest.raises(ControlProblem, match="No credential was minted: disk full"):
            await tokens.mint(house.office, "agent/ant", None, "admin")
        assert house.gate.sessions == {}


async def test_a_draining_gateway_mints_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        house.gate.draining = True
        with pytest.raises(ControlProblem, match="shutting down"):
            await tokens.mint(house.office, "agent/ant", None, "admin")


async def test_ending_stops_memory_first_and_then_the_books(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        minted = await tokens.mint(house.office, "agent/ant", None, "admin")
        call = await house.hold(10, session=minted.session)
        other = await house.hold(10)
        seen: list[str] = []

        async def look(point: str) -> None:
            ended = house.gate.sessions[minted.session].ended_at_ns is not None
            seen.append(f"{point}: {'ended' if ended else 'open'}, {call.live.line.reason}")

        house.office.ledger = Interrupted(house.store, look)
        done = await sessions.end_session(house.office, minted.session, " runaway loop ", "admin")
        assert seen[0] == "before end_sessions: ended, stopped"
        assert (done.cut_calls, done.already_ended, done.session.state) == (1, False, "ended")
        assert other.live.line.reason is None
        again = await sessions.end_session(house.office, minted.session, "again", "admin")
        assert (again.already_ended, again.session.ended_reason) == (True, "runaway loop")
        written = await house.store.session(minted.session)
        assert written is not None
        assert (written.ended_by, written.ended_reason) == ("admin", "runaway loop")
        for each in (call, other):
            each.settle(0)


async def test_a_stop_that_cannot_be_written_stands_and_can_be_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        minted = await tokens.mint(house.office, "agent/ant", None, "admin")

        async def full(point: str) -> None:
            if point == "before end_sessions":
                raise LedgerUnavailableError("disk full")

        house.office.ledger = Interrupted(house.store, full)
        with pytest.raises(ControlProblem, match="stopped in this process, but the stop could not be written"):
            await sessions.end_session(house.office, minted.session, "loop", "admin")
        assert house.gate.sessions[minted.session].ended_at_ns is not None
        house.office.ledger = house.store
        done = await sessions.end_session(house.office, minted.session, "another reason", "admin")
        assert not done.already_ended
        written = await house.store.session(minted.session)
        assert written is not None
        assert written.ended_reason == "loop"


async def test_the_list(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        first = await tokens.mint(house.office, "agent/ant", None, "admin")
        second = await tokens.mint(house.office, "agent/bee", None, "admin")
        await sessions.end_session(house.office, first.session, "done", "admin")
        assert [row.id for row in await sessions.list_sessions(house.office)] == [second.session]
        every = await sessions.list_sessions(house.office, every=True)
        assert [(row.id, row.state) for row in every] == [(second.session, "active"), (first.session, "ended")]
        assert await sessions.list_sessions(house.office, "agent/ant") == []
        assert len(await sessions.list_sessions(house.office, "agent/ant", every=True)) == 1
