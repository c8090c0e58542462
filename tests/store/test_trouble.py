"""When the store cannot be written: callers hear of it soon, and nothing is lost, doubled or out of order."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from comptroller.core.work.session import Session
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Event
from comptroller.store import journal as journal_module
from comptroller.store.database import Database
from comptroller.store.folder import Folder
from comptroller.store.journal import JournalWriter
from comptroller.store.lock import StoreHeldError
from comptroller.store.migrate import migrate
from comptroller.store.store import Store
from tests.store.samples import NOW_NS, change, held, open_at, refused, rows_of, settled, started, until


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Another program has the store."""
    with contextlib.closing(sqlite3.connect(folder / "comptroller.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


async def test_a_locked_store_is_unavailable_within_seconds_and_recovers(store: Store, tmp_path: Path) -> None:
    journal = store.journal
    await journal.commit(held(1))
    with locked(tmp_path / "state"):
        journal.append(settled(1))
        with pytest.raises(LedgerUnavailableError, match="locked"):
            await journal.commit(held(2))
        assert not journal.healthy
        assert journal.last_error == "database is locked"
        journal.append(settled(1, attempt=2))
        for step in (journal.commit(held(3)), store.fold()):
            with pytest.raises(LedgerUnavailableError):
                await asyncio.wait_for(step, 10)
    await until(lambda: journal.healthy)
    await journal.commit(held(4))
    assert await journalled(store) == {held(1).attempt_id: 2, held(4).attempt_id: 0}
    assert journal.last_error is None


async def test_it_recovers_with_nothing_left_to_write(store: Store, tmp_path: Path) -> None:
    """Otherwise a gateway that takes no calls because of it would never find out."""
    with locked(tmp_path / "state"), pytest.raises(LedgerUnavailableError):
        await store.journal.commit(held(1))
    await until(lambda: store.journal.healthy)
    assert await journalled(store) == {}


async def test_nothing_overtakes_what_is_kept(store: Store, tmp_path: Path) -> None:
    """Whatever fails and however often: what is on disk in the end is a subsequence, with every append in it."""
    journal = store.journal
    kept: list[Event] = []
    committed: list[Event] = []
    for turn in range(3):
        with locked(tmp_path / "state"):
            waiting: list[tuple[Event, asyncio.Future[None]]] = []
            for number in range(turn * 100, turn * 100 + 20):
                kept.append(change(number))
                journal.append(change(number))
                waiting.append((held(number), journal.commit(held(number))))
            results = await asyncio.gather(*(future for _, future in waiting), return_exceptions=True)
            assert all(isinstance(result, LedgerUnavailableError) for result in results)
        more = [(held(number), journal.commit(held(number))) for number in range(turn * 100 + 50, turn * 100 + 60)]
        results = await asyncio.gather(*(future for _, future in more), return_exceptions=True)
        committed += [event for (event, _), result in zip(more, results, strict=True) if result is None]
    await until(lambda: journal.healthy)
    await store.fold()
    on_disk = [key for (key,) in rows_of(tmp_path / "state", "SELECT at_ns FROM events ORDER BY id")]
    assert on_disk == [event.at_ns for event in kept if hasattr(event, "at_ns")]
    holds = {key for (key,) in rows_of(tmp_path / "state", "SELECT attempt_id FROM holds")}
    assert holds == {event.attempt_id for event in committed if hasattr(event, "attempt_id")}


async def test_offers_that_are_lost_to_trouble_are_counted(store: Store, tmp_path: Path) -> None:
    with locked(tmp_path / "state"):
        store.journal.offer(refused(1))
        await until(lambda: store.journal.dropped == 1)


async def test_a_session_is_not_opened_in_a_locked_store(store: Store, tmp_path: Path) -> None:
    session = Session("ses_1", "agent/scout", "cred_1", NOW_NS, NOW_NS + 10, "admin")
    with locked(tmp_path / "state"), pytest.raises(LedgerUnavailableError):
        await store.open_session(session, change(1))
    await until(lambda: store.journal.healthy)
    assert await store.session("ses_1") is None
    await store.open_session(session, change(1))
    assert await store.session("ses_1") == session


async def test_whoever_was_fenced_off_writes_nothing_any_more(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    journal = store.start()
    await journal.commit(held(1))
    with contextlib.closing(sqlite3.connect(tmp_path / "comptroller.db")) as other, other:
        other.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
    journal.append(settled(1))
    for step in (journal.commit(held(2)), store.fold(), journal.commit(held(3))):
        with pytest.raises(LedgerUnavailableError, match="another process has opened this store"):
            await step
    assert not journal.healthy
    assert await store.close(timeout_s=5) == 1  # at once: waiting would not help
    async with started(tmp_path) as new:
        assert new.recovered.count == 1
        assert rows_of(tmp_path, "SELECT id, state FROM calls") == [(held(1).facts.call_id, "presumed")]


async def test_a_row_of_somebody_else_fences_too(tmp_path: Path) -> None:
    """Two owners with one epoch (a folder copied while in use, and put back): the number of the row tells."""
    store = open_at(tmp_path)
    journal = store.start()
    with contextlib.closing(sqlite3.connect(tmp_path / "comptroller.db")) as other, other:
        other.execute("INSERT INTO journal (seq, at_ns, epoch, body) VALUES (1, 1, 1, x'90')")
    for number in range(2):
        with pytest.raises(LedgerUnavailableError):
            await journal.commit(held(number))
    assert not journal.healthy
    await store.close(timeout_s=5)


class Doubtful(Database):
    """Writes, and then says now and then that it did not: an error that comes after the log has reached the disk."""

    lies = 0

    def write_batch(self, seq: int, at_ns: int, body: bytes, *, over: bool = False) -> None:
        super().write_batch(seq, at_ns, body, over=over)
        if self.lies:
            self.lies -= 1
            raise sqlite3.OperationalError("disk I/O error")


@pytest.mark.parametrize("lies", [1, 2, 3])
async def test_what_was_given_up_is_not_there_even_if_it_had_reached_the_disk(tmp_path: Path, lies: int) -> None:
    path = tmp_path / "comptroller.db"
    database = Doubtful(path, "process")
    migrate(database.connection, path, NOW_NS)
    database.take_epoch()
    journal = JournalWriter(database, Folder(database))
    await journal.commit(held(1))
    database.lies = lies
    given_up = journal.commit(held(2))
    journal.append(change(3))
    with pytest.raises(LedgerUnavailableError, match="disk I/O error"):
        await given_up
    journal.append(change(4))
    await until(lambda: journal.healthy)
    await journal.commit(held(5))
    assert await journal.close(10) == 0
    assert rows_of(tmp_path, "SELECT call_id FROM holds ORDER BY 1") == [
        (held(1).facts.call_id,),
        (held(5).facts.call_id,),
    ]
    assert rows_of(tmp_path, "SELECT at_ns FROM events ORDER BY id") == [(NOW_NS + 3,), (NOW_NS + 4,)]


async def test_what_was_given_up_is_gone_before_the_store_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "comptroller.db"
    database = Doubtful(path, "process")
    migrate(database.connection, path, NOW_NS)
    database.take_epoch()
    journal = JournalWriter(database, Folder(database))
    database.lies = 1
    given_up = journal.commit(held(1))
    assert await journal.close(10) == 0
    with pytest.raises(LedgerUnavailableError):
        await given_up
    assert rows_of(tmp_path, "SELECT count(*) FROM holds") == [(0,)]
    assert rows_of(tmp_path, "SELECT count(*) FROM journal") == [(0,)]


def test_every_durable_write_is_synced_and_folds_are_not(tmp_path: Path) -> None:
    path = tmp_path / "comptroller.db"
    with contextlib.closing(Database(path, "power")) as database:
        migrate(database.connection, path, NOW_NS)
        database.take_epoch()
        for seq in (1, 2):
            with database.transaction(loose=True):
                assert database.pragmas()["synchronous"] == 1
            database.write_batch(seq, 1, b"\x90")
            assert database.pragmas()["synchronous"] == 2
            with database.transaction():
                assert database.pragmas()["synchronous"] == 2


async def test_what_cannot_be_written_in_time_is_counted_at_the_end(tmp_path: Path) -> None:
    store = open_at(tmp_path)
    journal = store.start()
    await journal.commit(held(1))
    with locked(tmp_path):
        for number in range(3):
            journal.append(settled(number))
        assert await store.close(timeout_s=0.1) == 3
    async with started(tmp_path) as new:
        assert new.recovered.count == 1


async def test_a_log_that_breaks_off_anywhere_leaves_whole_batches(tmp_path: Path) -> None:
    """What a power cut may leave of the log, after the last sync: any part of it, folds in the middle included."""
    source = tmp_path / "source"
    store = open_at(source)
    journal = store.start()
    for number in range(60):
        await journal.commit(held(number))
        journal.append(settled(number))
        if number % 7 == 0:
            await store.fold()
    log = (source / "comptroller.db-wal").read_bytes()
    seen: set[int] = set()
    for cut in range(len(log) // 2, len(log), len(log) // 60 + 1):
        copy = tmp_path / f"cut-{cut}"
        copy.mkdir()
        shutil.copyfile(source / "comptroller.db", copy / "comptroller.db")
        (copy / "comptroller.db-wal").write_bytes(log[:cut])
        async with started(copy) as reopened:
            ids = [call_id for (call_id,) in rows_of(copy, "SELECT id FROM calls ORDER BY id")]
            charges = rows_of(copy, "SELECT sum(charge_nanos) FROM calls")
            balances = rows_of(copy, "SELECT DISTINCT usd FROM balances")
            assert reopened.recovered.count <= 1
        assert ids == [held(number).facts.call_id for number in range(len(ids))]
        assert charges == balances
        seen.add(len(ids))
        shutil.rmtree(copy)
    assert len(seen) > 10
    await store.close(10)


async def journalled(store: Store) -> dict[str, int]:
    """Every attempt that was ever written as held, and how many of its settlements were (seen from the tables)."""
    await store.fold()
    folder = store._database.path.parent
    holds = {key: 0 for (key,) in rows_of(folder, "SELECT attempt_id FROM holds")}
    ended = {f"{key}.1": 1 for (key,) in rows_of(folder, "SELECT id FROM calls")}
    for (key,) in rows_of(folder, "SELECT call_id FROM findings WHERE code = 'settled_without_hold'"):
        ended[f"{key}.1"] = ended.get(f"{key}.1", 0) + 1
    return ended | holds


async def test_the_store_is_not_let_go_while_the_writer_may_still_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second owner would find a journal that grows under its feet."""
    monkeypatch.setattr(journal_module, "_STOP_GRACE_S", 0.1)
    store = open_at(tmp_path)
    journal = store.start()
    let_go = threading.Event()
    stuck = journal.submit(lambda _: let_go.wait(20))  # a disk that does not answer
    for number in range(3):
        journal.append(settled(number))
    assert await store.close(timeout_s=0.1) == 3
    with pytest.raises(StoreHeldError, match=f"process {os.getpid()}"):
        open_at(tmp_path)
    let_go.set()
    assert await asyncio.wait_for(stuck, 20)
    assert await store.close(timeout_s=10) == 0
    async with started(tmp_path):
        assert rows_of(tmp_path, "SELECT count(*) FROM findings") == [(3,)], "they were written after all"
