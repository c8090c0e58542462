"""A store with a long past: calls of the last month, through the same journal and the same fold as real ones.

In each hour some of the identities are at work, each in a session of its own, so that windows of an hour, a day and a
session pile up as they would.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from comptroller.core.budget.hold import WindowKey
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import BudgetTree
from comptroller.core.identity.identity import Identity
from comptroller.core.ids import attempt_id, make_id
from comptroller.core.registry.build import build
from comptroller.core.registry.registry import Registry
from comptroller.core.work.session import Session
from comptroller.flow.records import Change, Event, Held, Settled
from comptroller.store import registry, sessions
from comptroller.store.database import Database
from comptroller.store.folder import Folder
from comptroller.store.open import DATABASE
from tests.bench.world import MODELS
from tests.store import samples

HOURS = 30 * 24
HOUR_NS = 3_600_000_000_000
CALLS_A_SESSION = 14
_CACHE_KIB = 2_000_000
_SAY_EVERY_S = 15.0
_pack = msgspec.msgpack.Encoder().encode


def write_history(state: Path, calls: int, say: Callable[[str], None]) -> None:
    """Add so many calls to a store that nobody serves, and whose registry is installed."""
    chance, began, said = random.Random(calls), time.monotonic(), time.monotonic()
    with closing(Database(state / DATABASE, "process")) as database:
        database.connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.take_epoch()
        folder = Folder(database)
        installed = registry.registry_state(database.connection)
        current = build(installed.entries, installed.version)
        everybody = sorted(current.identities.values(), key=lambda each: each.id)
        first_ns = time.time_ns() - HOURS * HOUR_NS
        for hour in range(HOURS):
            number = calls * (hour + 1) // HOURS - calls * hour // HOURS
            if not number:
                continue
            events = list(_hour(database, current, everybody, first_ns + hour * HOUR_NS, number, chance))
            seq = folder.folded_seq + 1
            database.write_batch(seq, first_ns + hour * HOUR_NS, _pack(events))
            folder.all_of(seq)
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                done = calls * (hour + 1) // HOURS
                say(f"  wrote {done:,} of {calls:,} calls in {said - began:.0f} s")


def _hour(
    database: Database, current: Registry, everybody: Sequence[Identity], at_ns: int, number: int, chance: random.Random
) -> Iterator[Event]:
    at_work = chance.sample(everybody, min(len(everybody), -(-number // CALLS_A_SESSION)))
    tree = BudgetTree(current.budgets, {})
    opened = [_session(identity, at_ns, chance) for identity in at_work]
    with database.transaction() as connection:
        for session in opened:
            sessions.open_session(connection, session, Change(at_ns, "bench", "open", "session", session.id))
    for turn, (identity, session) in enumerate(zip(at_work, opened, strict=True)):
        pattern = _pattern(current, identity, session, tree, at_ns)
        share = range(turn, number, len(at_work))
        yield from _calls(pattern, [at_ns + each * (HOUR_NS // number) for each in share], chance)


def _session(identity: Identity, at_ns: int, chance: random.Random) -> Session:
    number = make_id("ses", at_ns, chance.getrandbits(74))
    return Session(number, identity.id, f"cred{number[3:]}", at_ns, at_ns + HOUR_NS, "bench")


def _pattern(
    current: Registry, identity: Identity, session: Session, tree: BudgetTree, at_ns: int
) -> tuple[Held, Settled]:
    """The two events of any call in this session, but for its id and its instants."""
    model = MODELS[0]
    node = {
        "organization": current.organization.name,
        "team": identity.team,
        "owner": identity.owner,
        "environment": identity.environment,
        "kind": identity.kind,
        "identity": identity.id,
        "session": session.id,
    }
    scope = Facts((node,), {"provider": "bench", "model": model, "model_class": "standard"})
    windows: tuple[WindowKey, ...] = tuple(window.key for window in tree.drawn_by(scope, at_ns).windows)
    held = samples.held(
        0, windows=windows, **node, chain=(identity.id,), model=model, provider="bench", model_class="standard"
    )
    return held, samples.settled(0, windows=windows, served_model=model)


def _calls(pattern: tuple[Held, Settled], instants_ns: Sequence[int], chance: random.Random) -> Iterator[Event]:
    held, settled = pattern
    replace = msgspec.structs.replace
    for at_ns in instants_ns:
        call_id = make_id("call", at_ns, chance.getrandbits(74))
        attempt = attempt_id(call_id, 1)
        yield replace(held, attempt_id=attempt, facts=replace(held.facts, call_id=call_id, at_ns=at_ns))
        yield replace(settled, attempt_id=attempt, call_id=call_id, at_ns=at_ns + 900_000_000)
