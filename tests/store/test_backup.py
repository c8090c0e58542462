"""A backup is one instant of the store, whole, checked, and without a secret; or it is not there."""

import hashlib
import json
import os
import sqlite3
import stat
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import pytest

from comptroller.core.identity.credential import Claims
from comptroller.store import backup as module
from comptroller.store.admin_token import open_admin_token, read_admin_token
from comptroller.store.backup import BackupError, copy_verified, read_backup, reading, take_backup
from comptroller.store.keyring import open_keyring
from tests.store.samples import CHARGE, HOLD, NOW_NS, change, held, rows_of, settled, started

DATABASE = "comptroller.db"


async def filled(folder: Path, calls: int = 50) -> None:
    """A store with settled calls, one open, and one change."""
    async with started(folder) as store:
        for number in range(calls):
            await store.journal.commit(held(number))
            store.journal.append(settled(number))
        await store.journal.commit(held(calls))
        await store.journal.commit(change(calls))
        await store.fold()


async def test_a_backup_while_the_store_is_written(tmp_path: Path) -> None:
    """Writers go on in the middle of it: it is as if it had been made at one instant, the first."""
    during: list[int] = []
    async with started(tmp_path / "state") as store:
        for number in range(20):
            await store.journal.commit(held(number))
            store.journal.append(settled(number))
        await store.fold()
        await store.journal.commit(held(20))  # not folded: it is in the journal
        writer = sqlite3.connect(tmp_path / "state" / DATABASE, isolation_level=None)
        with closing(writer), pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_PAGES_AT_ONCE", 5)

            def write(doing: str, done: int, _all: int) -> None:
                if doing == "copying":
                    during.append(done)
                    writer.execute("INSERT INTO findings VALUES (NULL, 1, 'late', NULL, 'x', ?)", ("x" * 5000,))
                    writer.execute("PRAGMA wal_checkpoint(PASSIVE)")

            made = take_backup(tmp_path / "state" / DATABASE, tmp_path / "backups", NOW_NS + 100, write)
        await store.journal.commit(held(21))
    assert len(during) > 5
    assert during == sorted(during), "it never had to begin again"
    assert made.path == tmp_path / "backups" / "comptroller-20261118T110640000000Z"
    assert rows_of(made.path, "SELECT count(*) FROM findings") == [(0,)]
    assert rows_of(made.path, "SELECT sum(charge_nanos) FROM calls") == [(20 * CHARGE.usd,)]
    assert rows_of(made.path, "SELECT DISTINCT usd FROM balances") == [(20 * CHARGE.usd,)]
    manifest = read_backup(made.path).manifest
    assert manifest == made.manifest
    assert (manifest.calls, manifest.open_holds, manifest.unfolded_batches) == (20, 0, 1)
    assert (manifest.epoch, manifest.schema, manifest.last_journalled_at) == (
        1,
        rows_of(tmp_path / "state", "SELECT version_num FROM alembic_version")[0][0],
        "2026-11-18T11:06:40.000Z",
    )
    assert manifest.sha256 == hashlib.sha256(made.database.read_bytes()).hexdigest()
    async with started(made.path) as again:
        assert (again.recovered.count, again.recovered.amount_nanos) == (1, HOLD.usd)


async def test_it_is_for_its_owner_alone_and_holds_no_secret(tmp_path: Path) -> None:
    state = tmp_path / "state"
    keyring = open_keyring(state, "acme.example", NOW_NS)
    open_admin_token(state)
    credential = keyring.issue(Claims("cred_1", "agent/scout", "ses_1", NOW_NS, NOW_NS + 10**12, "admin"))
    keys = json.loads((state / "signing-keys.json").read_text())
    await filled(state)
    before = os.umask(0)
    try:
        made = take_backup(state / DATABASE, tmp_path / "backups", NOW_NS)
    finally:
        os.umask(before)
    assert {path.name for path in made.path.iterdir()} == {DATABASE, "manifest.json"}
    for path in (made.path, made.path.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    content = b"".join(path.read_bytes() for path in made.path.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.path.iterdir()} == {0o600}
    secrets = (credential, read_admin_token(state), keys["digest_key"], keys["keys"][0]["key"]["d"])
    for secret in secrets:
        assert len(secret) > 30
        assert secret.encode() not in content


async def test_a_store_that_nobody_holds_is_read_without_a_trace(tmp_path: Path) -> None:
    await filled(tmp_path / "state")
    before = {path.name: path.read_bytes() for path in (tmp_path / "state").iterdir()}
    assert DATABASE + "-wal" not in before
    take_backup(tmp_path / "state" / DATABASE, tmp_path / "backups", NOW_NS, alone=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "state").iterdir()} == before


