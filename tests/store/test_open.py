"""Opening: one owner, the right schema, and an end to what a dead process left open."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from comptroller.control.interfaces import CallFilter
from comptroller.core.budget.hold import Amounts
from comptroller.flow.records import Extended, Joined
from comptroller.store.backup import read_backup
from comptroller.store.database import Database
from comptroller.store.lock import Holder, StoreHeldError, StoreLock
from comptroller.store.migrate import SchemaUnknownError, migrate
from tests.store.folding import SHIPPED, make_older_store
from tests.store.samples import CHARGE, HOLD, MONTH, NOW_NS, SCOUT, held, open_at, rows_of, settled, started

NEWEST = max(path.stem[:4] for path in (SHIPPED / "versions").glob("[0-9]*.py"))
NEWER = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{head}"


def upgrade():
    op.add_column("meta", sa.Column("note", sa.Text()))
    {then}
"""


async def test_a_second_owner_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    async with started(tmp_path):
        with pytest.raises(StoreHeldError) as refusal:
            open_at(tmp_path)
        for part in (str(os.getpid()), "here", "2026-11-22T05:00:00.000Z", "127.0.0.1:8787", str(tmp_path)):
            assert part in str(refusal.value)
    async with started(tmp_path):
        pass


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "store.lock"
    program = (
        "import sys, pathlib\n"
        "from comptroller.store.lock import Holder, StoreLock\n"
        "lock = StoreLock.acquire(pathlib.Path(sys.argv[1]), Holder(7, 'there', 'then', 'nowhere'))\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    ours = Holder(1, "here", "now", "somewhere")
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(StoreHeldError, match="process 7 on there"):
            StoreLock.acquire(path, ours)
        child.kill()
        child.wait()
    StoreLock.acquire(path, ours).release()


def test_a_holder_that_has_not_said_its_name_is_a_holder(tmp_path: Path) -> None:
    path = tmp_path / "store.lock"
    lock = StoreLock.acquire(path, Holder(1, "here", "now", "somewhere"))
    path.write_bytes(b"")
    with pytest.raises(StoreHeldError, match="another process"):
        StoreLock.acquire(path, Holder(2, "here", "now", "somewhere"))
    lock.release()


async def test_nobody_else_can_read_the_folder(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with started(tmp_path / "state") as store:
            await store.journal.commit(held(1))
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert modes == dict.fromkeys(["comptroller.db", "comptroller.db-wal", "comptroller.db-shm", "store.lock"], 0o600)


async def test_every_start_has_a_higher_epoch(tmp_path: Path) -> None:
    epochs: list[int] = []
    for _ in range(3):
        async with started(tmp_path) as store:
            epochs.append(store.journal.epoch)
    assert epochs == [1, 2, 3]


async def test_open_holds_of_a_dead_process_are_presumed_in_full(tmp_path: Path) -> None:
    async with started(tmp_path) as store:
        assert store.recovered.count == 0
        await store.journal.commit(held(1))
        store.journal.append(settled(1))
        await store.journal.commit(held(2))
        await store.journal.commit(held(3, windows=[MONTH]))
        store.journal.append(Joined(held(3).attempt_id, (SCOUT,)))
    async with started(tmp_path) as store:
        assert (store.recovered.count, store.recovered.amount_nanos) == (2, 2 * HOLD.usd)
        for number in (2, 3):
            call = await store.call(held(number).facts.call_id)
            assert call is not None
            assert (call.state, call.outcome, call.charge) == ("presumed", "crashed", HOLD)
        both = Amounts(CHARGE.usd + 2 * HOLD.usd, CHARGE.tokens + 2 * HOLD.tokens, 3)
        assert await store.balances([MONTH.budget, SCOUT.budget]) == {MONTH: both, SCOUT: both}
        (finding,) = await store.findings(10)
        assert (finding.code, "2 calls" in finding.sentence, "0.01 USD" in finding.sentence) == (
            "holds_presumed",
            True,
            True,
        )
        assert store.last_journalled_ns == NOW_NS + 6
    async with started(tmp_path) as store:
        assert store.recovered.count == 0
        assert await store.balances([MONTH.budget]) == {MONTH: both}


async def test_a_stream_of_a_dead_process_is_presumed_at_the_slices_that_were_durable(tmp_path: Path) -> None:
    """Folded, and not folded yet."""
    async with started(tmp_path) as store:
        await store.journal.commit(held(1))
        await store.journal.commit(Extended(held(1).attempt_id, Amounts(usd=1000, tokens=10)))
        await store.fold()
        store.journal.append(Extended(held(1).attempt_id, Amounts(usd=-300)))
        await store.journal.commit(Extended(held(1).attempt_id, Amounts(usd=1)))
    async with started(tmp_path) as store:
        call = await store.call(held(1).facts.call_id)
        assert call is not None
        assert (call.state, call.charge) == ("presumed", HOLD.plus(Amounts(usd=701, tokens=10)))


async def test_time_does_not_run_back_across_a_start(tmp_path: Path) -> None:
    async with started(tmp_path) as store:
        await store.journal.commit(held(9))
    early = open_at(tmp_path, now_ns=5)  # the clock was set back; recovery dates what it writes all the same
    assert early.last_journalled_ns == NOW_NS + 9
    early.start()
    call = await early.call(held(9).facts.call_id)
    assert call is not None
    assert call.settled_at_ns == NOW_NS + 9
    await early.close(1)


async def test_an_older_schema_is_backed_up_and_migrated(tmp_path: Path) -> None:
    async with started(tmp_path) as store:
        await store.journal.commit(held(1))
    path = tmp_path / "comptroller.db"
    scripts = newer_scripts(tmp_path)
    with closing(Database(path, "power")) as database:
        backup = migrate(database.connection, path, NOW_NS, scripts)
        assert backup == tmp_path / "backups" / "comptroller-20261118T110640000000Z"
        assert database.connection.execute("SELECT note FROM meta LIMIT 1").fetchone() == (None,)
        assert migrate(database.connection, path, NOW_NS, scripts) is None
    assert read_backup(backup).manifest.schema == NEWEST
    (tmp_path / "restored").mkdir()
    shutil.copyfile(backup / "comptroller.db", tmp_path / "restored" / "comptroller.db")
    async with started(tmp_path / "restored") as store:
        assert store.recovered.count == 1


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    open_at(tmp_path)._lock.release()
    path = tmp_path / "comptroller.db"
    with closing(Database(path, "power")) as database:
        migrate(database.connection, path, NOW_NS, newer_scripts(tmp_path))
    with pytest.raises(SchemaUnknownError, match=rf"schema 9999.*knows up to {NEWEST}.*newer Comptroller.*backups"):
        open_at(tmp_path)
    with pytest.raises(SchemaUnknownError):  # and the refusal let go of the lock
        open_at(tmp_path)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    open_at(tmp_path)._lock.release()
    path = tmp_path / "comptroller.db"
    with closing(Database(path, "power")) as database:
        with pytest.raises(ZeroDivisionError):
            migrate(database.connection, path, NOW_NS, newer_scripts(tmp_path, then="1 / 0"))
        assert "note" not in str(database.connection.execute("SELECT sql FROM sqlite_master").fetchall())
    open_at(tmp_path)._lock.release()


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "comptroller.db")) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(SchemaUnknownError, match="something else"):
        open_at(tmp_path)
    assert rows_of(tmp_path, "SELECT name FROM sqlite_master") == [("recipes",)]


async def test_calls_of_the_first_schema_are_read_by_ours(tmp_path: Path) -> None:
    async with started(tmp_path / "ours") as store:
        store.journal.append(held(1))
        store.journal.append(settled(1))
        await store.fold()
    (tmp_path / "older").mkdir()
    ours, older = (tmp_path / name / "comptroller.db" for name in ("ours", "older"))
    make_older_store(older, "0001", calls_of=ours)
    async with started(tmp_path / "older") as store:
        (record,) = await store.calls(CallFilter())
        assert record.charge == CHARGE
        assert record.facts.policy_version is None
        assert record.facts.policies == ()


def newer_scripts(folder: Path, then: str = "pass") -> Path:
    """The migrations of a newer program: ours and one more."""
    scripts = folder / f"newer-{len(then)}"
    shutil.copytree(SHIPPED, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    (scripts / "versions" / "9999_note.py").write_text(NEWER.format(head=NEWEST, then=then))
    return scripts
