"""The borders of the control plane: what it needs from whoever keeps the books and whoever signs credentials.

`store` implements both. Every read sees at least what was journalled and folded before it; who needs the
newest state calls `fold` first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from comptroller.control.approval_books import ApprovalBooks
from comptroller.control.call_record import CallRecord
from comptroller.control.notice_books import NoticeBooks
from comptroller.control.savings_books import SavingsBooks
from comptroller.control.tool_books import ToolBooks
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.budget.scope import Attribute, Scope
from comptroller.core.identity.admin import Admin
from comptroller.core.identity.credential import Actor, Claims
from comptroller.core.identity.request import IdentityRequest, Principal
from comptroller.core.identity.secret import BootstrapSecret
from comptroller.core.policy.break_glass import BreakGlass
from comptroller.core.registry.entries import EntryKey, Installed, StoredEntry
from comptroller.core.work.session import Session
from comptroller.core.work.stop import Stop
from comptroller.flow.records import Change, Finding


class CallFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls, newest first (by at_ns, then id). All that is given must match."""

    identity: str | None = None
    team: str | None = None
    session: str | None = None
    model: str | None = None  # that was called
    tool: str | None = None  # the same
    outcome: str | None = None  # flow/outcome.py, or `refused`, or `open`
    since_ns: int | None = None
    before: str | None = None  # a call's id: only calls that stand after it in this order
    limit: int | None = None  # None: all


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """A question to the books: what was posted for calls in a scope, by instance ("" where `per` is None).

    A scope is for every node of a call's chain, as it is for live ones.
    """

    scope: Scope
    per: Attribute | None
    start_ns: int  # of calls made in [start_ns, end_ns); both begin a quarter of an hour
    end_ns: int | None


SpendDimension = Literal[
    "team",
    "owner",
    "identity",
    "environment",
    "session",
    "subject",
    "tenant",
    "task",
    "task_type",
    "workflow",
    "model",
    "provider",
    "tool",
    "server",
]


class SpendFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls a report is about, and what its lines are. All that is given must match."""

    by: SpendDimension
    since_ns: int
    until_ns: int
    only: Mapping[SpendDimension, str]
    limit: int  # lines; those with the most spend first


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a report: the sums of calls that have ended, by what they were when they were made."""

    key: str | None  # None: calls that have none, such as refused ones without a provider
    calls: int
    refused: int
    overruns: int
    input_tokens: int
    output_tokens: int
    charge_nanos: int  # exact charges
    presumed_nanos: int  # what is posted beside them without knowing what was billed
    posted_calls: int  # as budgets in calls count them
    posted_tool_calls: int = 0
    posted_result_bytes: int = 0


