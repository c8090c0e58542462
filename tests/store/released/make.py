"""Keeps a store of this program's schema for all later programs to open: `python -m tests.store.released.make`.

Run once for each release whose schema or events are new (CONTRIBUTING says when), on the tree that is released. It
writes NNNN.sql.gz, the store as SQL text, and NNNN.json: what this program makes of it, and the form of its events.
"""

import asyncio
import gzip
import hashlib
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from comptroller.control import correct, registry, sessions, tokens
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.flow.records import BoundChanged, Change, Corrected, Event, Finding, Joined, Refused
from comptroller.store.lock import Holder
from comptroller.store.migrate import migrate
from comptroller.store.open import open_store
from tests.control.house import House, document, opened
from tests.harness.configuration import budget

FOLDER = Path(__file__).parent
MIGRATIONS = Path(sys.modules[migrate.__module__].__file__ or "").parent / "migrations" / "versions"
DATABASE = "comptroller.db"
USD = 1_000_000_000
BUDGETS = [
    budget("all", "100.00 USD"),
    budget("each-day", "5.00 USD", "day", per="identity"),
    budget("red-month", "1_000_000 tokens", "month", scope={"team": "red"}, time_zone="Europe/Berlin"),
    budget("watched", "3 calls", "hour", mode="shadow"),
]
LATE = budget("late", "50.00 USD", "week", scope={"team": "red"})
POLICIES = {"kept.cedar": '@id("all-may-call")\npermit (principal, action == Action::"model.call", resource);\n'}
USAGE = Usage(input_tokens=40, output_tokens=30, cached_tokens=10, reasoning_tokens=5, service_tier="default")


async def fill(state: Path, kept: Path) -> None:
    """A store with something of everything, copied in the middle of its work."""
    async with opened(state, budgets=BUDGETS) as house:
        await registry.apply(house.office, document(budgets=BUDGETS), "test", policies=POLICIES)
        await tokens.mint(house.office, "agent/ant", None, "test")
        ended = await tokens.mint(house.office, "agent/bee", None, "test")
        await sessions.end_session(house.office, ended.session, "it was done", "test")
        await settle_some(house)
        joins = await house.hold(USD // 3, tokens=70)
        await registry.apply(house.office, document(budgets=[*BUDGETS, LATE]), "test", policies=POLICIES)
        await house.store.fold()
        await leave_unfolded(house, joins.hold.id)
        copy(state / DATABASE, kept)


async def settle_some(house: House) -> None:
    for number in range(1, 4):
        call = await house.hold(USD // 10 + number, tokens=100)
        call.settle(USD // 100 + number, tokens=70, usage=USAGE)
    corrected = await house.spend(USD // 7, identity="agent/bee")
    await correct.correct(house.office, corrected, USD // 9, "invoice, line 17", "test")
    presumed = await house.hold(USD // 11)
    presumed.settle(USD // 11, end="presumed", outcome="client_gone")
    await house.refuse(Refusal("budget_exhausted", "The budget is spent.", "Ask its owner.", remaining="0.00"))


async def leave_unfolded(house: House, joining: str) -> None:
    """One event of every kind that is in the journal and in no table yet."""
    journal, now_ns = house.gate.journal, house.gate.clock.now_ns()
    settled = await house.hold(USD // 13)
    settled.settle(USD // 17, usage=USAGE)
    facts = msgspec.structs.replace(settled.facts, call_id="call_refused")
    windows = tuple(window.key for window in settled.hold.windows)
    again = await house.hold(USD // 19, identity="agent/bee")
    events: tuple[Event, ...] = (
        Joined(again.hold.id, windows[:1]),
        Joined(joining, ()),
        Refused(facts, Refusal("no_permit", "No policy permits this call.", "Ask.", policies=("a", "b"))),
        Corrected(settled.facts.call_id, now_ns, "test", "invoice", 5, USD // 17 + 5, windows),
        BoundChanged(now_ns, "gateway", "overrun", "sandbox", "sandbox-large", "openai_chat", 1, 12_000, False, now_ns),
        Finding(now_ns, "overrun", settled.facts.call_id, "sandbox-large", "It cost more than was held."),
        Change(now_ns, "test", "note", "nothing", "x", "a reason", '{"a":1}', '{"a":2}', 7),
    )
    await asyncio.gather(*(journal.commit(event) for event in events))


def copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)
        assert writing.execute("SELECT count(*) FROM journal").fetchone()[0], "folded already: run it again"
        assert writing.execute("SELECT count(*) FROM holds").fetchone()[0]


async def what_it_comes_to(state: Path) -> dict[str, Any]:
    """The books once this program has opened the store: journal folded, open holds presumed."""
    holder = Holder(1, "here", "now", "nothing")
    store = open_store(state, durability="process", now_ns=time.time_ns(), holder=holder)
    await store.close(0)
    with closing(sqlite3.connect(state / DATABASE)) as connection:

        def rows(sql: str) -> list[Any]:
            return connection.execute(sql).fetchall()

        return {
            "balances": rows("SELECT budget, instance, start_ns, usd, tokens, calls FROM balances ORDER BY 1, 2, 3"),
            "calls": rows("SELECT id, state, charge_nanos, charge_tokens, corrected FROM calls ORDER BY id"),
            "sessions": rows("SELECT id, identity, ended_at_ns IS NOT NULL FROM sessions ORDER BY id"),
            "bounds": rows("SELECT provider, model, dialect, overruns, factor_bp, quarantined FROM bounds"),
            "entries": rows("SELECT kind, key, disabled FROM registry_entries ORDER BY kind, key"),
            "events": rows("SELECT count(*) FROM events")[0][0],
            "findings": rows("SELECT count(*) FROM findings")[0][0],
        }


def forms() -> dict[str, Any]:
    """How every event is written, and every struct in it: in which order, and what may be left out at the end."""
    found: dict[str, Any] = {}
    for kind in structs(msgspec.inspect.type_info(Event)):
        found[kind.cls.__name__] = {
            "tag": kind.tag,
            "array": kind.array_like,
            "fields": [[field.encode_name, field.required] for field in kind.fields],
        }
    return found


def structs(kind: Any) -> Iterator[msgspec.inspect.StructType]:
    """All struct types within a type."""
    if isinstance(kind, msgspec.inspect.StructType):
        yield kind
        for field in kind.fields:
            yield from structs(field.type)
    for name in ("types", "item_types"):
        for inner in getattr(kind, name, ()):
            yield from structs(inner)
    if hasattr(kind, "item_type"):
        yield from structs(kind.item_type)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "opened")
        state.mkdir(mode=0o700)
        asyncio.run(fill(Path(folder, "state"), state / DATABASE))
        with closing(sqlite3.connect(state / DATABASE)) as connection:
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            text = "\n".join(connection.iterdump()) + "\n"
        comes_to = asyncio.run(what_it_comes_to(state))
    scripts = sorted(path for path in MIGRATIONS.glob("*.py") if path.name[:4] <= revision)
    kept = comes_to | {
        "migrations": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in scripts},
        "forms": forms(),
    }
    (FOLDER / f"{revision}.sql.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (FOLDER / f"{revision}.json").write_text(json.dumps(kept, indent=1) + "\n")
    print(f"kept {revision}: {len(comes_to['calls'])} calls, {len(comes_to['balances'])} balances")


if __name__ == "__main__":
    main()
