"""Sessions in the store: a row has the fields of a session in their order, lists and bounds as JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import astuple
from sqlalchemy import bindparam, func, insert, select, text, update

from comptroller.core.work.bounds import Bounds
from comptroller.core.work.delegation import with_ancestors
from comptroller.core.work.session import Reserved, Session
from comptroller.flow.records import Change
from comptroller.store import schema, tables
from comptroller.store.folder import raise_meta
from comptroller.store.sql import Many, run, text_of

_TABLE = schema.sessions
_NEW = Many(insert(_TABLE))
_ONE = text_of(select(_TABLE).where(_TABLE.c.id == bindparam("id")))
_CALLS = schema.calls
_NEWEST = (
    select(func.coalesce(_CALLS.c.settled_at_ns, _CALLS.c.at_ns))
    .where(_CALLS.c.session == _TABLE.c.id)
    .order_by(text("calls.rowid DESC"))
    .limit(1)
    .scalar_subquery()
)
_FIELDS = Session.__struct_fields__
_BOUNDS, _MODELS, _TOOLS, _OPENED_WITH = (_FIELDS.index(name) for name in ("bounds", "models", "tools", "opened_with"))
_OPERATORS_ONLY, _RESERVED = _FIELDS.index("operators_only"), _FIELDS.index("reserved")
_bounds = msgspec.json.Decoder(Bounds)
_reserved = msgspec.json.Decoder(Reserved)
_names = msgspec.json.Decoder(tuple[str, ...])
_ALONE = "a session above it was over when the gateway started"


def open_session(connection: sqlite3.Connection, session: Session, change: Change) -> None:
    """Write a session and the event of its opening."""
    _NEW.run_values(connection, [_row(session)])
    _record(connection, change)


def change_session(
    connection: sqlite3.Connection, session: Session, change: Change, outliving: Sequence[Session] = ()
) -> None:
    """Write what of an open session can change, its event, and the end of those below it. What has ended stays so."""
    row = _row(session)
    changing = {_FIELDS[place]: row[place] for place in (_BOUNDS, _MODELS, _TOOLS, _RESERVED)}
    values = changing | {"expires_at_ns": session.expires_at_ns, "operators_only": session.operators_only}
    run(connection, update(_TABLE).where(_TABLE.c.id == session.id, _TABLE.c.ended_at_ns.is_(None)).values(values))
    _write_expiries(connection, outliving)
    _record(connection, change)


def end_with_ancestors(connection: sqlite3.Connection, now_ns: int) -> None:
    """End what goes on below something that does not, or would go on longer: a stop may not have been written whole."""
    live = {session.id: session for session in live_sessions(connection, now_ns)}
    kept = with_ancestors(live.values())
    _write_expiries(connection, [each for each in kept.values() if each != live[each.id]])
    for session in live.values():
        if session.id not in kept:
            ended = msgspec.structs.replace(
                session, ended_at_ns=now_ns, ended_by="gateway", ended_reason=_ALONE, outcome="abandoned"
            )
            change = Change(now_ns, "gateway", "end", "session", session.id, _ALONE)
            end_session(connection, ended, change)


def _write_expiries(connection: sqlite3.Connection, changed: Sequence[Session]) -> None:
    for session in changed:
        ending = update(_TABLE).where(_TABLE.c.id == session.id, _TABLE.c.ended_at_ns.is_(None))
        run(connection, ending.values({"expires_at_ns": session.expires_at_ns}))


def end_session(connection: sqlite3.Connection, session: Session, change: Change) -> None:
    """Write the end of a session and its event. Of one that has ended, or has no row, nothing is written."""
    ending = update(_TABLE).where(_TABLE.c.id == session.id, _TABLE.c.ended_at_ns.is_(None))
    ended = {
        "ended_at_ns": session.ended_at_ns,
        "ended_by": session.ended_by,
        "ended_reason": session.ended_reason,
        "outcome": session.outcome,
    }
    if run(connection, ending.values(ended)).rowcount:
        _record(connection, change)


def session_of(connection: sqlite3.Connection, session_id: str) -> Session | None:
    row = run(connection, select(_TABLE).where(_TABLE.c.id == session_id)).fetchone()
    return None if row is None else _session(row)


def lineage(connection: sqlite3.Connection, session_id: str) -> Sequence[Session]:
    """The session, its parent, and so on, as far as they are known."""
    line: list[Session] = []
    above: str | None = session_id
    while above is not None and (row := connection.execute(_ONE, (above,)).fetchone()) is not None:
        line.append(_session(row))
        above = line[-1].parent
    return line


def some_sessions(connection: sqlite3.Connection, session_ids: Sequence[str]) -> Mapping[str, Session]:
    """Those of these that are known, by id."""
    wanted = func.json_each(msgspec.json.encode(list(session_ids)).decode()).table_valued("value")
    statement = select(_TABLE).where(_TABLE.c.id.in_(select(wanted.c.value)))
    return {row[0]: _session(row) for row in run(connection, statement)}


def family(connection: sqlite3.Connection, root: str) -> Sequence[Session]:
    """The session at the top of a tree, and all below it."""
    below = select(_TABLE).where(_TABLE.c.root == root, text("root != ''"))
    own = select(_TABLE).where(_TABLE.c.id == root)
    return [_session(row) for statement in (own, below) for row in run(connection, statement)]


def list_sessions(connection: sqlite3.Connection, identity: str | None, limit: int) -> Sequence[Session]:
    """Newest first."""
    wanted = select(_TABLE).order_by(_TABLE.c.opened_at_ns.desc(), _TABLE.c.id.desc()).limit(limit)
    if identity is not None:
        wanted = wanted.where(_TABLE.c.identity == identity)
    return [_session(row) for row in run(connection, wanted)]


def live_sessions(connection: sqlite3.Connection, now_ns: int) -> Sequence[Session]:
    """Those that are neither ended nor expired."""
    live = select(_TABLE).where(_TABLE.c.expires_at_ns > now_ns, _TABLE.c.ended_at_ns.is_(None))
    return [_session(row) for row in run(connection, live)]


def sent_tokens(connection: sqlite3.Connection, ids: Sequence[str], until_ns: int) -> Mapping[str, int]:
    """Tokens of input that were billed in each of these sessions, for calls that had ended by then.

    Where nobody said how many, a third of the bound.
    """
    calls = schema.calls.c
    wanted = select(func.json_each(msgspec.json.encode(sorted(ids)).decode()).table_valued("value").c.value)
    tokens = func.coalesce(calls.input_tokens, calls.input_tokens_bound / 3, 0)
    billed = select(calls.session, func.sum(tokens)).where(
        calls.session.in_(wanted), calls.state.in_(("posted", "presumed")), calls.settled_at_ns <= until_ns
    )
    return {session: int(total) for session, total in run(connection, billed.group_by(calls.session))}


def tools_used(connection: sqlite3.Connection, tops: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The tools that were let through in each of these runs, by the session at its top."""
    calls = schema.calls.c
    wanted = select(func.json_each(msgspec.json.encode(sorted(tops)).decode()).table_valued("value").c.value)
    at_the_top = select(calls.session, calls.tool).where(calls.session.in_(wanted), schema.LET_THROUGH)
    below = (
        select(_TABLE.c.root, calls.tool)
        .where(_TABLE.c.root.in_(wanted), text("root != ''"))
        .where(calls.session == _TABLE.c.id, schema.LET_THROUGH)
    )
    found: dict[str, list[str]] = {}
    for statement in (at_the_top, below):
        for top, tool in run(connection, statement.distinct()):
            found.setdefault(top, []).append(tool)
    return found


