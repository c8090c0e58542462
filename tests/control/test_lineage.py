"""What stands below a session never outlives it: not after a narrowing, a stop that was half written, or a restart."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from comptroller.control import session_changes, sessions, timed, tokens
from comptroller.control.problem import ControlProblem
from comptroller.control.tokens import Minted, OpenRequest
from comptroller.core.work.bounds import Bounds
from comptroller.flow.caller import Caller
from comptroller.flow.decide import standing
from comptroller.flow.identify import identify
from comptroller.flow.journal import LedgerUnavailableError
from tests.control.house import House, Interrupted, opened
from tests.harness.configuration import identity

USD = 10**9
BOUNDS = {"agent": {"usd": "1.00", "wall_clock_s": 3600, "depth": 2, "fan_out": 5}}


async def start(house: House, parent: Minted | None = None, **given: Any) -> Minted:
    """A session; below another one where that is given."""
    if parent is None:
        return await tokens.open_session(house.office, OpenRequest(identity="agent/ant", **given), "admin")
    return await tokens.open_session(house.office, OpenRequest(parent=parent.session, **given), "agent/ant")


def refusal(house: House, minted: Minted) -> str | None:
    caller = identify(house.gate, [minted.credential])
    assert isinstance(caller, Caller), caller
    no = standing(house.gate, caller)
    return None if no is None else no.code


def set_books_aside(house: House) -> None:
    """From now on no end of a session can be written."""

    async def full(point: str) -> None:
        if point == "before end_sessions":
            raise LedgerUnavailableError("disk full")

    house.office.ledger = Interrupted(house.store, full)  # type: ignore[assignment]


async def test_an_earlier_end_is_that_of_all_below_it_after_a_restart_too(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top = await start(house)
        child = await start(house, top)
        leaf = await start(house, child)
        beside = await start(house)
        await session_changes.narrow(house.office, top.session, Bounds(wall_clock_s=600), None, None, "less", "admin")
        ends = [house.gate.sessions[each.session].expires_at_ns for each in (top, child, leaf)]
        assert len(set(ends)) == 1
        assert house.gate.sessions[beside.session].expires_at_ns > ends[0]
        written = [await house.store.session(each.session) for each in (top, child, leaf)]
        assert [each.expires_at_ns for each in written if each is not None] == ends
        # An operator's shorter renewal is no other.
        await session_changes.renew(house.office, top.session, Bounds(wall_clock_s=60), "less", "admin")
        assert len({house.gate.sessions[each.session].expires_at_ns for each in (top, child, leaf)}) == 1
        await session_changes.narrow(house.office, top.session, Bounds(wall_clock_s=0), None, None, "now", "admin")
        assert [refusal(house, each) for each in (top, child, leaf)] == ["session_ended"] * 3
    async with opened(tmp_path) as house:
        assert list(house.gate.sessions) == [beside.session]


async def test_below_a_session_that_nobody_knows_nothing_acts(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top = await start(house)
        child = await start(house, top)
        house.gate.forget_session(house.gate.sessions[top.session])
        assert refusal(house, child) == "session_ended"
        with pytest.raises(ControlProblem) as no:
            await start(house, child)
        assert no.value.code == "session_ended"


async def test_a_start_ends_what_has_lost_its_ancestors(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top = await start(house)
        child = await start(house, top)
        leaf = await start(house, child)
        # As an older version has left it: the end of the one at the top alone is written.
        session = house.gate.sessions[top.session]
        ended = msgspec.structs.replace(session, ended_at_ns=house.gate.clock.now_ns(), ended_by="admin")
        await house.store.end_sessions([(ended, sessions._event(ended))])
    async with opened(tmp_path) as house:
        assert house.gate.sessions == {}
        for each in (child, leaf):
            written = await house.store.session(each.session)
            assert written is not None
            assert (written.ended_by, written.outcome) == ("gateway", "abandoned")


@pytest.mark.parametrize("again", ["end", "timed"])
async def test_an_end_that_could_not_be_written_is_written_whole_the_next_time(tmp_path: Path, again: str) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top = await start(house)
        child = await start(house, top)
        set_books_aside(house)
        with pytest.raises(ControlProblem, match="could not be written"):
            await sessions.end_session(house.office, top.session, "loop", "admin")
        house.office.ledger = house.store
        if again == "end":
            await sessions.end_session(house.office, top.session, "loop", "admin")
        else:
            await sessions.end_past(house.office)
        assert house.office.unwritten_ends == {}
        for each in (top, child):
            written = await house.store.session(each.session)
            assert written is not None
            assert written.ended_by == "admin"


PROFILES = {"small": {"usd": "0.10"}, "large": {"usd": "400.00"}}
WORKERS = {"agent/ant": identity("red", profile="small"), "agent/bee": identity("red", may_act=["agent/ant"])}


async def test_naming_a_profile_gives_nobody_more_but_an_operator(tmp_path: Path) -> None:
    async with opened(tmp_path, identities=WORKERS, profiles=PROFILES, bounds=BOUNDS) as house:

        async def usd_nanos(**given: Any) -> int | None:
            minted = await start(house, **given)
            return house.gate.sessions[minted.session].bounds.usd_nanos

        assert await usd_nanos(profile="large") == USD // 10
        assert await usd_nanos(profile="large", by_operator=True) == 400 * USD
        top = await start(house, profile="large", by_operator=True)
        assert await usd_nanos(parent=top, identity="agent/bee", profile="large") == USD
        assert await usd_nanos(parent=top, identity="agent/bee", profile="small") == USD // 10
        # Nor does a caller renew one up to a profile that it had named.
        bee = await start(house, top, identity="agent/bee", profile="large")
        with pytest.raises(ControlProblem, match="kind or profile"):
            await session_changes.renew(
                house.office, bee.session, Bounds(usd_nanos=2 * USD), "more", "agent/ant", within_kind=True
            )


async def test_what_is_over_is_let_go_of_and_nothing_waits_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        gate = house.gate
        top = await start(house)
        for _ in range(3):
            child = await start(house, top)
            await sessions.close_session(house.office, child.session, "succeeded", "done", "agent/ant")
        assert (gate.runs.in_tree(top.session), list(gate.runs.children(top.session))) == (4, [])
        timed.forget(house.office)
        assert len(gate.sessions) == 4  # whoever comes back within the hour is told what happened
        for session in gate.sessions.values():
            if session.ended_at_ns is not None:
                gate.sessions[session.id] = msgspec.structs.replace(session, ended_at_ns=1)
        timed.forget(house.office)
        assert (list(gate.sessions), gate.runs.in_tree(top.session)) == ([top.session], 1)


async def test_what_ended_and_is_not_written_is_kept_in_mind(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top = await start(house)
        set_books_aside(house)
        with pytest.raises(ControlProblem, match="could not be written"):
            await sessions.end_session(house.office, top.session, "loop", "admin")
        ended = msgspec.structs.replace(house.gate.sessions[top.session], ended_at_ns=1)
        house.gate.sessions[top.session] = ended
        timed.forget(house.office)
        assert list(house.gate.sessions) == [top.session]


async def test_taking_nothing_away_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top, beside = await start(house), await start(house)
        callers = [identify(house.gate, [each.credential]) for each in (top, beside)]
        for _ in range(3):
            await session_changes.narrow(house.office, top.session, Bounds(), None, None, "nothing", "agent/ant")
        assert [change.verb for change in await house.store.changes(9, "session", top.session)] == ["mint"]
        assert [identify(house.gate, [each.credential]) for each in (top, beside)] == callers
        await session_changes.narrow(house.office, top.session, Bounds(usd_nanos=1), None, None, "less", "agent/ant")
        assert identify(house.gate, [top.credential]) is not callers[0]
        assert identify(house.gate, [beside.credential]) is callers[1]


async def test_the_heap_of_dues_does_not_grow_with_every_change(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top = await start(house)
        session = house.gate.sessions[top.session]
        for earlier in range(1, 1000):
            ends_ns = session.expires_at_ns - earlier
            house.gate.change_session(msgspec.structs.replace(session, expires_at_ns=ends_ns))
        assert len(house.gate.runs._dues) < 200


TWO_WORLDS = {
    "agent/ant": identity("red") | {"environment": "experimentation"},
    "agent/bee": identity("red", may_act=["agent/ant"]) | {"environment": "production"},
}


async def test_a_child_has_the_environment_of_its_parent(tmp_path: Path) -> None:
    async with opened(tmp_path, identities=TWO_WORLDS, bounds=BOUNDS) as house:
        top = await start(house)
        with pytest.raises(ControlProblem, match="not for the other") as no:
            await start(house, top, identity="agent/bee")
        assert no.value.code == "delegation_forbidden"


async def test_the_amounts_of_another_identity_are_not_shown(tmp_path: Path) -> None:
    identities = {"agent/ant": identity("red"), "agent/bee": identity("red", may_act=["agent/ant"])}
    async with opened(tmp_path, identities=identities, bounds=BOUNDS) as house:
        top = await start(house)
        bee, own = await start(house, top, identity="agent/bee"), await start(house, top)
        for minted, seen in ((bee, [bee]), (own, [own, top])):
            caller = identify(house.gate, [minted.credential])
            assert isinstance(caller, Caller)
            facts = caller.facts("sandbox", "sandbox-large", None)
            draw = house.gate.tree.drawn_by(facts, house.gate.clock.now_ns())
            assert [window.key.instance for window in draw.shown] == [each.session for each in seen]


async def test_what_an_operator_took_away_nobody_else_gives_back(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top = await start(house)
        child = await start(house, top)
        less = Bounds(usd_nanos=USD // 10)
        await session_changes.narrow(house.office, child.session, less, None, None, "loops", "admin", by_operator=True)
    async with opened(tmp_path) as house:
        more = Bounds(usd_nanos=USD // 2)
        with pytest.raises(ControlProblem, match="only an operator gives it more"):
            await session_changes.renew(house.office, child.session, more, "more", "agent/ant", within_kind=True)
        row = await session_changes.renew(house.office, child.session, more, "it is mended", "admin")
        assert row.bounds.usd == "0.50"


async def test_a_change_lets_go_of_who_acts_below_that_session_and_of_nobody_else(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top = await start(house)
        child = await start(house, top)
        leaf, beside = await start(house, child), await start(house, top)
        before = {each.session: caller_of(house, each) for each in (top, child, leaf, beside)}
        assert all(caller_of(house, each) is before[each.session] for each in (top, child, leaf, beside))
        await session_changes.narrow(house.office, child.session, Bounds(model_calls=1), None, None, "less", "admin")
        again = {each.session: caller_of(house, each) for each in (top, child, leaf, beside)}
        same = [session for session in before if before[session] is again[session]]
        assert same == [top.session, beside.session]
        assert again[leaf.session].session is house.gate.sessions[leaf.session]
        await session_changes.narrow(house.office, top.session, Bounds(model_calls=1), None, None, "less", "admin")
        assert house.gate.callers.credentials == set(), "nothing is left of any of them"


async def test_a_sub_agent_is_sent_to_whoever_started_it_for_another_credential(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top = await start(house)
        child = await start(house, top)
        await sessions.end_session(house.office, top.session, "enough", "admin")
        for minted, hint in (
            (top, "comptroller token agent/ant"),
            (child, f"whoever started it (session {top.session})"),
        ):
            no = standing(house.gate, caller_of(house, minted))
            assert no is not None
            assert hint in no.hint


def caller_of(house: House, minted: Minted) -> Caller:
    caller = identify(house.gate, [minted.credential])
    assert isinstance(caller, Caller), caller
    return caller
