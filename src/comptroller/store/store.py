"""The store: the journal that calls are written to, and the books that everybody else reads.

    store = open_store(folder, durability="power", now_ns=..., holder=...)   # open.py; blocks on the disk
    journal = store.start()                                                  # on the loop that will use it
    ...
    lost = await store.close(timeout_s=10)

`journal` is what the story needs (flow/journal.py): `commit`, `append`, `offer`. The rest is `async`:

- Writes (`open_session`, `end_sessions`, `write_stop`, `write_admin`, `install`) are jobs of the thread that writes
  the journal, so that one connection writes everything in the order in which it was asked to. They are durable when
  they return, or raise LedgerUnavailableError and have written nothing.
- Reads look at the tables on a connection of their own in a worker thread and never wait for the writer. They
  see what is folded, at most about a second old; `fold()` first, to see everything.
- `posted_so_far` is a read whose moment is a place in the queue.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import msgspec

from comptroller.control.interfaces import (
    CallFilter,
    CallRecord,
    Installation,
    Ledger,
    Place,
    Prunable,
    Pruned,
    RegistryState,
    SpendFilter,
    Spending,
    SpendReport,
)
from comptroller.control.notice_books import DeadLetter, Waiting
from comptroller.control.savings_books import Above, AboveFilter, Saving, SavingsDimension
from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ticket
from comptroller.core.budget.bounds import Bound
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.identity.admin import Admin
from comptroller.core.identity.request import IdentityRequest, Principal
from comptroller.core.identity.secret import BootstrapSecret
from comptroller.core.policy.break_glass import BreakGlass
from comptroller.core.tool.pin import Pin
from comptroller.core.work.session import Session
from comptroller.core.work.stop import Stop
from comptroller.core.work.stored import StoredObject
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change, Finding, Held
from comptroller.store import (
    admins,
    approvals,
    books,
    break_glass,
    identity_requests,
    notices,
    objects,
    pins,
    registry,
    retention,
    savings,
    secrets,
    sessions,
    spend,
    spent_before,
    stops,
    tables,
    tickets,
)
from comptroller.store.database import Database
from comptroller.store.folder import Folder
from comptroller.store.journal import JournalWriter
from comptroller.store.lock import StoreLock
from comptroller.store.writer import ignore

T = TypeVar("T")


class Recovered(msgspec.Struct, frozen=True):
    """The holds that a dead process had left open and nobody can see the end of; they were posted as presumed."""

    count: int
    amount_nanos: int


class Store(Ledger):
    """One open store. It belongs to this process until `close`."""

    def __init__(
        self,
        *,
        database: Database,
        folder: Folder,
        lock: StoreLock,
        recovered: Recovered,
        last_journalled_ns: int,
        backup: Path | None,
    ) -> None:
        self.recovered = recovered
        self.last_journalled_ns = last_journalled_ns  # when it was opened; for core.instant.TimeKeeper
        self.backup = backup  # made before an older schema was migrated
        self._database = database
        self._folder = folder
        self._lock = lock
        self._uri = f"{database.path.absolute().as_uri()}?mode=ro"
        self._journal: JournalWriter | None = None

    @property
    def journal(self) -> JournalWriter:
        """The journal, once `start` was called."""
        if self._journal is None:
            raise RuntimeError("the store was not started")
        return self._journal

    def start(self, wrote: Callable[[int, int], None] = ignore) -> JournalWriter:
        """Start to write, for the running loop. `wrote`: as JournalWriter says."""
        if self._journal is None:
            self._journal = JournalWriter(self._database, self._folder, wrote)
        return self._journal

    async def close(self, timeout_s: float) -> int:
        """Write what is queued and let the store go. Returns how many events could not be written in that time.

        A writer that is stuck may still write one day, so the store stays ours until it has ended, or the process.
        """
        if self._journal is None:
            self._database.close()
            self._lock.release()
            return 0
        lost = await self._journal.close(timeout_s)
        if self._journal.ended:
            self._lock.release()
        return lost

    async def pragmas(self) -> Mapping[str, str | int]:
        """What SQLite says about the connection that writes the journal."""
        return await self.journal.submit(lambda _: self._database.pragmas())

    async def fold(self) -> None:
        await self.journal.submit(None)

    async def open_session(self, session: Session, change: Change) -> None:
        await self.journal.submit(lambda connection: sessions.open_session(connection, session, change))

    async def change_session(self, session: Session, change: Change, outliving: Sequence[Session] = ()) -> None:
        await self.journal.submit(lambda connection: sessions.change_session(connection, session, change, outliving))

    async def record(self, change: Change) -> None:
        await self.journal.submit(lambda connection: tables.add_changes(connection, [change]))

    async def end_sessions(self, ended: Sequence[tuple[Session, Change]]) -> None:
        await self.journal.submit(lambda connection: [sessions.end_session(connection, *each) for each in ended])

    async def write_stop(self, stop: Stop, change: Change) -> None:
        await self.journal.submit(lambda connection: stops.write_stop(connection, stop, change))

    async def lift_stop(self, lifted: Stop, made: Change, change: Change) -> None:
        await self.journal.submit(lambda connection: stops.lift_stop(connection, lifted, made, change))

    async def write_break_glass(self, grant: BreakGlass, change: Change) -> None:
        await self.journal.submit(lambda connection: break_glass.write_grant(connection, grant, change))

    async def break_glass_of(self, grant_id: str) -> BreakGlass | None:
        return await self._read(lambda connection: break_glass.grant_of(connection, grant_id))

    async def break_glass_confirmed(self) -> Sequence[BreakGlass]:
        return await self._read(break_glass.confirmed)

    async def break_glass_list(self, limit: int) -> Sequence[BreakGlass]:
        return await self._read(lambda connection: break_glass.list_grants(connection, limit))

    async def write_ticket(self, ticket: Ticket, change: Change, grant: Grant | None = None) -> None:
        await self.journal.submit(lambda connection: approvals.write_ticket(connection, ticket, change, grant))

    async def ticket(self, ticket_id: str) -> Ticket | None:
        return await self._read(lambda connection: tickets.ticket_of(connection, ticket_id))

    async def open_tickets(self) -> Sequence[Ticket]:
        return await self._read(tickets.open_tickets)

    async def tickets(self, limit: int) -> Sequence[Ticket]:
        return await self._read(lambda connection: tickets.list_tickets(connection, limit))

    async def write_grant(self, grant: Grant, change: Change) -> None:
        await self.journal.submit(lambda connection: approvals.write_grant(connection, grant, change))

    async def grant(self, grant_id: str) -> Grant | None:
        return await self._read(lambda connection: tickets.grant_of(connection, grant_id))

    async def grants_going_on(self) -> Sequence[Grant]:
        return await self._read(tickets.grants_going_on)

    async def grants(self, limit: int) -> Sequence[Grant]:
        return await self._read(lambda connection: tickets.list_grants(connection, limit))

    async def write_admin(self, admin: Admin, change: Change) -> None:
        await self.journal.submit(lambda connection: admins.write_admin(connection, admin, change))

    async def write_request(self, request: IdentityRequest, changes: Sequence[Change]) -> None:
        await self.journal.submit(lambda connection: identity_requests.write_request(connection, request, changes))

    async def request(self, request_id: str) -> IdentityRequest | None:
        return await self._read(lambda connection: identity_requests.request_of(connection, request_id))

    async def requests_of(self, who: Principal) -> Sequence[IdentityRequest]:
        return await self._read(lambda connection: identity_requests.requests_of(connection, who))

    async def requests(self, limit: int, *, every: bool) -> Sequence[IdentityRequest]:
        return await self._read(lambda connection: identity_requests.list_requests(connection, limit, every=every))

    async def open_requests(self) -> int:
        return await self._read(identity_requests.count_open)

    async def approved(self, identities: Collection[str]) -> Sequence[IdentityRequest]:
        return await self._read(lambda connection: identity_requests.approved(connection, identities))

    async def write_secret(self, secret: BootstrapSecret, change: Change) -> None:
        await self.journal.submit(lambda connection: secrets.write_secret(connection, secret, change))

    async def revoke_secret(self, revoked: BootstrapSecret, change: Change) -> None:
        await self.journal.submit(lambda connection: secrets.revoke_secret(connection, revoked, change))

    async def secret(self, secret_id: str) -> BootstrapSecret | None:
        return await self._read(lambda connection: secrets.secret_of(connection, secret_id))

    async def secrets(self, identity: str | None, limit: int | None) -> Sequence[BootstrapSecret]:
        return await self._read(lambda connection: secrets.list_secrets(connection, identity, limit))

    async def install(self, installation: Installation) -> None:
        await self.journal.submit(lambda connection: registry.install(connection, installation))

    async def session(self, session_id: str) -> Session | None:
        return await self._read(lambda connection: sessions.session_of(connection, session_id))

    async def some_sessions(self, session_ids: Sequence[str]) -> Mapping[str, Session]:
        """Those of these that are known, by id."""
        return await self._read(lambda connection: sessions.some_sessions(connection, session_ids))

    async def lineage(self, session_id: str) -> Sequence[Session]:
        """The session, its parent, and so on, as far as they are known."""
        return await self._read(lambda connection: sessions.lineage(connection, session_id))

    async def family(self, root: str) -> Sequence[Session]:
        return await self._read(lambda connection: sessions.family(connection, root))

    async def sessions(self, identity: str | None, limit: int) -> Sequence[Session]:
        return await self._read(lambda connection: sessions.list_sessions(connection, identity, limit))

    async def live_sessions(self, now_ns: int) -> Sequence[Session]:
        return await self._read(lambda connection: sessions.live_sessions(connection, now_ns))

    async def tools_used(self, tops: Sequence[str]) -> Mapping[str, Sequence[str]]:
        return await self._read(lambda connection: sessions.tools_used(connection, tops))

    async def sent_tokens(self, ids: Sequence[str], until_ns: int) -> Mapping[str, int]:
        """Tokens of input that were billed in each of these sessions, for calls that had ended by then."""
        return await self._read(lambda connection: sessions.sent_tokens(connection, ids, until_ns))

    async def last_at_work(self, roots: Sequence[str]) -> Mapping[str, int]:
        return await self._read(lambda connection: sessions.last_at_work(connection, roots))

    async def stops(self, limit: int) -> Sequence[Stop]:
        return await self._read(lambda connection: stops.list_stops(connection, limit))

    async def stops_in_force(self) -> Sequence[Stop]:
        """The oldest first."""
        return await self._read(stops.stops_in_force)

    async def live_objects(self, since_ns: int, most: int) -> Sequence[StoredObject]:
        """The youngest of those that were made since then and are not deleted, the oldest of them first."""
        return await self._read(lambda connection: objects.live(connection, since_ns, most))

    async def deferred_holds(self) -> Sequence[Held]:
        """The open holds of deferred work, in the order in which they were taken."""
        return await self._read(lambda connection: [h for h in tables.open_holds(connection) if h.deferral is not None])

    async def pins(self) -> Sequence[Pin]:
        return await self._read(pins.all_pins)

    async def tool_definitions(self, server: str, tool: str) -> Mapping[str, str]:
        return await self._read(lambda connection: pins.definitions(connection, server, tool))

    async def admins(self) -> Sequence[Admin]:
        return await self._read(admins.list_admins)

    async def registry(self) -> RegistryState:
        return await self._read(registry.registry_state)

    async def bounds(self) -> Sequence[Bound]:
        """The standing of every (provider, model, dialect) whose bound was ever wrong."""
        return await self._read(lambda connection: tuple(tables.load_bounds(connection).values()))

    async def call(self, call_id: str) -> CallRecord | None:
        return await self._read(lambda connection: books.call(connection, call_id))

    async def calls(self, wanted: CallFilter) -> Sequence[CallRecord]:
        return await self._read(lambda connection: books.calls(connection, wanted))

    def posted_so_far(self, wanted: Sequence[Spending]) -> Awaitable[Sequence[Mapping[str, Amounts]]]:
        # The writer opens the view when everything queued until now is folded and nothing later is; then
        # another thread reads it, for as long as it takes.
        view = self.journal.submit(lambda _: _view(self._uri))
        return self._look(view, lambda connection: [spent_before.posted(connection, each) for each in wanted])

    async def spend(self, wanted: SpendFilter) -> SpendReport:
        return await self._read(lambda connection: spend.report(connection, wanted))

    async def savings(self, by: SavingsDimension, since_ns: int, until_ns: int) -> Sequence[Saving]:
        return await self._read(lambda connection: savings.savings(connection, by, since_ns, until_ns))

    async def calls_above(self, wanted: AboveFilter) -> Sequence[Above]:
        return await self._read(lambda connection: savings.calls_above(connection, wanted))

    async def balances(self, budget_keys: Sequence[str], since_ns: int = 0) -> Mapping[WindowKey, Amounts]:
        """What is posted in the windows of these budgets that began at `since_ns` or later."""
        return await self._read(lambda connection: books.balances(connection, budget_keys, since_ns))

    async def instance_balances(
        self, budget_keys: Sequence[str], instances: Sequence[str]
    ) -> Mapping[WindowKey, Amounts]:
        """What is posted in every known window that these budgets have for these instances."""
        return await self._read(lambda connection: books.instance_balances(connection, budget_keys, instances))

    async def kept_since(self) -> Mapping[Prunable, int]:
        return await self._read(retention.kept_since)

    async def has_older(self, what: Prunable, before_ns: int) -> bool:
        return await self._read(lambda connection: retention.has_older(connection, what, before_ns))

    async def keep_since(self, what: Prunable, since_ns: int, change: Change) -> None:
        await self.journal.submit(lambda connection: retention.keep_since(connection, what, since_ns, change))

    async def prune(self, what: Prunable, after: Place | None, most: int) -> Pruned:
        step, took_ns = await self.journal.submit_loose(
            lambda connection: retention.prune(connection, what, after, most)
        )
        return Pruned(step.deleted, step.place, took_ns)

    async def findings(self, limit: int, call_id: str | None = None) -> Sequence[Finding]:
        return await self._read(lambda connection: books.findings(connection, limit, call_id))

    async def changes(self, limit: int, noun: str | None = None, key: str | None = None) -> Sequence[Change]:
        return await self._read(lambda connection: books.changes(connection, limit, noun, key))

    async def waiting_notices(self) -> Sequence[Waiting]:
        """What is not delivered and not given up, the oldest first."""
        return await self._read(notices.waiting)

    async def told(self, now_ns: int, most: int) -> Sequence[str]:
        """The keys under which something was told that may not be told again, the newest of them; old ones go."""
        await self.journal.submit_loose(lambda connection: notices.forget_told(connection, now_ns))
        return await self._read(lambda connection: notices.told(connection, now_ns, most))

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        return await self._read(lambda connection: notices.dead(connection, limit))

    async def count_dead_letters(self) -> Mapping[str, int]:
        return await self._read(notices.count_dead)

    async def _look(self, view: Awaitable[sqlite3.Connection], question: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(_answer, await view, question)

    async def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(lambda: _answer(_view(self._uri), question))


def _view(uri: str) -> sqlite3.Connection:
    """A fresh connection that can only read, and sees nothing but this moment."""
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("BEGIN")
            connection.execute("SELECT 1 FROM meta").fetchone()  # the moment is that of the first read
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise _unreadable(error) from error
    return connection


def _answer(view: sqlite3.Connection, question: Callable[[sqlite3.Connection], T]) -> T:
    """One read, all statements of which see the same moment."""
    with closing(view):
        try:
            return question(view)
        except sqlite3.Error as error:
            raise _unreadable(error) from error


def _unreadable(error: sqlite3.Error) -> LedgerUnavailableError:
    return LedgerUnavailableError(f"the store cannot be read: {error}")
