"""Bringing a backup back: prepared beside the present store, shown, and put in its place in one step.

    with prepare_restore(state_dir, backup, now_ns=..., holder=...) as restoring:
        restoring.plan                                           # what comes back, and what it may lack
        restoring.complete("presume", reason="the disk died")    # or leave: nothing has changed

Every session ends, stops and admins stay, signing keys and the bootstrap credential stay with the store that was
replaced, the epoch is a new one, and no window shows less than is known (docs/decisions/0006).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from sqlalchemy import insert, select, update

from comptroller.control.reason import read_reason
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.budget.restored import Missing, UnknownSpend, carried, missing, presumed
from comptroller.core.instant import format_instant, from_datetime, to_datetime
from comptroller.core.registry.build import build
from comptroller.flow.records import Change, Finding
from comptroller.store import (
    admins,
    approvals,
    break_glass,
    exchange,
    identity_requests,
    pins,
    registry,
    schema,
    sessions,
    stops,
    tables,
)
from comptroller.store.backup import (
    DATABASE,
    Backup,
    BackupError,
    Manifest,
    Progress,
    check_integrity,
    copy_verified,
    require_room,
    silent,
)
from comptroller.store.database import Database
from comptroller.store.folder import get_meta, raise_meta, set_meta
from comptroller.store.lock import LOCK, Holder, StoreLock
from comptroller.store.migrate import migrate
from comptroller.store.open import presume, take_over
from comptroller.store.present import Present, Unreadable, newest_event, read_present
from comptroller.store.sql import run

Standing = Literal["empty", "continues", "other", "unreadable"]
"""The store that is replaced: none; one that has all that the backup has and goes on from it; another; or one that
cannot be read."""

_ACTOR = "restore"


class RestorePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore would do. `windows` are open ones that may have been spent from without the backup knowing."""

    manifest: Manifest
    replaced: Standing
    replaced_detail: str  # why it cannot be read
    replaced_last_at: str | None  # the newest instant in its books
    since: str  # from here on the backup knows nothing
    live_sessions: int
    presumed_holds: int  # open in the backup
    windows: Sequence[Missing]

    @property
    def needs_choice(self) -> bool:
        """Whether spend is unknown, so that somebody has to say what to do about it."""
        return self.replaced != "continues" and any(window.most for window in self.windows)

    @property
    def forgets(self) -> str:
        """What was decided since the backup and does not hold any more, in a sentence."""
        if self.replaced in {"empty", "unreadable"}:
            return f"What was stopped, denied or disabled after {self.since} is not known here, and works again."
        return f"What `apply` installed after {self.since} is not in force; what was stopped or denied since still is."


class Restored(msgspec.Struct, frozen=True):
    """What a restore did."""

    replaced: Path | None  # where the store that stood there is now
    presumed: int  # windows that count as used up
    ended_sessions: int
    epoch: int


