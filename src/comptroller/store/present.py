"""What the store that a restore will replace says of its windows: read as it stands, and changed in nothing.

It may have been written by a newer program, or have died in the middle of calls: what is not folded yet is
folded in memory, and open holds count in full.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.identity.admin import Admin
from comptroller.core.identity.request import IdentityRequest
from comptroller.core.work.stop import Stop
from comptroller.flow.records import Event, Held
from comptroller.store.admins import list_admins
from comptroller.store.backup import check_integrity, reading
from comptroller.store.fold import Outcome, Standing, fold
from comptroller.store.identity_requests import list_denied
from comptroller.store.pins import Known, known
from comptroller.store.stops import stops_in_force

EventRow = tuple[object, ...]

_NEWEST_EVENT = "SELECT id, at_ns, actor, verb, noun, key FROM events ORDER BY id DESC LIMIT 1"
_EVENT = "SELECT id, at_ns, actor, verb, noun, key FROM events WHERE id = ?"
_RESTORED_FROM_OLDER = "SELECT 1 FROM events WHERE id > ? AND verb = 'restore' AND key < ?"  # key: when it was made
_HAS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"  # else it is of an older program
_events = msgspec.msgpack.Decoder(list[Event])
_held = msgspec.msgpack.Decoder(Held)


class Present(msgspec.Struct, frozen=True):
    """A store that can be read. `continues`: it has all that the backup has, so it knows what came after."""

    continues: bool
    epoch: int
    last_ns: int
    registry_version: int
    windows: Mapping[WindowKey, Amounts]
    stops: Sequence[Stop]  # in force
    admins: Sequence[Admin]
    denied: Sequence[IdentityRequest]
    pins: Known


class Unreadable(msgspec.Struct, frozen=True):
    """A store that is there and says nothing that can be relied on."""

    reason: str


def newest_event(connection: sqlite3.Connection) -> EventRow | None:
    """The newest change on record: who has the same one has the same history up to it, for none is ever changed."""
    return connection.execute(_NEWEST_EVENT).fetchone()


def read_present(database: Path, event: EventRow | None, made_at: str) -> Present | Unreadable | None:
    """The store in this file, held against a backup made then, whose newest event is `event`; None: there is none.

    The caller holds the store's lock.
    """
    if not database.exists():
        return None
    try:
        with reading(database, alone=True) as connection:
            fault = check_integrity(connection)
            return _read(connection, event, made_at) if fault is None else Unreadable(fault)
    except (sqlite3.Error, msgspec.MsgspecError, OSError) as error:
        return Unreadable(str(error))


def _read(connection: sqlite3.Connection, event: EventRow | None, made_at: str) -> Present | None:
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return None  # a file that a start has just made
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    if not connection.execute("SELECT 1 FROM events LIMIT 1").fetchone():
        return None  # nothing was ever installed there, so nobody could spend
    holds = [_held.decode(body) for (body,) in connection.execute("SELECT body FROM holds")]
    unfolded = fold(_unfolded(connection), Standing(calls={}, holds={h.attempt_id: h for h in holds}, bounds={}))
    return Present(
        continues=event is not None and _continues(connection, event, made_at),
        epoch=int(meta.get("epoch", 0)),
        last_ns=max(int(meta.get("last_ns", 0)), unfolded.last_ns),
        registry_version=int(meta.get("registry_version", 0)),
        windows=_windows(connection, unfolded, holds),
        stops=stops_in_force(connection) if connection.execute(_HAS, ["stops"]).fetchone() else (),
        admins=list_admins(connection) if connection.execute(_HAS, ["admins"]).fetchone() else (),
        denied=list_denied(connection) if connection.execute(_HAS, ["identity_requests"]).fetchone() else (),
        pins=known(connection, unfolded.pins) if connection.execute(_HAS, ["tool_pins"]).fetchone() else Known(),
    )


def _continues(connection: sqlite3.Connection, event: EventRow, made_at: str) -> bool:
    """Whether it went on from where the backup ends.

    A store that came out of an older backup may have the same changes and lack calls that this one has.
    """
    same = connection.execute(_EVENT, (event[0],)).fetchone() == event
    return same and connection.execute(_RESTORED_FROM_OLDER, (event[0], made_at)).fetchone() is None


def _unfolded(connection: sqlite3.Connection) -> Iterator[Event]:
    for (body,) in connection.execute("SELECT body FROM journal ORDER BY seq"):
        yield from _events.decode(body)


def _windows(connection: sqlite3.Connection, unfolded: Outcome, holds: Iterable[Held]) -> dict[WindowKey, Amounts]:
    """What each window shows, with open holds as recovery would post them."""
    windows = {WindowKey(*row[:3]): Amounts(*row[3:]) for row in connection.execute("SELECT * FROM balances")}
    still_open = {held.attempt_id: held for held in (*holds, *unfolded.holds)}  # the later one stands
    for attempt_id in unfolded.ended_holds:
        del still_open[attempt_id]
    for key, amounts in unfolded.posted.items():
        windows[key] = windows.get(key, Amounts()).plus(amounts)
    for held in still_open.values():
        for key in held.windows:
            windows[key] = windows.get(key, Amounts()).plus(held.amounts)
    return windows
