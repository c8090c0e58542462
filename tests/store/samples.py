"""Events and stores for the tests of the store: real ones, with made-up names."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from comptroller.core.approval.grant import Grant
from comptroller.core.approval.ticket import Ticket
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import StoredObject
from comptroller.flow.records import CallFacts, Change, Corrected, Held, ObjectChanged, Refused, Settled
from comptroller.store.database import Durability
from comptroller.store.lock import Holder
from comptroller.store.open import open_store
from comptroller.store.store import Store

NOW_NS = 1_795_000_000_000_000_000
HOLDER = Holder(pid=os.getpid(), host="here", started_at="2026-11-22T05:00:00.000Z", listen="127.0.0.1:8787")
MONTH = WindowKey("search-month#aa", "", 1_793_000_000_000_000_000)
SCOUT = WindowKey("each-scout#bb", "agent/scout", 1_794_000_000_000_000_000)
HOLD = Amounts(usd=5_000_000, tokens=1_500, calls=1)
CHARGE = Amounts(usd=2_000_000, tokens=700, calls=1)
USAGE = Usage(input_tokens=500, output_tokens=200, cached_tokens=100, reasoning_tokens=50, service_tier="default")


def facts(number: int, **other: Any) -> CallFacts:
    known: dict[str, Any] = {
        "call_id": f"call_{number:026d}",
        "at_ns": NOW_NS + number,
        "dialect": "openai_chat",
        "identity": "agent/scout",
        "kind": "agent",
        "owner": "lead@acme.example",
        "team": "search",
        "environment": "production",
        "organization": "acme",
        "session": "ses_1",
        "chain": ("agent/scout",),
        "registry_version": 1,
        "model": "sandbox-large",
        "provider": "sandbox",
        "model_class": "frontier",
        "price_version": "2026-01-01",
    }
    return CallFacts(**(known | other))


def held(
    number: int,
    *,
    attempt: int = 1,
    amounts: Amounts = HOLD,
    windows: Sequence[WindowKey] = (MONTH, SCOUT),
    epoch: int = 1,
    **other: Any,
) -> Held:
    about = facts(number, **other)
    return Held(
        attempt_id=f"{about.call_id}.{attempt}",
        facts=about,
        epoch=epoch,
        amounts=amounts,
        windows=tuple(windows),
        input_tokens_bound=1_000,
        output_limit=500,
        asked_output_limit=None,
        choices=1,
        factor_bp=10_000,
    )


def settled(number: int, *, attempt: int = 1, **other: Any) -> Settled:
    known: dict[str, Any] = {
        "attempt_id": f"call_{number:026d}.{attempt}",
        "call_id": f"call_{number:026d}",
        "at_ns": NOW_NS + number + 5,
        "end": "posted",
        "posted": CHARGE,
        "windows": (MONTH, SCOUT),
        "outcome": "completed",
        "detail": "",
        "status": 200,
        "usage": USAGE,
        "served_model": "sandbox-large-1",
        "service_tier": "default",
        "priced": True,
        "overrun": False,
        "first_byte_ns": 1_000,
        "duration_ns": 9_000,
    }
    return Settled(**(known | other))


def refused(number: int, *, code: str = "budget_exhausted", **other: Any) -> Refused:
    return Refused(facts(number, **other), Refusal(code, "The budget is spent.", "Ask its owner."))


def corrected(number: int, *, was: int = CHARGE.usd, now: int) -> Corrected:
    return Corrected(f"call_{number:026d}", NOW_NS + number + 9, "admin", "the bill", now - was, now, (MONTH, SCOUT))


def change(number: int, noun: str = "session", key: str = "ses_1", verb: str = "open") -> Change:
    return Change(NOW_NS + number, "admin", verb, noun, key)


def stored(number: int, **other: Any) -> ObjectChanged:
    given = {"id": f"resp_{number}", "call_id": f"call_{number:026d}", "created_at_ns": NOW_NS + number, **other}
    made = {"kind": "response", "provider": "sandbox", "model": "sandbox-large", "identity": "agent/scout"}
    return ObjectChanged(NOW_NS + number, StoredObject(**given, **made, session="ses_1", root="ses_1", tenant=""))


def ticket(number: int, **other: Any) -> Ticket:
    given = {"at_ns": NOW_NS + number, "due_at_ns": NOW_NS + 10**12, "identity": "agent/scout", "session": "ses_1"}
    asked = {"requested_by": ("agent/scout",), "asked_role": "finops", "role": "finops", "model": "sandbox-large"}
    call = {"dialect": "openai_chat", "call_id": f"call_{number:026d}", "question": f"q{number}"}
    return Ticket(**({"id": f"apr_{number:026d}"} | given | asked | call | other))


def grant(number: int, **other: Any) -> Grant:
    given = {"role": "finops", "approver": "ada", "bound": "identity", "value": "agent/scout"}
    times = {"given_at_ns": NOW_NS + number, "expires_at_ns": NOW_NS + 10**12}
    return Grant(**({"id": f"grt_{number:026d}", "uses": 2} | given | times | other))


def open_at(folder: Path, durability: Durability = "process", now_ns: int = NOW_NS) -> Store:
    return open_store(folder, durability=durability, now_ns=now_ns, holder=HOLDER)


@asynccontextmanager
async def started(folder: Path, durability: Durability = "process") -> AsyncIterator[Store]:
    """An open store that is writing, and closed in the end with nothing lost."""
    store = open_at(folder, durability)
    store.start()
    try:
        yield store
    finally:
        assert await store.close(timeout_s=10) == 0


def rows_of(folder: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """What stands in the database file, seen from outside."""
    with closing(sqlite3.connect(folder / "comptroller.db")) as connection:
        return connection.execute(sql, values).fetchall()


async def until(fact: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait until `fact()` is true."""
    async with asyncio.timeout(timeout_s):
        while not fact():  # noqa: ASYNC110 - the writer's thread knows no event of this loop
            await asyncio.sleep(0.01)  # sleep: the pause of a poll
