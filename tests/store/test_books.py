"""What the control plane writes and reads: sessions, the registry, calls, balances, findings, changes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from comptroller.control.call_record import CallRecord
from comptroller.control.interfaces import CallFilter, Installation, Spending
from comptroller.core.budget.bounds import Bound
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.effect import Effect
from comptroller.core.registry.entries import EntryKey, StoredEntry
from comptroller.core.work.session import Session
from comptroller.flow.records import BoundChanged, Change, Finding, Joined
from comptroller.store.registry import RegistryMovedError
from comptroller.store.store import Store
from tests.store.samples import (
    CHARGE,
    HOLD,
    MONTH,
    NOW_NS,
    SCOUT,
    USAGE,
    change,
    corrected,
    facts,
    held,
    refused,
    rows_of,
    settled,
    started,
    stored,
)

SESSION = Session("ses_1", "agent/scout", "cred_1", NOW_NS, NOW_NS + 100, "admin")


def ids(calls: Sequence[CallRecord]) -> list[int]:
    return [int(call.facts.call_id.removeprefix("call_")) for call in calls]


async def test_a_session_and_its_event_are_one_step(store: Store) -> None:
    await store.open_session(SESSION, change(1))
    assert await store.session("ses_1") == SESSION
    with pytest.raises(Exception, match="UNIQUE"):
        await store.open_session(SESSION, change(2))
    assert await store.changes(10) == [change(1)]


async def test_a_session_ends_once(store: Store) -> None:
    await store.open_session(SESSION, change(1))
    ended = msgspec.structs.replace(SESSION, ended_at_ns=NOW_NS + 5, ended_by="admin", ended_reason="leaked")
    await store.end_sessions([(ended, change(2, verb="end"))])
    await store.end_sessions([(msgspec.structs.replace(ended, ended_by="another"), change(3, verb="end"))])
    assert await store.session("ses_1") == ended
    assert await store.changes(10) == [change(2, verb="end"), change(1)]
    # One without a row, such as one whose opening could not be written, keeps no other from ending.
    beside = msgspec.structs.replace(SESSION, id="ses_2")
    await store.open_session(beside, change(4))
    ends = [msgspec.structs.replace(ended, id=session_id) for session_id in ("ses_9", "ses_2")]
    await store.end_sessions([(each, change(5, verb="end")) for each in ends])
    assert await store.session("ses_2") == ends[1]


async def test_sessions_newest_first_and_the_live_ones(store: Store) -> None:
    for number in range(4):
        identity = "agent/scout" if number % 2 else "agent/other"
        opened = Session(f"ses_{number}", identity, "cred", NOW_NS + number, NOW_NS + 100 * number, "admin")
        await store.open_session(opened, change(number))
    ended = Session("ses_3", "agent/scout", "cred", NOW_NS + 3, NOW_NS + 300, "admin", NOW_NS + 9, "admin", "done")
    await store.end_sessions([(ended, change(9))])
    assert [session.id for session in await store.sessions(None, 3)] == ["ses_3", "ses_2", "ses_1"]
    assert [session.id for session in await store.sessions("agent/scout", 9)] == ["ses_3", "ses_1"]
    assert [session.id for session in await store.live_sessions(NOW_NS + 150)] == ["ses_2"]


def installation(version: int, entries: dict[EntryKey, StoredEntry], **other: Any) -> Installation:
    known: dict[str, Any] = {
        "version": version,
        "at_ns": NOW_NS + version,
        "actor": "admin",
        "document": "{}",
        "entries": entries,
        "changes": [Change(NOW_NS, "admin", "add", kind, key, version=version) for kind, key in entries],
        "opening": {},
    }
    return Installation(**(known | other))


async def test_the_registry_is_installed_as_one_version(store: Store, tmp_path: Path) -> None:
    assert (await store.registry()).version == 0
    team, scope = StoredEntry({"cost_center": "CC-1"}), StoredEntry({"scope": {"team": ["a", "b"]}, "calls": 3})
    first: dict[EntryKey, StoredEntry] = {("team", "search"): team, ("budget", "month"): scope}
    await store.install(installation(1, first, opening={MONTH: Amounts(7, 8, 9)}))
    state = await store.registry()
    assert (state.version, state.entries) == (
        1,
        {k: StoredEntry(e.value, since_ns=NOW_NS + 1) for k, e in first.items()},
    )
    disabled = StoredEntry(team.value, disabled=True)
    await store.install(installation(2, {("team", "search"): disabled}))
    assert (await store.registry()).entries == {
        **state.entries,
        ("team", "search"): StoredEntry(team.value, disabled=True, since_ns=NOW_NS + 2),
    }
    assert [(c.noun, c.key, c.version) for c in await store.changes(9)] == [
        ("team", "search", 2),
        ("budget", "month", 1),
        ("team", "search", 1),
    ]
    assert await store.balances([MONTH.budget]) == {MONTH: Amounts(7, 8, 9)}
    versions = rows_of(tmp_path / "state", "SELECT version, actor, document FROM registry_versions ORDER BY 1")
    assert versions == [(1, "admin", "{}"), (2, "admin", "{}")]


@pytest.mark.parametrize("version", [0, 2, 7])
async def test_a_version_that_does_not_follow_is_refused_whole(store: Store, version: int) -> None:
    with pytest.raises(RegistryMovedError):
        await store.install(installation(version, {("team", "search"): StoredEntry({})}))
    assert (await store.registry()).entries == {}
    assert await store.changes(9) == []


async def test_a_settled_call_reads_as_it_was(store: Store) -> None:
    effects = (Effect("trimmed", "long-chats", "12 messages"),)
    facts = {"stream": True, "chain": ("agent/scout", "agent/lead"), "effects": effects}
    hold = msgspec.structs.replace(held(1, **facts), shadowed=("soft",))
    await store.journal.commit(hold)
    store.journal.append(settled(1))
    await store.fold()
    assert await store.call(hold.facts.call_id) == CallRecord(
        facts=hold.facts,
        state="posted",
        attempts=1,
        held=HOLD,
        input_tokens_bound=1_000,
        output_limit=500,
        choices=1,
        factor_bp=10_000,
        shadowed=("soft",),
        settled_at_ns=settled(1).at_ns,
        outcome="completed",
        detail="",
        status=200,
        charge=CHARGE,
        usage=USAGE,
        served_model="sandbox-large-1",
        service_tier="default",
        first_byte_ns=1_000,
        duration_ns=9_000,
        windows=(MONTH, SCOUT),
    )


async def test_an_open_call_and_a_refused_one(store: Store) -> None:
    await store.journal.commit(held(1))
    store.journal.append(Joined(held(1).attempt_id, (WindowKey("day#cc", "", 5),)))
    store.journal.offer(refused(2))
    await store.fold()
    call = await store.call(held(1).facts.call_id)
    assert call is not None
    assert (call.state, call.charge, call.held, len(call.windows)) == ("open", None, HOLD, 3)
    call = await store.call(refused(2).facts.call_id)
    assert call is not None
    assert (call.state, call.charge, call.held, call.windows) == ("refused", None, None, ())
    assert call.refusal == refused(2).refusal
    assert await store.call("call_none") is None


async def test_a_second_attempt_opens_the_call_again(store: Store) -> None:
    for event in (held(1), settled(1, end="voided", posted=Amounts(calls=1), usage=None), held(1, attempt=2)):
        store.journal.append(event)
    await store.fold()
    for call in (await store.call(facts(1).call_id), *(await store.calls(CallFilter()))):
        assert call is not None
        assert (call.state, call.attempts, call.charge) == ("open", 2, Amounts(calls=1))
    store.journal.append(settled(1, attempt=2))
    await store.fold()
    (call,) = await store.calls(CallFilter())
    assert (call.state, call.attempts, call.charge) == ("posted", 2, Amounts(CHARGE.usd, CHARGE.tokens, 2))


async def test_calls_are_filtered_and_the_newest_come_first(store: Store) -> None:
    for number in range(12):
        about = {
            "identity": f"agent/{number % 2}",
            "team": f"team-{number % 3}",
            "session": f"ses_{number % 4}",
            "model": f"model-{number % 2}",
        }
        store.journal.append(refused(number, **about) if number == 5 else held(number, **about))
        if number not in {5, 7, 11}:
            store.journal.append(settled(number, outcome="client_gone" if number == 8 else "completed"))
    await store.fold()

    async def found(**wanted: Any) -> list[int]:
        return ids(await store.calls(CallFilter(**wanted)))

    assert await found() == list(range(11, -1, -1))
    assert await found(limit=3) == [11, 10, 9]
    assert await found(limit=6) == [11, 10, 9, 8, 7, 6]
    assert await found(outcome="open") == [11, 7]
    assert await found(outcome="open", limit=1) == [11]
    assert await found(outcome="refused") == [5]
    assert await found(outcome="client_gone") == [8]
    assert await found(identity="agent/1") == [11, 9, 7, 5, 3, 1]
    assert await found(team="team-1", session="ses_3") == [7]
    assert await found(model="model-0", since_ns=NOW_NS + 6) == [10, 8, 6]


async def test_a_correction_adds_a_row_and_moves_the_money(store: Store) -> None:
    await store.journal.commit(held(1))
    store.journal.append(settled(1))
    await store.journal.commit(corrected(1, now=3_500_000))
    await store.journal.commit(corrected(1, was=3_500_000, now=1_000_000))
    await store.fold()
    call = await store.call(facts(1).call_id)
    assert call is not None
    assert call.charge == Amounts(1_000_000, CHARGE.tokens, 1)
    assert (call.corrected, call.original_charge_nanos) == (2, CHARGE.usd)
    assert (await store.balances([MONTH.budget]))[MONTH].usd == 1_000_000
    latest, first = await store.changes(9, "call", facts(1).call_id)
    assert (first.verb, first.reason, msgspec.json.decode(first.before)) == (
        "correct",
        "the bill",
        {"charge_nanos": CHARGE.usd},
    )
    assert msgspec.json.decode(latest.after) == {"charge_nanos": 1_000_000, "delta_nanos": -2_500_000}


async def test_balances_of_some_budgets_and_windows(store: Store) -> None:
    old = WindowKey(MONTH.budget, "", MONTH.start_ns - 10)
    store.journal.append(settled(1, windows=(MONTH, SCOUT, old)))
    await store.fold()
    assert await store.balances([MONTH.budget]) == {MONTH: CHARGE, old: CHARGE}
    assert await store.balances([MONTH.budget, "none#00"], MONTH.start_ns) == {MONTH: CHARGE}
    assert await store.balances([]) == {}


async def test_findings_and_bounds(store: Store) -> None:
    first = Finding(NOW_NS, "overrun", "call_1", "sandbox/large", "billed above its hold")
    second = Finding(NOW_NS + 1, "usage_missing", None, "gateway", "no usage")
    up = BoundChanged(
        NOW_NS, "gateway", "overrun of call_1", "sandbox", "large", "openai_chat", 1, 15_000, False, NOW_NS
    )
    rare = msgspec.structs.replace(up, at_ns=NOW_NS * 2, last_overrun_ns=NOW_NS * 2)  # the first after a long time
    down = msgspec.structs.replace(up, actor="admin", overruns=0)
    for event in (first, second, up, rare, down):
        store.journal.append(event)
    await store.fold()
    assert await store.findings(9) == [second, first]
    assert await store.findings(1) == [second]
    assert await store.findings(9, "call_1") == [first]
    assert await store.bounds() == (Bound("sandbox", "large", "openai_chat", 0, 15_000, False, NOW_NS),)
    latest, again, oldest = await store.changes(9, "bound")
    assert (oldest.verb, oldest.before, latest.verb, latest.actor) == ("overrun", "", "resume", "admin")
    assert again.verb == "overrun", "their count began anew"
    assert latest.key == "sandbox/large/openai_chat"


async def test_the_youngest_objects_that_are_not_deleted(store: Store) -> None:
    for event in (*map(stored, range(5)), stored(3, deleted_at_ns=NOW_NS + 9), stored(2, tokens=77)):
        store.journal.append(event)
    await store.fold()
    everything = [stored(0), stored(1), stored(2, tokens=77), stored(4)]
    assert await store.live_objects(0, 9) == [event.object for event in everything]
    assert [each.id for each in await store.live_objects(NOW_NS + 1, 2)] == ["resp_2", "resp_4"]


async def test_many_at_once(store: Store) -> None:
    """Reads, jobs and commits side by side: each read sees whole transactions, and nobody waits for ever."""
    journal = store.journal
    everything = Spending(scope={}, per=None, start_ns=0, end_ns=None)

    async def call(number: int) -> None:
        await journal.commit(held(number))
        journal.append(settled(number))

    async def look() -> None:
        (spent,) = await store.posted_so_far([everything])
        balances = await store.balances([MONTH.budget])
        assert spent.get("", Amounts()).usd <= balances.get(MONTH, Amounts()).usd

    async with asyncio.timeout(60):
        await asyncio.gather(*(call(number) for number in range(500)), *(look() for _ in range(20)))
    await store.fold()
    assert await store.balances([MONTH.budget]) == {MONTH: Amounts(500 * CHARGE.usd, 500 * CHARGE.tokens, 500)}


async def test_reading_goes_on_while_nothing_can_be_written(tmp_path: Path) -> None:
    async with started(tmp_path) as store:
        await store.open_session(SESSION, change(1))
        await store.close(1)
        assert await store.session("ses_1") == SESSION