async def test_what_a_dead_gateway_left_in_its_log_is_in_it(tmp_path: Path) -> None:
    async with started(tmp_path / "state") as store:
        await store.journal.commit(held(1))
        copy = tmp_path / "dead"
        copy.mkdir()
        for path in (tmp_path / "state").glob(f"{DATABASE}*"):
            (copy / path.name).write_bytes(path.read_bytes())
    made = take_backup(copy / DATABASE, tmp_path / "backups", NOW_NS, alone=True)
    assert made.manifest.unfolded_batches == 1


async def test_nothing_is_overwritten(tmp_path: Path) -> None:
    await filled(tmp_path / "state")
    source = tmp_path / "state" / DATABASE
    first = take_backup(source, tmp_path / "backups", NOW_NS)
    with pytest.raises(OSError, match="not empty"):
        take_backup(source, tmp_path / "backups", NOW_NS)  # the same instant
    assert list((tmp_path / "backups").iterdir()) == [first.path]
    copy_verified(first, tmp_path / "same.db")
    assert take_backup(source, tmp_path / "backups", NOW_NS + 10_000).path != first.path


async def test_a_disk_without_room_is_seen_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(tmp_path / "state")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 3 * 1_048_576))
    with pytest.raises(BackupError, match=r"backups has 3 MiB left, and 16 MiB are needed. Make room"):
        take_backup(tmp_path / "state" / DATABASE, tmp_path / "backups", NOW_NS)
    assert list((tmp_path / "backups").iterdir()) == []


async def test_a_disk_that_fills_leaves_nothing_behind(tmp_path: Path) -> None:
    """A real limit on the size of files, in the middle of the copy."""
    import resource

    await filled(tmp_path / "state", calls=300)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(BackupError, match="cannot be copied"):
            take_backup(tmp_path / "state" / DATABASE, tmp_path / "backups", NOW_NS, alone=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "backups").iterdir()) == []


async def test_a_damaged_store_is_not_backed_up_as_if_it_were_whole(tmp_path: Path) -> None:
    await filled(tmp_path / "state")
    damage(tmp_path / "state" / DATABASE)
    with pytest.raises(BackupError, match="No backup was made"):
        take_backup(tmp_path / "state" / DATABASE, tmp_path / "backups", NOW_NS)
    assert list((tmp_path / "backups").iterdir()) == []


async def test_a_backup_that_was_changed_is_found_out(tmp_path: Path) -> None:
    await filled(tmp_path / "state")
    made = take_backup(tmp_path / "state" / DATABASE, tmp_path / "backups", NOW_NS)
    content = bytearray(made.database.read_bytes())
    content[5000] ^= 1
    made.database.write_bytes(content)
    with pytest.raises(BackupError, match="checksum differs"):
        copy_verified(read_backup(made.path), tmp_path / "copy.db")
    made.database.write_bytes(content[:-4096])
    with pytest.raises(BackupError, match="checksum differs"):
        copy_verified(read_backup(made.path), tmp_path / "copy-2.db")


async def test_what_is_no_backup_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"is no backup: it has no manifest.json. Name the folder"):
        read_backup(tmp_path)
    with pytest.raises(BackupError, match="it has no manifest"):
        read_backup(tmp_path / "nowhere")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BackupError, match="is no backup: a backup is a folder"):
        read_backup(tmp_path / "manifest.json")
    with pytest.raises(BackupError, match="is not a manifest"):
        read_backup(tmp_path)
    await filled(tmp_path / "state")
    made = take_backup(tmp_path / "state" / DATABASE, tmp_path / "backups", NOW_NS)
    manifest = made.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(BackupError, match=r"has format 2; this program reads 1\. Use a newer one"):
        read_backup(made.path)


def test_an_empty_database_is_no_store(tmp_path: Path) -> None:
    (tmp_path / DATABASE).touch()
    with pytest.raises(BackupError, match="there is no store yet"):
        take_backup(tmp_path / DATABASE, tmp_path / "backups", NOW_NS)


async def test_reading_cannot_write(tmp_path: Path) -> None:
    await filled(tmp_path)
    with reading(tmp_path / DATABASE) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM meta")


def damage(database: Path) -> None:
    """Overwrite pages in the middle: the tables' roots stay."""
    content = bytearray(database.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\xa5" * 8192
    database.write_bytes(content)