def last_at_work(connection: sqlite3.Connection, roots: Sequence[str]) -> Mapping[str, int]:
    """When the newest call of each session of these trees ended, or of one below it; of those that had any.

    However many calls there were: the newest of a session is the last row of its index.
    """
    wanted = select(func.json_each(msgspec.json.encode(sorted(set(roots))).decode()).table_valued("value").c.value)
    asked = select(_TABLE.c.id, _TABLE.c.parent, _NEWEST)
    tops, below = asked.where(_TABLE.c.id.in_(wanted)), asked.where(_TABLE.c.root.in_(wanted), text("root != ''"))
    rows = [row for statement in (tops, below) for row in run(connection, statement)]
    above = {session_id: parent for session_id, parent, _ in rows}
    found: dict[str, int] = {}
    for session_id, _, at_ns in rows:
        each: str | None = session_id
        while each is not None and at_ns is not None and found.get(each, -1) < at_ns:
            found[each] = at_ns
            each = above.get(each)
    return found


def _row(session: Session) -> list[Any]:
    values: list[Any] = list(astuple(session))
    for place in (_BOUNDS, _MODELS, _TOOLS, _OPENED_WITH, _RESERVED):
        values[place] = None if values[place] is None else msgspec.json.encode(values[place]).decode()
    return values


def _session(row: Sequence[Any]) -> Session:
    values = list(row)
    values[_BOUNDS] = _bounds.decode(values[_BOUNDS])
    values[_OPERATORS_ONLY] = bool(values[_OPERATORS_ONLY])
    values[_RESERVED] = None if values[_RESERVED] is None else _reserved.decode(values[_RESERVED])
    for place in (_MODELS, _TOOLS, _OPENED_WITH):
        values[place] = None if values[place] is None else _names.decode(values[place])
    return Session(*values)


def _record(connection: sqlite3.Connection, change: Change) -> None:
    tables.add_changes(connection, [change])
    raise_meta(connection, "last_ns", change.at_ns)
