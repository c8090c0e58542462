"""The journal's contract: what is durable, in which order, and what happens to what is not."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import msgspec
import pytest

from comptroller.core.budget.hold import Amounts
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Event, Held
from comptroller.store import journal as journal_module
from comptroller.store.store import Store
from tests.store.samples import change, held, open_at, refused, rows_of, settled, started, until

decode = msgspec.msgpack.Decoder(list[Event]).decode


def batches(folder: Path) -> list[list[Event]]:
    """The rows of the journal that are not folded yet."""
    return [decode(body) for (body,) in rows_of(folder, "SELECT body FROM journal ORDER BY seq")]


async def test_a_committed_event_is_in_the_file(store: Store, tmp_path: Path) -> None:
    await store.journal.commit(held(1))
    assert batches(tmp_path / "state") == [[held(1)]]


async def test_the_order_of_calls_is_the_order_on_disk(store: Store, tmp_path: Path) -> None:
    journal = store.journal
    expected: list[Event] = []
    for number in range(300):
        event: Event = (held, settled, refused)[number % 3](number)
        expected.append(event)
        if isinstance(event, Held):
            last = journal.commit(event)
        elif number % 3 == 1:
            journal.append(event)
        else:
            journal.offer(event)
        if number % 50 == 0:
            await last
    await journal.commit(change(1))
    written = [event for batch in batches(tmp_path / "state") for event in batch]
    assert written == [*expected, change(1)]


async def test_what_is_queued_together_is_one_row(store: Store, tmp_path: Path) -> None:
    """While one batch is on its way to the disk, everything else gathers for the next."""
    await asyncio.gather(*(store.journal.commit(held(number)) for number in range(500)))
    sizes = [len(batch) for batch in batches(tmp_path / "state")]
    assert sum(sizes) == 500
    assert len(sizes) < 50


async def test_a_lone_event_does_not_wait_for_others(store: Store) -> None:
    async with asyncio.timeout(0.9):  # a fold may begin after a second; a commit waits for no timer at all
        for number in range(50):
            await store.journal.commit(held(number))


async def test_an_event_whose_caller_gave_up_is_written_all_the_same(store: Store, tmp_path: Path) -> None:
    store.journal.commit(held(1)).cancel()
    await store.journal.commit(held(2))
    assert [event for batch in batches(tmp_path / "state") for event in batch] == [held(1), held(2)]


async def test_an_event_that_cannot_be_encoded_fails_alone(store: Store) -> None:
    before = store.journal.commit(held(1))
    with pytest.raises(OverflowError):
        store.journal.append(settled(1, posted=Amounts(usd=2**70)))
    await asyncio.gather(before, store.journal.commit(held(2)))


async def test_numbers_beyond_the_tables_are_cut_to_what_fits(store: Store) -> None:
    journal = store.journal
    for number in range(3):
        await journal.commit(held(number, amounts=Amounts(usd=2**63)))
        journal.append(settled(number, posted=Amounts(usd=2**64 - 1, tokens=2**63)))
    await store.fold()
    assert {amounts.usd for amounts in (await store.balances(["search-month#aa"])).values()} == {2**62 - 1}


async def test_offers_are_bounded_and_counted(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "OFFERS_MOST", 100)
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "comptroller.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # the writer is kept waiting
        for number in range(130):
            store.journal.offer(refused(number))
        assert store.journal.dropped == 30
    await store.fold()
    store.journal.offer(refused(1000))
    await store.fold()
    assert store.journal.dropped == 30
    assert rows_of(tmp_path / "state", "SELECT count(*) FROM calls") == [(101,)]


async def test_a_job_sees_what_was_queued_before_it_and_nothing_after(store: Store) -> None:
    journal = store.journal
    journal.append(held(1))
    journal.append(settled(1))
    count = journal.submit(lambda connection: connection.execute("SELECT count(*) FROM calls").fetchone()[0])
    journal.append(held(2))
    journal.append(settled(2))
    assert await count == 1
    await store.fold()
    assert (await store.call(held(2).facts.call_id)) is not None


async def test_a_job_that_fails_has_done_nothing_and_the_writer_lives_on(store: Store, tmp_path: Path) -> None:
    def step(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO meta (key, value) VALUES ('mark', 1)")
        raise LookupError("not this")

    with pytest.raises(LookupError, match="not this"):
        await store.journal.submit(step)
    assert rows_of(tmp_path / "state", "SELECT * FROM meta WHERE key = 'mark'") == []
    await store.journal.commit(held(1))
    assert store.journal.healthy


async def test_closing_writes_and_folds_everything(tmp_path: Path) -> None:
    async with started(tmp_path) as store:
        for number in range(3000):
            store.journal.append(held(number))
            store.journal.append(settled(number))
    assert rows_of(tmp_path, "SELECT count(*) FROM calls") == [(3000,)]
    assert batches(tmp_path) == []


async def test_a_closed_journal_takes_nothing(tmp_path: Path) -> None:
    async with started(tmp_path) as store:
        journal = store.journal
    with pytest.raises(LedgerUnavailableError):
        await journal.commit(held(1))
    with pytest.raises(LedgerUnavailableError):
        await store.fold()
    assert journal.lost == 0
    journal.append(settled(1))  # the call that settles now has nobody to tell
    journal.append(settled(1, posted=Amounts(usd=2**70)))
    assert journal.lost == 2
    journal.offer(refused(1))
    assert journal.dropped == 1
    assert not journal.healthy


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_when_the_writer_dies_nobody_waits_for_ever(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    journal = store.start()

    def fault(_: sqlite3.Connection) -> None:
        raise SystemExit  # not an Exception: a fault that the writer cannot hand to anybody

    dead = journal.submit(fault)
    late = journal.commit(held(1))
    journal.append(settled(1))
    for future in (dead, late):
        with pytest.raises(LedgerUnavailableError):
            await asyncio.wait_for(future, 10)
    await until(lambda: not journal.healthy)
    assert await store.close(timeout_s=1) == 1


@pytest.mark.parametrize(("durability", "synchronous"), [("power", 2), ("process", 1)])
async def test_the_connection_that_writes_is_as_durable_as_was_asked(
    tmp_path: Path, durability: str, synchronous: int
) -> None:
    async with started(tmp_path, durability) as store:  # type: ignore[arg-type]
        for number in range(50):
            await store.journal.commit(held(number))
            store.journal.append(settled(number))
            if number % 10 == 0:
                await store.fold()  # folds are not synced; what comes after them is again
            pragmas = await store.pragmas()
            assert (pragmas["journal_mode"], pragmas["synchronous"]) == ("wal", synchronous)
