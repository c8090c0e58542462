"""The office: what every act of an operator works with. One is made in `app.py` and handed to the API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from comptroller.control.attempts import Attempts
from comptroller.control.chat import Chat
from comptroller.control.guesses import Guesses
from comptroller.control.logins import Logins
from comptroller.core.identity.admin import Admins
from comptroller.flow.journal import LedgerUnavailableError

if TYPE_CHECKING:
    # Commands read their rows from the modules beside this one, and start faster without Cedar, keys and the store.
    from comptroller.control.interfaces import Issuer, Ledger
    from comptroller.control.issuer_keys import IssuerKeys
    from comptroller.control.notify import Notifying
    from comptroller.core.work.session import Session
    from comptroller.flow.gate import Gate
    from comptroller.flow.records import Change


class ProcessFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `status` says about the process itself."""

    version: str
    pid: int
    started_at_ns: int
    listen: str | None  # None: offline, no data plane is served
    durability: str
    store: str  # where it is, without any password
    url: str = ""  # of the data plane, as callers know it
    holder: str = ""  # who owns the store: host and process


@dataclass
class Office:
    """The gate of the process, its books, and whoever signs.

    `changing` is held by every act that reads the books, decides and then changes money in memory:
    two of them at once would each decide on what the other is about to change. `deciding` is held, outside of that, by
    whatever asks for an identity, decides about that, or opens a sandbox: strangers keep no operator waiting.
    `admins` is as the books have it.
    """

    gate: Gate
    ledger: Ledger
    issuer: Issuer
    process: ProcessFacts
    issuer_keys: IssuerKeys
    admins: Admins = field(default_factory=Admins)
    logins: Logins = field(default_factory=Logins)
    attempts: Attempts = field(default_factory=Attempts)
    guesses: Guesses = field(default_factory=Guesses)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
    chat: Chat = field(default_factory=Chat)
    notifying: Notifying | None = None  # None: comptroller.toml names nobody who is told
    unwritten_ends: dict[str, tuple[Session, Change]] = field(default_factory=dict)  # sessions, ended in memory so far

    def __post_init__(self) -> None:
        self.gate.approvals.known_as = self.known_as

    def known_as(self, name: str) -> Sequence[str]:
        """All names by which an admin is known."""
        admin = self.admins.get(name)
        return (name,) if admin is None else (name, *admin.also)

    def going_on(self) -> Mapping[str, Session]:
        """The sessions that can still spend, by id."""
        now_ns = self.gate.clock.expiry_ns()
        return {each.id: each for each in self.gate.sessions.values() if each.goes_on(now_ns)}

    async def catch_up(self) -> None:
        """Let the books show all that has happened. A store that cannot be written can still be read."""
        try:
            await self.ledger.fold()
        except LedgerUnavailableError as error:
            self.gate.warn("books_behind", {"message": str(error)})