class SpendReport(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of a report, and the stretch of time that they are about."""

    since_ns: int  # not after the one that was asked for
    until_ns: int  # not before it
    lines: Sequence[Spend]
    total: Spend
    left_out: int  # lines beyond the limit, which are in the total


class Gap(msgspec.Struct, frozen=True):
    """A stretch of time of whose calls the books know nothing, because the store was restored from a backup."""

    from_ns: int
    until_ns: int


Prunable = Literal[
    "calls", "presumed", "findings", "sessions", "objects", "spend_recent", "tickets", "grants", "tool_sets"
]
"""Records that are kept for a while only. `calls`: all but those whose charge was presumed."""


Place = tuple[object, ...]
"""How far a walk through old records came: an age, and whatever tells records of that age apart."""


class Pruned(msgspec.Struct, frozen=True):
    """One step of letting go."""

    deleted: int
    place: Place | None  # None: there is nothing more that is old
    took_ns: int  # for so long it kept the thread that writes


class RegistryState(msgspec.Struct, frozen=True):
    """The registry as it is installed. Version 0: nothing was ever applied."""

    version: int
    entries: Installed
    gap: Gap | None = None


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the registry, to be written in one transaction."""

    version: int  # must be the installed version plus one
    at_ns: int
    actor: str
    document: str  # JSON: what was applied, as it was given
    entries: Mapping[EntryKey, StoredEntry]  # new, changed, disabled and enabled ones; all others stay
    changes: Sequence[Change]  # one for each of them
    opening: Mapping[WindowKey, Amounts]  # added to the balances of windows whose budget is new
    decided: IdentityRequest | None = None  # that this version approves; the event of that is among the changes


class Ledger(ApprovalBooks, NoticeBooks, SavingsBooks, ToolBooks, Protocol):
    """The books. Writes are durable when they return, or raise LedgerUnavailableError (flow/journal.py)."""

    async def fold(self) -> None:
        """Wait until every event queued so far stands in the tables that the reads below look at."""
        ...

    async def open_session(self, session: Session, change: Change) -> None:
        """Write a session and the event of its opening in one transaction."""
        ...

    async def change_session(self, session: Session, change: Change, outliving: Sequence[Session] = ()) -> None:
        """Write what of an open session can change (bounds, models, tools, expiry) and the event in one transaction.

        `outliving`: those below it whose end is another with it.
        """
        ...

    async def sent_tokens(self, ids: Sequence[str], until_ns: int) -> Mapping[str, int]:
        """Tokens of input that were billed in each of these sessions, for calls that had ended by then."""
        ...

    async def record(self, change: Change) -> None:
        """Write what was done, where nothing else is to be written. Raises LedgerUnavailableError."""
        ...

    async def end_sessions(self, ended: Sequence[tuple[Session, Change]]) -> None:
        """Write the end that each session carries with its event in one transaction; one that has ended stays so.

        One that has no row is passed over: its opening was never written.
        """
        ...

    async def write_stop(self, stop: Stop, change: Change) -> None:
        """Write a stop and its event in one transaction; one that is written already stays, and nothing is added."""
        ...

    async def lift_stop(self, lifted: Stop, made: Change, change: Change) -> None:
        """Write that a stop was lifted, and the event of that, in one transaction.

        `made`: the event of its making, for a stop that could not be written when it was made.
        """
        ...

    async def stops(self, limit: int) -> Sequence[Stop]:
        """Newest first, lifted ones too."""
        ...

    async def write_break_glass(self, grant: BreakGlass, change: Change) -> None:
        """Write a grant of break-glass as it stands now, and the event, in one transaction."""
        ...

    async def break_glass_of(self, grant_id: str) -> BreakGlass | None: ...

    async def break_glass_confirmed(self) -> Sequence[BreakGlass]:
        """Those that were confirmed and that nothing on record ended, the oldest first."""
        ...

    async def break_glass_list(self, limit: int) -> Sequence[BreakGlass]:
        """Newest first, those that are over too."""
        ...

    async def write_admin(self, admin: Admin, change: Change) -> None:
        """Write an admin, in the place of whoever had the name, and the event of that, in one transaction."""
        ...

    async def write_request(self, request: IdentityRequest, changes: Sequence[Change]) -> None:
        """Write a request for an identity as it stands now, and the events, in one transaction."""
        ...

    async def request(self, request_id: str) -> IdentityRequest | None: ...

    async def requests_of(self, who: Principal) -> Sequence[IdentityRequest]:
        """All of a principal, newest first."""
        ...

    async def requests(self, limit: int, *, every: bool) -> Sequence[IdentityRequest]:
        """Open ones, the oldest first; or all, newest first."""
        ...

    async def open_requests(self) -> int:
        """How many there are."""
        ...

    async def approved(self, identities: Collection[str]) -> Sequence[IdentityRequest]:
        """Those that were approved as one of these."""
        ...

    async def session(self, session_id: str) -> Session | None: ...

    async def some_sessions(self, session_ids: Sequence[str]) -> Mapping[str, Session]:
        """Those of these that are known, by id."""
        ...

    async def lineage(self, session_id: str) -> Sequence[Session]:
        """The session, its parent, and so on, as far as they are known."""
        ...

    async def family(self, root: str) -> Sequence[Session]:
        """The session at the top of a tree, and all below it."""
        ...

    async def sessions(self, identity: str | None, limit: int) -> Sequence[Session]:
        """Newest first, ended and expired ones too."""
        ...

    async def write_secret(self, secret: BootstrapSecret, change: Change) -> None:
        """Write a bootstrap secret, as its digest, and the event of its issue in one transaction."""
        ...

    async def revoke_secret(self, revoked: BootstrapSecret, change: Change) -> None:
        """Write that it was taken back, and the event, in one transaction; one that was before stays as it was."""
        ...

    async def secret(self, secret_id: str) -> BootstrapSecret | None: ...

    async def secrets(self, identity: str | None, limit: int | None) -> Sequence[BootstrapSecret]:
        """Newest first; without a limit, all that were not taken back."""
        ...

    async def registry(self) -> RegistryState: ...

    async def install(self, installation: Installation) -> None:
        """Write a version of the registry, its events and the opening balances in one transaction."""
        ...

    async def call(self, call_id: str) -> CallRecord | None: ...

    async def calls(self, wanted: CallFilter) -> Sequence[CallRecord]:
        """Newest first."""
        ...

    def posted_so_far(self, wanted: Sequence[Spending]) -> Awaitable[Sequence[Mapping[str, Amounts]]]:
        """What every event queued before this was called has posted, and no later one; an answer for each question.

        The cut is made in the call itself, before anything is awaited.
        """
        ...

    async def spend(self, wanted: SpendFilter) -> SpendReport:
        """A report, from sums that are kept: what it costs does not depend on how many calls there were."""
        ...

    async def balances(self, budget_keys: Sequence[str], since_ns: int = 0) -> Mapping[WindowKey, Amounts]:
        """What is posted in every known window of these budgets (Budget.key) that began at `since_ns` or later."""
        ...

    async def instance_balances(
        self, budget_keys: Sequence[str], instances: Sequence[str]
    ) -> Mapping[WindowKey, Amounts]:
        """What is posted in every known window that these budgets have for these instances."""
        ...

    async def kept_since(self) -> Mapping[Prunable, int]:
        """From when on records are kept; what is older is gone, or about to be. 0: nothing was ever pruned."""
        ...

    async def has_older(self, what: Prunable, before_ns: int) -> bool:
        """Whether there is any from before this instant."""
        ...

    async def keep_since(self, what: Prunable, since_ns: int, change: Change) -> None:
        """Say from when on records are kept, and write the event of it, in one transaction."""
        ...

    async def prune(self, what: Prunable, after: Place | None, most: int) -> Pruned:
        """Look at so many of those that are older than what is kept, beyond this place, and delete them.

        A call with an open hold is not deleted, however old it is. One step, all of it or nothing; it may be undone by
        a power cut, and is then done again.
        """
        ...

    async def findings(self, limit: int, call_id: str | None = None) -> Sequence[Finding]:
        """Newest first."""
        ...

    async def changes(self, limit: int, noun: str | None = None, key: str | None = None) -> Sequence[Change]:
        """Newest first: who changed what. A correction stands here as noun `call`, with the call's id as key."""
        ...


class Issuer(Protocol):
    """Whoever holds the signing key."""

    @property
    def trust_domain(self) -> str:
        """Whose credentials are issued and accepted; follows the registry."""
        ...

    @trust_domain.setter
    def trust_domain(self, trust_domain: str) -> None: ...

    @property
    def key_ids(self) -> Sequence[str]:
        """The keys that verify; the last one signs."""
        ...

    @property
    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """Those keys as public JWKs (RFC 7517)."""
        ...

    def issue(self, claims: Claims, chain: Sequence[Actor] = ()) -> str:
        """A signed credential that says this. Raises ValueError for claims that would not verify.

        `chain`: of a session below others, who acts first, who began last. It is there to be read by others.
        """
        ...

    def claims_for_server(self, token: str) -> bytes | None:
        """What a token of ours for an MCP server says, whatever its time; None for what is none."""
        ...

    def rotate(self, now_ns: int, *, distrust_old: bool = False) -> str:
        """Sign with a new key from now on; returns its id. Raises OSError, and has then changed nothing."""
        ...


class AdminCredential(Protocol):
    """The bootstrap admin credential of the state folder."""

    def matches(self, candidate: str, /) -> bool:
        """Compare in constant time."""
        ...
