"""What is written down: our books (the tables, read by SQL of our own) and the sandbox's bill.

Nothing here uses the gateway's code: a mistake that both shared would hide.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

_CALLS = """
    SELECT id, at_ns, organization, team, owner, environment, kind, identity, session, provider, model, model_class,
           state, outcome, status, refusal_code, attempts, overrun, windows,
           coalesce(charge_nanos, 0), coalesce(charge_tokens, 0), coalesce(charge_calls, 0),
           coalesce(held_nanos, 0), coalesce(held_tokens, 0), coalesce(held_calls, 0), tried
    FROM calls
"""
_UNITS = ("usd", "tokens", "calls")


class Sum(NamedTuple):
    """An amount in each unit: nano-USD, tokens, calls."""

    usd: int = 0
    tokens: int = 0
    calls: int = 0

    def plus(self, other: "Sum") -> "Sum":
        return Sum(self.usd + other.usd, self.tokens + other.tokens, self.calls + other.calls)

    def of(self, unit: str) -> int:
        return self[_UNITS.index(unit)]


class Key(NamedTuple):
    """A window: its budget's key, its instance, its start."""

    budget: str
    instance: str
    start_ns: int


@dataclass(frozen=True)
class Call:
    """One row of the books."""

    id: str
    at_ns: int
    facts: Mapping[str, str | None]  # what scopes look at
    state: str
    outcome: str | None
    status: int | None
    refusal: str | None
    attempts: int
    overrun: bool
    windows: tuple[Key, ...]
    charge: Sum
    held: Sum

    @property
    def settled(self) -> bool:
        return self.state in {"posted", "presumed", "voided"}


class Stopped(NamedTuple):
    """One stop: of what, and how long it was in force."""

    scope: str
    value: str
    from_ns: int
    until_ns: int | None

    def forbids(self, call: Call) -> bool:
        """Whether a call that was let in at its instant should not have been."""
        if not self.from_ns < call.at_ns or (self.until_ns is not None and call.at_ns > self.until_ns):
            return False
        return self.scope == "everything" or call.facts[self.scope] == self.value


@dataclass(frozen=True)
class Books:
    """One picture of the store, read in one transaction."""

    calls: Mapping[str, Call]  # open ones too
    parts: Sequence[Call]  # each attempt that is settled, with its own provider, charge and windows
    holds: Mapping[str, Call]  # by attempt: the open ones
    balances: Mapping[Key, Sum]
    findings: Sequence[tuple[str, str | None, str]]  # code, call, sentence
    bounds: Sequence[tuple[str, int, bool]]  # provider/model, overruns, quarantined
    limits: Mapping[str, tuple[str, int]]  # by budget's name: unit, limit; hard ones only
    stops: Sequence[Stopped]
    journalled: int  # batches that are not folded yet

    def attempts(self) -> Iterable[Call]:
        """The calls that took a hold."""
        return (call for call in self.calls.values() if call.attempts)


def read_books(state: Path) -> Books:
    """Read the tables as they stand now, beside whoever writes them."""
    with closing(sqlite3.connect(f"file:{state / 'comptroller.db'}?mode=ro", uri=True, timeout=20)) as db:
        db.execute("BEGIN")
        rows = db.execute(_CALLS).fetchall()
        calls = {row[0]: _call(row) for row in rows}
        parts = [part for row in rows if calls[row[0]].settled for part in _parts(calls[row[0]], row[25])]
        holds = {row[0]: _open(row[1]) for row in db.execute("SELECT attempt_id, body FROM holds")}
        balances = {
            Key(*row[:3]): Sum(*row[3:])
            for row in db.execute("SELECT budget, instance, start_ns, usd, tokens, calls FROM balances")
        }
        findings = db.execute("SELECT code, call_id, sentence FROM findings").fetchall()
        bounds = db.execute("SELECT provider || '/' || model, overruns, quarantined FROM bounds").fetchall()
        entries = db.execute("SELECT key, body FROM registry_entries WHERE kind = 'budget' AND disabled = 0").fetchall()
        stops = [Stopped(*row) for row in db.execute("SELECT scope, value, at_ns, lifted_at_ns FROM stops")]
        journalled = db.execute("SELECT count(*) FROM journal").fetchone()[0]
    calls |= {call.id: call for call in holds.values()}
    limits = {name: _limit(json.loads(body)) for name, body in entries if json.loads(body)["mode"] == "hard"}
    return Books(
        calls, parts, holds, balances, findings, [(b, o, bool(q)) for b, o, q in bounds], limits, stops, journalled
    )