class Restoring:
    """A backup that stands beside the present store, ready to take its place."""

    def __init__(self, state_dir: Path, backup: Backup, database: Database, now_ns: int) -> None:
        self._state_dir = state_dir
        self._manifest = backup.manifest
        self._database = database
        connection = database.connection
        event = newest_event(connection)
        migrate(connection, database.path, now_ns, keep=False)
        take_over(database)
        settled = _balances(connection)
        recovered = presume(database, now_ns, deferred=True)
        self._present = read_present(state_dir / DATABASE, event, self._manifest.made_at)
        self._last_ns = get_meta(connection, "last_ns")
        if isinstance(self._present, Present):
            self._last_ns = max(self._last_ns, self._present.last_ns)
        self._now_ns = max(now_ns, self._last_ns)
        self._since_ns = from_datetime(datetime.fromisoformat(self._manifest.made_at))
        self._moment = to_datetime(self._now_ns).strftime("%Y%m%dT%H%M%S%fZ")
        self._known = _known(settled, self._present)
        self._sessions = sessions.live_sessions(connection, self._now_ns)
        self.plan = self._plan(recovered.count)

    def complete(self, choice: UnknownSpend | None, reason: str) -> Restored:
        """Put it in place. What stood there is moved aside, and nothing of it is lost.

        Raises BackupError if a choice is needed and none was made, ControlProblem for a reason that is none, OSError
        or sqlite3.Error; the present store is then as it was.
        """
        words = read_reason(reason, "Say what happened to the store.")
        if self.plan.needs_choice and choice is None:
            raise BackupError("Nobody knows what was spent since the backup: say what to do about it.")
        presume_all = self.plan.needs_choice and choice == "presume"
        unknown = presumed(self.plan.windows) if presume_all else {}
        with self._database.transaction() as connection:
            tables.add_to_balances(connection, self._known)
            tables.add_to_balances(connection, unknown)
            self._end_sessions(connection)
            self._carry_stops(connection)
            self._carry_admins(connection)
            self._carry_denials(connection)
            self._carry_pins(connection)
            break_glass.end_all(connection, self._now_ns, "restore")  # what was an emergency then
            self._end_grants(connection)
            self._number(connection)
            self._record(connection, choice if self.plan.needs_choice else None, words)
            epoch = get_meta(connection, "epoch")
        self._close()
        aside = exchange.decide(self._state_dir, self._moment)
        exchange.finish(self._state_dir)
        used_up = sum(window.most > 0 for window in self.plan.windows) if presume_all else 0
        return Restored(aside if aside.exists() else None, used_up, len(self._sessions), epoch)

    def _plan(self, presumed_holds: int) -> RestorePlan:
        present = self._present
        connection = self._database.connection
        state = registry.registry_state(connection)
        budgets = build(state.entries, state.version).budgets if state.version else ()
        posted = _balances(connection)
        for key, amounts in self._known.items():
            posted[key] = posted.get(key, Amounts()).plus(amounts)
        return RestorePlan(
            manifest=self._manifest,
            replaced=_standing(present),
            replaced_detail=present.reason if isinstance(present, Unreadable) else "",
            replaced_last_at=format_instant(present.last_ns) if isinstance(present, Present) else None,
            since=self._manifest.made_at,
            live_sessions=len(self._sessions),
            presumed_holds=presumed_holds,
            windows=missing(budgets, posted, self._now_ns),
        )

    def _end_sessions(self, connection: sqlite3.Connection) -> None:
        """Their credentials are void by the new keys already; here is the record of it."""
        why = f"the store was restored from a backup of {self._manifest.made_at}"
        ended = {"ended_at_ns": self._now_ns, "ended_by": "restore", "ended_reason": why, "outcome": "stopped"}
        table = schema.sessions
        for session in self._sessions:
            run(connection, update(table).where(table.c.id == session.id).values(ended))
        changes = [Change(self._now_ns, "restore", "end", "session", session.id, why) for session in self._sessions]
        tables.add_changes(connection, changes)

    def _carry_stops(self, connection: sqlite3.Connection) -> None:
        """What the replaced store had stopped stays so, and so does what the backup had, whoever lifted it since."""
        if not isinstance(self._present, Present):
            return
        found = self._present.stops
        why = [f"{stop.reason} (stopped by {stop.actor} in the store that was replaced)" for stop in found]
        changes = [
            Change(self._now_ns, "restore", stop.kind, stop.scope, stop.value, words)
            for stop, words in zip(found, why, strict=True)
        ]
        stops.carry(connection, found, changes)

    def _carry_admins(self, connection: sqlite3.Connection) -> None:
        """Who was disabled, rotated or added in the replaced store is so here: a backup gives nobody a right back."""
        if isinstance(self._present, Present):
            admins.carry(connection, self._present.admins, self._now_ns, "as in the store that was replaced")

    def _carry_denials(self, connection: sqlite3.Connection) -> None:
        """Who was told no in the replaced store has no sandbox here. What was approved there waits to be approved."""
        if isinstance(self._present, Present):
            why = "as in the store that was replaced"
            identity_requests.carry(connection, self._present.denied, self._now_ns, why)

    def _carry_pins(self, connection: sqlite3.Connection) -> None:
        """A tool that the replaced store held back stays so; what was accepted there since is looked at once more."""
        if isinstance(self._present, Present):
            why = "as in the store that was replaced"
            tables.add_changes(connection, pins.carry(connection, self._present.pins, self._now_ns, why))

    def _end_grants(self, connection: sqlite3.Connection) -> None:
        """A backup gives nobody a right back: what was spent by a grant since, and who revoked it, is not known."""
        why = f"the store was restored from a backup of {self._manifest.made_at}"
        approvals.end_all(connection, self._now_ns, _ACTOR, why)

    def _number(self, connection: sqlite3.Connection) -> None:
        """Numbers that the replaced store has used are not used again; the books get a gap, which `apply` knows."""
        version = get_meta(connection, "registry_version")
        if isinstance(self._present, Present):
            raise_meta(connection, "epoch", self._present.epoch + 1)
            version = max(version, self._present.registry_version)
        if get_meta(connection, "registry_version"):
            table = schema.registry_versions
            newest = select(table.c.document).order_by(table.c.version.desc()).limit(1)
            document = run(connection, newest).fetchone()
            row = {"version": version + 1, "at_ns": self._now_ns, "actor": "restore", "document": document[0]}
            run(connection, insert(table).values(row))
            set_meta(connection, "registry_version", version + 1)
        gap_ns = get_meta(connection, "gap_from_ns")
        set_meta(connection, "gap_from_ns", min(gap_ns or self._since_ns, self._since_ns))
        raise_meta(connection, "gap_until_ns", self._now_ns)
        raise_meta(connection, "last_ns", self._last_ns)

    def _record(self, connection: sqlite3.Connection, choice: UnknownSpend | None, reason: str) -> None:
        now_ns, made_at = self._now_ns, self._manifest.made_at
        done = {"replaced": self.plan.replaced, "unknown_spend": choice, "since": self.plan.since}
        change = Change(
            at_ns=now_ns,
            actor=_ACTOR,
            verb="restore",
            noun="store",
            key=made_at,
            reason=reason,
            before=_json({"last_at": self.plan.replaced_last_at}),
            after=_json(done | {"backup": msgspec.to_builtins(self._manifest)}),
            version=get_meta(connection, "registry_version"),
        )
        tables.add_changes(connection, [change])
        sentence = f"The store was restored from a backup of {made_at}. {_say(self.plan, choice)} {self.plan.forgets}"
        if self.plan.replaced != "empty":
            sentence += f" The replaced store is in {exchange.aside_of(self._state_dir, self._moment)}."
        tables.add_findings(connection, [Finding(now_ns, "restored", None, "gateway", sentence)])

    def _close(self) -> None:
        """Leave one file that is whole without a log beside it."""
        mode = self._database.connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        self._database.close()
        if mode != "delete":
            raise BackupError(f"The restored database cannot be closed (its journal mode stays {mode}).")
        if os.geteuid() == 0:  # run by root for a gateway that runs as somebody else
            owner = self._state_dir.stat()
            os.chown(self._database.path, owner.st_uid, owner.st_gid)


