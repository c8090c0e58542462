"""Sessions and their bounds: what the registry says of them, how they end, and what a restart keeps."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from comptroller.control import sessions, tokens
from comptroller.control.interfaces import CallRecord
from comptroller.control.problem import ControlProblem
from comptroller.control.tokens import OpenRequest
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.work.bounds import Bounds
from comptroller.flow.caller import Caller
from comptroller.flow.identify import identify
from comptroller.flow.journal import LedgerUnavailableError
from tests.control.house import House, Interrupted, opened
from tests.harness import configuration

SMALL = {"bounds": {"agent": {"usd": "2.00", "model_calls": 3, "wall_clock_s": 600, "idle_s": 60}}}


def wake(house: House, session_id: str, *, idle_s: int) -> None:
    """As if nothing had happened in a session for so long."""
    pulse = house.gate.runs.pulse(session_id, 0)
    pulse.at_ns = house.gate.clock.expiry_ns() - idle_s * NANOS_PER_SECOND


async def test_a_session_has_the_bounds_of_its_kind_and_profile_and_asks_only_for_less(tmp_path: Path) -> None:
    support = {"usd": "unbounded", "tokens": 500}
    identities = {
        "agent/ant": configuration.identity("red"),
        "agent/bee": configuration.identity("red") | {"profile": "support"},
    }
    async with opened(tmp_path, identities=identities, profiles={"support": support}, **SMALL) as house:
        gate = house.gate
        ant = await tokens.open_session(house.office, OpenRequest(identity="agent/ant"), "admin")
        of_kind = Bounds(2 * 10**9, None, None, 3, None, 600, 60, 3, 10)
        assert gate.sessions[ant.session].bounds == of_kind
        assert ant.lifetime_s == 600  # a credential does not outlive its session
        bee = await tokens.open_session(house.office, OpenRequest(identity="agent/bee"), "admin")
        of_profile = msgspec.structs.replace(of_kind, usd_nanos=None, tokens=500)
        assert (gate.sessions[bee.session].bounds, gate.sessions[bee.session].profile) == (of_profile, "support")
        less = OpenRequest(identity="agent/ant", bounds=Bounds(usd_nanos=10**9, tokens=7))
        opened_less = gate.sessions[(await tokens.open_session(house.office, less, "admin")).session]
        assert (opened_less.bounds.usd_nanos, opened_less.bounds.tokens) == (10**9, 7)
        for asked, words in (
            (OpenRequest(identity="agent/ant", bounds=Bounds(model_calls=4)), "model_calls 4 is more than the "),
            (OpenRequest(identity="agent/ant", profile="suport"), "no profile 'suport'"),
        ):
            with pytest.raises(ControlProblem, match=words):
                await tokens.open_session(house.office, asked, "admin")


async def test_what_is_idle_ends_by_itself_and_what_works_does_not(tmp_path: Path) -> None:
    async with opened(tmp_path, **SMALL) as house:
        idle, busy, fresh = [await tokens.mint(house.office, "agent/ant", None, "admin") for _ in range(3)]
        for minted in (idle, busy):
            wake(house, minted.session, idle_s=61)
        house.gate.runs.pulse(busy.session, 0).live = 1
        for minted in (idle, busy, fresh):
            house.gate.runs.rearm(house.gate.sessions[minted.session])
        await sessions.end_past(house.office)
        states = {row.id: (row.state, row.outcome) for row in await sessions.list_sessions(house.office, every=True)}
        assert states == {
            idle.session: ("ended", "idle"),
            busy.session: ("active", None),
            fresh.session: ("active", None),
        }
        written = await house.store.session(idle.session)
        assert written is not None
        assert (written.ended_by, written.ended_reason, written.outcome) == ("gateway", "idle for 60 s", "idle")


async def test_a_call_in_flight_is_cut_where_its_session_has_run_for_long_enough(tmp_path: Path) -> None:
    async with opened(tmp_path, **SMALL) as house:
        minted = await tokens.mint(house.office, "agent/ant", 500, "admin")
        call = await house.hold(10, session=minted.session)
        session = house.gate.sessions[minted.session]
        assert session.expires_at_ns < house.gate.clock.expiry_ns() + 501 * NANOS_PER_SECOND
        house.gate.change_session(msgspec.structs.replace(session, expires_at_ns=house.gate.clock.expiry_ns()))
        await sessions.end_past(house.office)
        assert call.live.line.reason == "stopped"
        (row,) = await sessions.list_sessions(house.office, every=True)
        assert row.state == "expired"
        call.settle(10)


async def test_what_a_session_has_spent_binds_it_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path, **SMALL) as house:
        minted = await tokens.mint(house.office, "agent/ant", None, "admin")
        for _ in range(3):
            (await house.hold(10, session=minted.session)).settle(7)
        (row,) = await sessions.list_sessions(house.office)
        assert row.state == "exhausted"
    async with opened(tmp_path) as house:
        session = await house.store.session(minted.session)
        assert session is not None
        assert session.bounds.model_calls == 3
        (row,) = await sessions.list_sessions(house.office)
        assert (row.id, row.state) == (minted.session, "exhausted")


async def test_books_that_cannot_be_written_do_not_end_the_job_that_ends_sessions(tmp_path: Path) -> None:
    async with opened(tmp_path, **SMALL) as house:
        minted = await tokens.mint(house.office, "agent/ant", None, "admin")
        wake(house, minted.session, idle_s=61)
        house.gate.runs.rearm(house.gate.sessions[minted.session])

        async def full(point: str) -> None:
            if point == "before end_sessions":
                raise LedgerUnavailableError("disk full")

        house.office.ledger = Interrupted(house.store, full)
        await sessions.end_past(house.office)
        assert [event for event, _ in house.warnings] == ["ledger_unavailable"]
        assert house.gate.sessions[minted.session].outcome == "idle"


@pytest.mark.parametrize("profile", [None, "wide"])
async def test_an_identity_has_so_many_sessions_open_at_once(tmp_path: Path, profile: str | None) -> None:
    """Whoever opens them; what is over counts no more, nor does what stands below another."""
    ant = configuration.identity("red") | ({} if profile is None else {"profile": profile})
    bounds, profiles = {"agent": {"sessions": 2}}, {"wide": {"sessions": 3}}
    identities = {"agent/ant": ant, "agent/bee": configuration.identity("red")}
    async with opened(tmp_path, identities=identities, bounds=bounds, profiles=profiles) as house:

        async def mint(identity: str = "agent/ant") -> tokens.Minted:
            return await tokens.mint(house.office, identity, None, "admin")

        most = 2 if profile is None else 3
        open_now = [await mint() for _ in range(most)]
        await tokens.open_session(house.office, OpenRequest(parent=open_now[0].session), "agent/ant")
        with pytest.raises(ControlProblem, match=f"has {most} open sessions of at most {most}") as no:
            await mint()
        assert (no.value.status, no.value.code) == (409, "session_limit")
        assert "[bounds.agent]" in no.value.hint
        await mint("agent/bee")
        await sessions.close_session(house.office, open_now[0].session, "succeeded", "done", "agent/ant")
        last = await mint()
        with pytest.raises(ControlProblem, match="open sessions"):
            await mint()
        await sessions.end_session(house.office, last.session, "loop", "admin")
        await sessions.close_session(house.office, open_now[0].session, "succeeded", "again", "agent/ant")
        await mint()
    async with opened(tmp_path) as house:
        with pytest.raises(ControlProblem, match="open sessions"):
            await tokens.mint(house.office, "agent/ant", None, "admin")


async def test_in_a_sandbox_each_person_has_so_many(tmp_path: Path) -> None:
    """It is one identity of many: whoever comes first does not keep all others out."""
    issuer = {"kind": "oidc", "url": "http://127.0.0.1:1", "audience": "here", "unregistered": "sandbox"}
    budgets = [
        configuration.budget("all", "9 USD"),
        configuration.budget("each", "1 USD", scope={"identity": "agent/visitor"}, per="subject"),
    ]
    known: dict[str, Any] = {
        "identities": {"agent/visitor": configuration.identity("red", environment="experimentation")},
        "issuers": {"corp": issuer | {"sandbox": "agent/visitor"}},
        "bounds": {"agent": {"sessions": 2}},
        "budgets": budgets,
    }
    async with opened(tmp_path, **known) as house:

        async def enter(who: str) -> None:
            request = OpenRequest(identity="agent/visitor", subject=who)
            await tokens.open_session(house.office, request, who)

        for who in ("corp:ada", "corp:ada", "corp:bob"):
            await enter(who)
        with pytest.raises(ControlProblem, match="corp:ada has 2 open sessions of at most 2 in agent/visitor") as no:
            await enter("corp:ada")
        assert no.value.code == "session_limit"
        await enter("corp:bob")


async def test_idle_time_goes_on_over_a_restart(tmp_path: Path) -> None:
    """Whoever stands above a session was at work when that was, also when that is over by now."""
    async with opened(tmp_path, **SMALL) as house:
        office = house.office

        async def below(parent: tokens.Minted) -> tokens.Minted:
            return await tokens.open_session(office, OpenRequest(parent=parent.session), "agent/ant")

        top, other, never = [await tokens.mint(office, "agent/ant", None, "admin") for _ in range(3)]
        child = await below(top)
        done = await below(other)
        calls = {}
        for minted in (top, child, child, other, done):
            caller = identify(house.gate, [minted.credential])
            assert isinstance(caller, Caller)
            calls[minted.session] = await house.spend(1, caller=caller)
        await sessions.close_session(office, done.session, "succeeded", "done", "agent/ant")
        await house.store.fold()
        ended = {each: (await calls_of(house, call)).settled_at_ns for each, call in calls.items()}
    async with opened(tmp_path) as house:
        gate, opened_ns = house.gate, house.gate.sessions[never.session].opened_at_ns
        at_ns = {each.session: gate.runs.pulse(each.session, 0).at_ns for each in (top, child, other, never)}
        assert at_ns == {
            top.session: ended[child.session],
            child.session: ended[child.session],
            other.session: ended[done.session],
            never.session: opened_ns,
        }


async def calls_of(house: House, call_id: str) -> CallRecord:
    record = await house.store.call(call_id)
    assert record is not None
    return record