def _call(row: tuple[Any, ...]) -> Call:
    names = "organization team owner environment kind identity session provider model model_class".split()
    return Call(
        id=row[0],
        at_ns=row[1],
        facts=dict(zip(names, row[2:12], strict=True)),
        state=row[12],
        outcome=row[13],
        status=row[14],
        refusal=row[15],
        attempts=row[16],
        overrun=bool(row[17]),
        windows=_windows(row[18]),
        charge=Sum(*row[19:22]),
        held=Sum(*row[22:25]),
    )


def _parts(call: Call, tried: bytes | None) -> list[Call]:
    """The attempts of a call (src/comptroller/store/attempts.py: Attempt); the call itself, where it had one."""
    if tried is None:
        return [call]
    return [
        replace(
            call,
            at_ns=each[11] - each[13],  # its windows are those of the moment of its hold
            facts={**call.facts, "provider": each[0], "model": each[1], "model_class": each[2]},
            state=each[3],
            outcome=each[4],
            attempts=1,
            windows=_windows(each[14]),
            charge=Sum(*each[8:11]),
        )
        for each in msgspec.msgpack.decode(tried)
    ]


def _open(body: bytes) -> Call:
    """A call in flight, from the event of its hold (src/comptroller/flow/records.py: Held, CallFacts)."""
    held = msgspec.msgpack.decode(body)
    call_id, at_ns, _, identity, kind, owner, team, environment, organization, session = held[2][:10]
    model, provider, model_class = held[2][12:15]
    facts = {"organization": organization, "team": team, "owner": owner, "environment": environment, "kind": kind}
    facts |= {
        "identity": identity,
        "session": session,
        "provider": provider,
        "model": model,
        "model_class": model_class,
    }
    return Call(
        id=call_id,
        at_ns=at_ns,
        facts=facts,
        state="open",
        outcome=None,
        status=None,
        refusal=None,
        attempts=1,
        overrun=False,
        windows=tuple(Key(*each) for each in held[5]),
        charge=Sum(),
        held=Sum(*held[4][:3]),  # the rest are units of sessions' bounds, which no budget of these runs counts
    )


def _windows(packed: bytes | None) -> tuple[Key, ...]:
    return tuple(Key(*each) for each in msgspec.msgpack.decode(packed)) if packed else ()


def _limit(entry: Mapping[str, Any]) -> tuple[str, int]:
    amount, _, unit = entry["limit"].replace("_", "").partition(" ")
    if unit == "USD":
        whole, _, fraction = amount.partition(".")
        return "usd", int(whole) * 10**9 + int(fraction.ljust(9, "0"))
    return unit, int(amount)


class Billed(NamedTuple):
    """One line of the sandbox's bill."""

    attempt: str | None
    nanos: int
    state: str
    status: int | None
    fault: str | None
    tokens: int
    surface: str

    @property
    def polled(self) -> bool:
        """The gateway itself asked how far a response in the background is: that is no call of anybody's."""
        return self.attempt is None and self.surface == "stored_responses" and not self.nanos


def read_bill(lines: Iterable[Mapping[str, Any]]) -> list[Billed]:
    return [
        Billed(
            line["client_request_id"],
            int(line["charge_nanos"]),
            line["state"],
            line["status"],
            line["fault"],
            line["input_tokens"] + line["output_tokens"],
            line["surface"],
        )
        for line in lines
    ]


def total(sums: Iterable[Sum]) -> Sum:
    amount = Sum()
    for each in sums:
        amount = amount.plus(each)
    return amount
