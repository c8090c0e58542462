"""What the tables show of calls, balances, findings and changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import ColumnElement, TextClause, select, tuple_

from comptroller.control.call_record import AttemptRecord, CallRecord
from comptroller.control.interfaces import CallFilter
from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.flow.records import CallFacts, Change, Finding, Held
from comptroller.store import attempts, rows, schema, tables, tool_sets
from comptroller.store.attempts import Attempt
from comptroller.store.called import unpack_called
from comptroller.store.packed import unpack_above, unpack_effects
from comptroller.store.rows import CallRow, unpack_meters, unpack_names
from comptroller.store.sql import run

_CALLS, _BALANCES = schema.calls, schema.balances
_AT_ONCE = 500

Condition = ColumnElement[bool] | TextClause
_Place = tuple[int, str]  # where a call stands in the order of calls: its instant, its id

_refusal = msgspec.json.Decoder(Refusal)


def call(connection: sqlite3.Connection, call_id: str) -> CallRecord | None:
    is_open = _open_calls(connection, tables.open_holds(connection, call_id))
    if is_open:
        return _with_tools(connection, is_open[0])
    row = tables.load_calls(connection, [call_id]).get(call_id)
    return None if row is None else _with_tools(connection, record_of(row))


def _with_tools(connection: sqlite3.Connection, record: CallRecord) -> CallRecord:
    digest = record.facts.tools_digest
    if digest is None:
        return record
    return msgspec.structs.replace(record, tools=tool_sets.find(connection, digest))


def calls(connection: sqlite3.Connection, wanted: CallFilter) -> Sequence[CallRecord]:
    """Newest first. Open calls stand among the holds, and the ended ones in their table."""
    last = None if wanted.before is None else call(connection, wanted.before)
    if wanted.before is not None and last is None:
        return []
    after = None if last is None else (last.facts.at_ns, last.facts.call_id)
    open_ones = _open_calls(connection, tables.open_holds(connection))
    found = [record for record in open_ones if _matches(record, wanted, after)]
    if wanted.outcome != "open":
        still_open = {record.facts.call_id for record in open_ones}
        ended = _ended_calls(connection, wanted, after, len(open_ones))
        found += [record_of(row) for row in ended if row.id not in still_open]
        found.sort(key=lambda record: (record.facts.at_ns, record.facts.call_id), reverse=True)
    return found[: wanted.limit]


def balances(connection: sqlite3.Connection, budget_keys: Sequence[str], since_ns: int) -> Mapping[WindowKey, Amounts]:
    """What is posted in the windows of these budgets that began at `since_ns` or later."""
    found: dict[WindowKey, Amounts] = {}
    for keys in _parts(budget_keys):
        found |= _balances(connection, _BALANCES.c.budget.in_(keys), _BALANCES.c.start_ns >= since_ns)
    return found


def instance_balances(
    connection: sqlite3.Connection, budget_keys: Sequence[str], instances: Sequence[str]
) -> Mapping[WindowKey, Amounts]:
    """What is posted in every window that these budgets have for these instances, of however many there are."""
    found: dict[WindowKey, Amounts] = {}
    for key in budget_keys:
        for part in _parts(instances):
            found |= _balances(connection, _BALANCES.c.budget == key, _BALANCES.c.instance.in_(part))
    return found


def _balances(connection: sqlite3.Connection, *conditions: Condition) -> dict[WindowKey, Amounts]:
    found = run(connection, select(_BALANCES).where(*conditions))
    return {WindowKey(*row[:3]): Amounts(*row[3:]) for row in found}


def _parts(values: Sequence[str]) -> Iterator[list[str]]:
    """A few at once: a statement takes so many values and no more."""
    return (list(values[start : start + _AT_ONCE]) for start in range(0, len(values), _AT_ONCE))


def findings(connection: sqlite3.Connection, limit: int, call_id: str | None) -> Sequence[Finding]:
    """Newest first."""
    table = schema.findings
    columns = (table.c.at_ns, table.c.code, table.c.call_id, table.c.subject, table.c.sentence)
    statement = select(*columns).order_by(table.c.id.desc()).limit(limit)
    if call_id is not None:
        statement = statement.where(table.c.call_id == call_id)
    return [Finding(*row) for row in run(connection, statement)]


def changes(connection: sqlite3.Connection, limit: int, noun: str | None, key: str | None) -> Sequence[Change]:
    """Newest first."""
    table = schema.events
    columns = [column for column in table.columns if column.name != "id"]
    statement = select(*columns).order_by(table.c.id.desc()).limit(limit)
    if noun is not None:
        statement = statement.where(table.c.noun == noun)
    if key is not None:
        statement = statement.where(table.c.key == key)
    return [Change(*row) for row in run(connection, statement)]


def _matching(wanted: CallFilter, after: _Place | None) -> list[Condition]:
    """The filter, for calls that have ended."""
    equal = {"identity": wanted.identity, "team": wanted.team, "session": wanted.session, "model": wanted.model}
    equal["tool"] = wanted.tool
    conditions: list[Condition] = [_CALLS.c[name] == value for name, value in equal.items() if value is not None]
    if wanted.since_ns is not None:
        conditions.append(_CALLS.c.at_ns >= wanted.since_ns)
    if after is not None:
        conditions.append(tuple_(_CALLS.c.at_ns, _CALLS.c.id) < after)
    if wanted.outcome == "refused":
        conditions.append(schema.REFUSED)
    elif wanted.outcome is not None:
        conditions.append(_CALLS.c.outcome == wanted.outcome)
        if wanted.outcome != "completed":
            conditions.append(schema.UNUSUAL)
    return conditions


def _matches(record: CallRecord, wanted: CallFilter, after: _Place | None) -> bool:
    """The filter, for a call that is open."""
    facts = record.facts
    if after is not None and (facts.at_ns, facts.call_id) >= after:
        return False
    equal = (
        (wanted.identity, facts.identity),
        (wanted.team, facts.team),
        (wanted.session, facts.session),
        (wanted.model, facts.model),
        (wanted.tool, facts.tool),
        (wanted.outcome, "open"),
    )
    since = wanted.since_ns is None or facts.at_ns >= wanted.since_ns
    return since and all(value is None or value == fact for value, fact in equal)


def _ended_calls(
    connection: sqlite3.Connection, wanted: CallFilter, after: _Place | None, besides: int
) -> list[CallRow]:
    """The newest that match, and some more for those that turn out to be open again."""
    statement = select(_CALLS).where(*_matching(wanted, after)).order_by(_CALLS.c.at_ns.desc(), _CALLS.c.id.desc())
    limited = statement if wanted.limit is None else statement.limit(wanted.limit + besides)
    return [CallRow(*row) for row in run(connection, limited)]


def _open_calls(connection: sqlite3.Connection, holds: Sequence[Held]) -> list[CallRecord]:
    """Calls with an open hold, newest first, with what earlier attempts of them came to."""
    earlier = tables.load_calls(connection, {held.facts.call_id for held in holds})
    found: dict[str, CallRecord] = {}
    for held in holds:
        row = earlier.get(held.facts.call_id) or rows.called(held.facts, "open")
        rows.hold(row, held)
        found[row.id] = msgspec.structs.replace(record_of(row, held.windows), deferral=held.deferral)
    return [found[call_id] for call_id in reversed(found)]


def record_of(row: CallRow, held_in: tuple[WindowKey, ...] | None = None) -> CallRecord:
    """A call as its row says. `held_in`: the windows of one that is open."""
    return CallRecord(
        facts=_facts(row),
        state=row.state,
        refusal=None if row.refusal is None else _refusal.decode(row.refusal),
        attempts=row.attempts,
        held=_amounts(row.held_nanos, row.held_tokens, row.held_calls),
        input_tokens_bound=row.input_tokens_bound,
        output_limit=row.output_limit,
        asked_output_limit=row.asked_output_limit,
        choices=row.choices,
        factor_bp=row.factor_bp,
        shadowed=rows.unpack_names(row.shadowed),
        settled_at_ns=row.settled_at_ns,
        outcome=row.outcome,
        detail=row.detail,
        status=row.status,
        charge=_charge(row),
        usage=_usage(row),
        served_model=row.served_model,
        service_tier=row.service_tier,
        priced=row.priced is None or bool(row.priced),
        overrun=bool(row.overrun),
        first_byte_ns=row.first_byte_ns,
        duration_ns=row.duration_ns,
        windows=rows.unpack_windows(row.windows) if held_in is None else held_in,
        corrected=row.corrected,
        original_charge_nanos=row.original_charge_nanos,
        counterfactual_nanos=row.counterfactual_nanos,
        called=unpack_called(row.called),
        tried=tuple(map(_attempt, attempts.unpack(row.tried))),
    )


def _attempt(kept: Attempt) -> AttemptRecord:
    return AttemptRecord(
        provider=kept.provider,
        model=kept.model,
        model_class=kept.model_class,
        end=kept.end,
        outcome=kept.outcome,
        detail=kept.detail,
        status=kept.status,
        held_nanos=kept.held_nanos,
        charge=Amounts(
            kept.charge_nanos,
            kept.charge_tokens,
            kept.charge_calls,
            tool_calls=kept.charge_tool_calls,
            result_bytes=kept.charge_result_bytes,
        ),
        settled_at_ns=kept.settled_at_ns,
        first_byte_ns=kept.first_byte_ns,
        duration_ns=kept.duration_ns,
        windows=rows.unpack_windows(kept.windows),
        corrected=kept.corrected,
    )


def _facts(row: CallRow) -> CallFacts:
    return CallFacts(
        call_id=row.id,
        at_ns=row.at_ns,
        dialect=row.dialect,
        identity=row.identity,
        kind=row.kind,
        owner=row.owner,
        team=row.team,
        environment=row.environment,
        organization=row.organization,
        session=row.session,
        chain=rows.unpack_names(row.chain),
        registry_version=row.registry_version,
        model=row.model,
        provider=row.provider,
        model_class=row.model_class,
        price_version=row.price_version,
        stream=bool(row.stream),
        body_bytes=row.body_bytes,
        body_digest=row.body_digest,
        policy_version=row.policy_version,
        policies=unpack_names(row.policies),
        asked_model=row.asked_model,
        routed_by=row.routed_by,
        client_address=row.client_address,
        client_session=row.client_session,
        above=unpack_above(row.above),
        billed_team=row.billed_team,
        effects=unpack_effects(row.effects),
        tools_digest=row.tools_digest,
        tool=row.tool,
        arguments_digest=row.arguments_digest,
        cause=row.cause,
    )


def _charge(row: CallRow) -> Amounts | None:
    posted = _amounts(row.charge_nanos, row.charge_tokens, row.charge_calls)
    if posted is None or row.tool is None:
        return posted
    return posted.plus(Amounts(tool_calls=row.charge_tool_calls or 0, result_bytes=row.charge_result_bytes or 0))


def _amounts(usd: int | None, tokens: int | None, times: int | None) -> Amounts | None:
    return None if usd is None else Amounts(usd, tokens or 0, times or 0)


def _usage(row: CallRow) -> Usage | None:
    if row.input_tokens is None or row.output_tokens is None:
        return None
    known = Usage(
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cached_tokens=row.cached_tokens or 0,
        cache_write_tokens=row.cache_write_tokens or 0,
        audio_input_tokens=row.audio_input_tokens or 0,
        reasoning_tokens=row.reasoning_tokens or 0,
        audio_output_tokens=row.audio_output_tokens or 0,
        service_tier=row.service_tier,
    )
    others = unpack_meters(row.other_meters)
    return msgspec.structs.replace(known, **others) if others else known
