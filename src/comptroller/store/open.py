"""Opening a store: own it, bring it up to date, and end what a dead process left open."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from comptroller.core.money import format_usd
from comptroller.flow.records import Event, Finding, Held, Settled
from comptroller.store import exchange, sessions, tables
from comptroller.store.backup import DATABASE
from comptroller.store.database import Database, Durability
from comptroller.store.fold import fold, touched
from comptroller.store.folder import Folder, StoreDamagedError, get_meta, raise_meta
from comptroller.store.lock import LOCK, Holder, StoreLock
from comptroller.store.migrate import migrate
from comptroller.store.store import Recovered, Store


def open_store(state_dir: Path, *, durability: Durability, now_ns: int, holder: Holder) -> Store:
    """Take the store in `state_dir`, which is created (0700) if it is not there. Blocks on the disk.

    `now_ns` dates what recovery writes. A restore that was decided and cut off is finished first.

    Raises StoreHeldError (lock.py), SchemaUnknownError (migrate.py), BackupError (backup.py), StoreDamagedError
    (folder.py; whatever the database itself objects to is one) or OSError.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = StoreLock.acquire(state_dir / LOCK, holder)
    try:
        exchange.finish(state_dir)
        database = Database(state_dir / DATABASE, durability)
        try:
            return _prepared(database, lock, now_ns)
        except BaseException:
            database.close()
            raise
    except sqlite3.Error as error:
        lock.release()
        raise StoreDamagedError(f"the store {state_dir} cannot be opened: {error}") from error
    except BaseException:
        lock.release()
        raise


def _prepared(database: Database, lock: StoreLock, now_ns: int) -> Store:
    backup = migrate(database.connection, database.path, now_ns)
    folder = take_over(database)
    recovered = presume(database, now_ns)
    with database.transaction() as connection:
        sessions.end_with_ancestors(connection, max(now_ns, get_meta(connection, "last_ns")))
    return Store(
        database=database,
        folder=folder,
        lock=lock,
        recovered=recovered,
        last_journalled_ns=get_meta(database.connection, "last_ns"),
        backup=backup,
    )


def take_over(database: Database) -> Folder:
    """Start a new epoch, and fold what the last one left in the journal."""
    database.take_epoch()
    folder = Folder(database)
    folder.all_of(_newest_batch(database.connection))
    return folder


def _newest_batch(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()[0])


def presume(database: Database, now_ns: int, *, deferred: bool = False) -> Recovered:
    """Post every open hold in full: nobody knows what was billed for it, only that it was not more.

    Those of deferred work stay open, for its end can still be seen; with `deferred` they are posted like all others.
    All of them belong to older epochs, for ours has taken none yet. One durable step, so that dying in the middle of
    it presumes nothing twice.
    """
    holds = [held for held in tables.open_holds(database.connection) if deferred or held.deferral is None]
    if not holds:
        return Recovered(0, 0)
    recovered = Recovered(len(holds), sum(hold.amounts.usd for hold in holds))
    at_ns = max(now_ns, get_meta(database.connection, "last_ns"))
    events: list[Event] = [_presumed(hold, at_ns) for hold in holds]
    events.append(_finding(recovered, at_ns))
    with database.transaction() as connection:
        outcome = fold(events, tables.load(connection, touched(events)))
        tables.save(connection, outcome)
        raise_meta(connection, "last_ns", outcome.last_ns)
    return recovered


def _presumed(hold: Held, at_ns: int) -> Settled:
    return Settled(
        attempt_id=hold.attempt_id,
        call_id=hold.facts.call_id,
        at_ns=at_ns,
        end="presumed",
        posted=hold.amounts,
        windows=hold.windows,
        outcome="crashed",
        detail="the gateway died while the call was in flight; the whole hold is charged",
        status=None,
        usage=None,
        served_model=None,
        service_tier=None,
        priced=True,
        overrun=False,
        first_byte_ns=None,
        duration_ns=max(0, at_ns - hold.facts.at_ns),
    )


def _finding(recovered: Recovered, at_ns: int) -> Finding:
    calls = "1 call was" if recovered.count == 1 else f"{recovered.count} calls were"
    sentence = (
        f"{calls} in flight when the gateway died and posted as presumed at the whole hold, "
        f"{format_usd(recovered.amount_nanos)} USD together. Correct them when the provider's bill is known."
    )
    return Finding(at_ns=at_ns, code="holds_presumed", call_id=None, subject="gateway", sentence=sentence)
