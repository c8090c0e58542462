"""Reading and writing the rows of a fold, many at a time.

Meant for one transaction of the writer's connection: what is read is what is written over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import astuple
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from comptroller.core.budget.bounds import Bound
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.flow.records import Change, Finding, Held
from comptroller.store import notices, objects, pins, schema, tickets, tool_sets
from comptroller.store.fold import BoundKey, Outcome, Standing, Touched
from comptroller.store.rollups import Place, Sums, by_day, key_of
from comptroller.store.rows import NUMBER_MOST, CallRow, fit
from comptroller.store.sql import Many, run, text_of

# What no later event changes about a call.
_FIXED = frozenset(
    "id at_ns dialect identity kind owner team environment organization session chain registry_version stream "
    "body_bytes body_digest tool arguments_digest cause".split()
)


def _change_call() -> Many:
    table = schema.calls
    names = [column.name for column in table.columns if column.name not in _FIXED]
    changing: dict[str, BindParameter[object]] = {name: bindparam(name) for name in names}
    return Many(update(table).where(table.c.id == bindparam("call")).values(changing), call="id")


def _set_hold() -> Many:
    statement = upsert(schema.holds)
    body = {"body": statement.excluded.body}
    return Many(statement.on_conflict_do_update(index_elements=["attempt_id"], set_=body))


def _end_hold() -> Many:
    return Many(delete(schema.holds).where(schema.holds.c.attempt_id == bindparam("attempt_id")))


def _add_to(table: Table) -> Many:
    """Adds to the row of this key, and stops at what a column can keep: an overflow would turn the sum into a float."""
    statement = upsert(table)
    key = [column.name for column in table.primary_key]

    most: ColumnElement[int] = literal_column(str(NUMBER_MOST))
    least: ColumnElement[int] = literal_column(str(-NUMBER_MOST))

    def total(name: str) -> ColumnElement[int]:
        return func.max(least, func.min(most, table.c[name] + statement.excluded[name]))

    totals = {column.name: total(column.name) for column in table.columns if column.name not in key}
    return Many(statement.on_conflict_do_update(index_elements=key, set_=totals))


def _set_bound() -> Many:
    statement = upsert(schema.bounds)
    standing = {name: statement.excluded[name] for name in ("overruns", "factor_bp", "quarantined", "last_overrun_ns")}
    key = ["provider", "model", "dialect"]
    return Many(statement.on_conflict_do_update(index_elements=key, set_=standing))


def _append(table: Table) -> Many:
    """An insert that leaves the number of the row to the database."""
    return Many(insert(table).values({c.name: bindparam(c.name) for c in table.columns if c.name != "id"}))


_NEW_CALL = Many(insert(schema.calls))
_CHANGE_CALL = _change_call()
_SET_HOLD = _set_hold()
_END_HOLD = _end_hold()
_ADD_TO_BALANCE = _add_to(schema.balances)
_NEW_SPEND_KEY = Many(upsert(schema.spend_keys).on_conflict_do_nothing())
_ADD_TO_RECENT = _add_to(schema.spend_recent)
_ADD_TO_DAILY = _add_to(schema.spend_daily)
_SET_BOUND = _set_bound()
_NEW_FINDING = _append(schema.findings)
_NEW_CHANGE = _append(schema.events)


def _wanted(table: Table, column: ColumnElement[str]) -> str:
    """Reads the rows whose key stands in a JSON list: written once, for any number of keys."""
    keys = func.json_each(bindparam("keys", type_=Text)).table_valued("value")
    return text_of(select(table).where(column.in_(select(keys.c.value))))


_WANTED_CALLS = _wanted(schema.calls, schema.calls.c.id)
_WANTED_HOLDS = _wanted(schema.holds, schema.holds.c.attempt_id)
_pack = msgspec.msgpack.Encoder().encode
_held = msgspec.msgpack.Decoder(Held)


def load(connection: sqlite3.Connection, wanted: Touched) -> Standing:
    """Read the rows that a fold needs to see."""
    holds = [_held.decode(row[-1]) for row in _rows(connection, _WANTED_HOLDS, wanted.holds)]
    return Standing(
        calls=load_calls(connection, wanted.calls),
        holds={held.attempt_id: held for held in holds},
        bounds=load_bounds(connection) if wanted.bounds else {},
    )


def load_calls(connection: sqlite3.Connection, call_ids: Collection[str]) -> dict[str, CallRow]:
    """The rows of these calls, by id; those that have none are left out."""
    rows = (CallRow(*row) for row in _rows(connection, _WANTED_CALLS, call_ids))
    return {row.id: row for row in rows}


def load_bounds(connection: sqlite3.Connection) -> dict[BoundKey, Bound]:
    """All bounds: there is one for each model that was ever billed above its bound."""
    rows = run(connection, select(schema.bounds))
    bounds = (Bound(*row[:5], quarantined=bool(row[5]), last_overrun_ns=row[6]) for row in rows)
    return {(bound.provider, bound.model, bound.dialect): bound for bound in bounds}


def open_holds(connection: sqlite3.Connection, call_id: str | None = None) -> list[Held]:
    """Every open hold (of one call), in the order in which they were taken."""
    table = schema.holds
    wanted = select(table.c.body).order_by(table.c.at_ns, table.c.attempt_id)
    if call_id is not None:
        wanted = wanted.where(table.c.call_id == call_id)
    return [_held.decode(body) for (body,) in run(connection, wanted)]


def save(connection: sqlite3.Connection, outcome: Outcome) -> None:
    """Write what a fold came to."""
    _NEW_CALL.run(connection, outcome.new_calls)
    _CHANGE_CALL.run(connection, outcome.changed_calls)
    holds = [(held.attempt_id, held.facts.call_id, held.facts.at_ns, _pack(held)) for held in outcome.holds]
    _SET_HOLD.run_values(connection, holds)
    _END_HOLD.run_values(connection, [(attempt_id,) for attempt_id in outcome.ended_holds])
    add_to_balances(connection, outcome.posted)
    _add_to_spend(connection, outcome.spent)
    _SET_BOUND.run(connection, outcome.bounds)
    objects.write(connection, outcome.objects)
    tickets.write_tickets(connection, outcome.tickets)
    pins.write(connection, outcome.pins)
    notices.write(connection, outcome.notices)
    tool_sets.write(connection, outcome.tool_sets)
    add_findings(connection, outcome.findings)
    add_changes(connection, outcome.changes)


def add_to_balances(connection: sqlite3.Connection, amounts: Mapping[WindowKey, Amounts]) -> None:
    """Post amounts in windows, known ones or new."""
    added = [(key.budget, key.instance, key.start_ns, *map(fit, astuple(more))) for key, more in amounts.items()]
    _ADD_TO_BALANCE.run_values(connection, added)


def _add_to_spend(connection: sqlite3.Connection, spent: Mapping[Place, Sums]) -> None:
    keys = {dimensions: key_of(dimensions) for dimensions in {place.dimensions for place in spent}}
    _NEW_SPEND_KEY.run_values(connection, [(key, *dimensions) for dimensions, key in keys.items()])
    recent = [(place.start_ns, keys[place.dimensions], place.session, *_fitting(sums)) for place, sums in spent.items()]
    _ADD_TO_RECENT.run_values(connection, recent)
    days = by_day(spent.items()).items()
    _ADD_TO_DAILY.run_values(connection, [(start, keys[dims], *_fitting(sums)) for (start, dims), sums in days])


def _fitting(sums: Sums) -> Iterable[int]:
    numbers = astuple(sums)
    fitting = max(numbers) <= NUMBER_MOST and min(numbers) >= -NUMBER_MOST
    return numbers if fitting else map(fit, numbers)


def add_findings(connection: sqlite3.Connection, findings: Iterable[Finding]) -> None:
    """Append what a person should look at."""
    _NEW_FINDING.run(connection, findings)


def add_changes(connection: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """Append event rows."""
    _NEW_CHANGE.run(connection, changes)


def _rows(connection: sqlite3.Connection, sql: str, keys: Collection[str]) -> Iterable[tuple[Any, ...]]:
    return connection.execute(sql, (msgspec.json.encode(list(keys)).decode(),)) if keys else ()