@contextmanager
def prepare_restore(
    state_dir: Path, backup: Backup, *, now_ns: int, holder: Holder, progress: Progress = silent
) -> Generator[Restoring]:
    """Own the store in `state_dir`, which may be empty, and make a backup ready beside it.

    Raises StoreHeldError if a gateway has it, BackupError if the backup is not what it should be or there is no room,
    SchemaUnknownError if it was made by a newer program, OSError.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = StoreLock.acquire(state_dir / LOCK, holder)
    try:
        exchange.finish(state_dir)
        require_room(state_dir, 2 * backup.manifest.bytes)  # bringing it up to date may write all of it once more
        part = exchange.new_part(state_dir)
        try:
            copy_verified(backup, part / DATABASE, progress)
            database = Database(part / DATABASE, "power")
            try:
                progress("checking", 0, 1)
                fault = check_integrity(database.connection)
                if fault is not None:
                    raise BackupError(f"{backup.path} is damaged: {fault}. Use another backup.")
                yield Restoring(state_dir, backup, database, now_ns)
            finally:
                database.close()
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except sqlite3.Error as error:
        raise BackupError(f"{backup.path} cannot be restored: {error}.") from error
    finally:
        lock.release()


def _standing(present: Present | Unreadable | None) -> Standing:
    if present is None:
        return "empty"
    if isinstance(present, Unreadable):
        return "unreadable"
    return "continues" if present.continues else "other"


def _known(settled: Mapping[WindowKey, Amounts], present: Present | Unreadable | None) -> Mapping[WindowKey, Amounts]:
    """What the present store knows of windows and the backup does not."""
    if not isinstance(present, Present):
        return {}
    # A store with another history has spent beside what the backup knows; one that goes on from it contains that.
    return carried(settled, present.windows) if present.continues else present.windows


def _balances(connection: sqlite3.Connection) -> dict[WindowKey, Amounts]:
    return {WindowKey(*row[:3]): Amounts(*row[3:]) for row in run(connection, select(schema.balances))}


def _say(plan: RestorePlan, choice: UnknownSpend | None) -> str:
    """What became of the budgets, for the finding."""
    if plan.replaced == "continues":
        return "Budgets go on from what the replaced store showed; its calls since then are in its own books only."
    span = f"What was spent from {plan.since} until the restore is not known"
    if choice == "presume":
        used_up = sum(window.most > 0 for window in plan.windows)
        return f"{span}: {used_up} windows that were open count as used up until they reset."
    if choice == "accept":
        return f"{span}, which was accepted: what was left in {len(plan.windows)} windows may be spent twice."
    return f"{span}; no budget with a hard limit had a window open."


def _json(value: Mapping[str, object]) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
