"""What was posted for calls in a scope: the sum that a new budget begins with (control/opening.py).

It is what the budget would have counted, had it been there: a call counts for every node of its chain whose scope
matches, and once in each window. So the sums that folds keep are looked at by the rules of live calls, one row for
each set of identities in a chain, and each session where the scope asks for what only sessions know.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from sqlalchemy import select

from comptroller.control.interfaces import Spending
from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.budget.scope import SESSION_ATTRIBUTES, instances
from comptroller.core.instant import DAY_NS
from comptroller.core.work.session import Session
from comptroller.flow.chain import recorded
from comptroller.flow.records import CallFacts
from comptroller.store import schema
from comptroller.store.folder import get_meta
from comptroller.store.packed import unpack_above
from comptroller.store.sessions import lineage
from comptroller.store.spend import RECENT_SINCE, covered, stretches, summed
from comptroller.store.sql import run

_FOR_EVER_NS = 2**62 // DAY_NS * DAY_NS
_LINEAGES_KEPT = 1_000
_DIMENSIONS: Sequence[str] = schema.SPEND_DIMENSIONS


def posted(connection: sqlite3.Connection, wanted: Spending) -> Mapping[str, Amounts]:
    """What is posted for calls in a scope, by instance. Reads row by row: there may be one for every session."""
    sessions = not {*SESSION_ATTRIBUTES}.isdisjoint({wanted.per, *wanted.scope})
    end_ns = _FOR_EVER_NS if wanted.end_ns is None else wanted.end_ns
    since_ns, until_ns = covered(wanted.start_ns, end_ns, get_meta(connection, RECENT_SINCE), sessions=sessions)
    rows = summed(stretches(since_ns, until_ns, sessions=sessions), sessions=sessions)
    keys = schema.spend_keys
    sums = (rows.c.charge_nanos + rows.c.presumed_nanos, rows.c.posted_tokens, rows.c.posted_calls)
    of_tools = (rows.c.posted_tool_calls, rows.c.posted_result_bytes)
    asked = select(*sums, *of_tools, *(keys.c[name] for name in _DIMENSIONS)).join(keys, keys.c.id == rows.c.key)
    if sessions:
        asked = asked.add_columns(rows.c.session).order_by(rows.c.session)
    found: dict[str, Amounts] = {}
    lineages: dict[str, Sequence[Session]] = {}
    for usd, tokens, calls, tool_calls, result_bytes, *rest in run(connection, asked):
        values = dict(zip((*_DIMENSIONS, "session"), rest, strict=False))
        session = values.get("session", "")
        if session and session not in lineages:
            if len(lineages) >= _LINEAGES_KEPT:
                lineages.clear()
            lineages[session] = lineage(connection, session)
        facts = recorded(_facts(values), lineages.get(session, ()))
        amounts = Amounts(usd, tokens, calls, 0, tool_calls, result_bytes)
        for instance in instances(wanted.per, wanted.scope, facts):
            found[instance] = found.get(instance, NOTHING).plus(amounts)
    return found


def _facts(values: Mapping[str, str]) -> CallFacts:
    """As much of a call as its sums are kept by."""
    return CallFacts(
        call_id="",
        at_ns=0,
        dialect="",
        identity=values["identity"],
        kind=values["kind"],
        owner=values["owner"],
        team=values["team"],
        environment=values["environment"],
        organization=values["organization"],
        session=values.get("session", ""),
        chain=(),
        registry_version=0,
        model=values["model"],
        provider=values["provider"],
        model_class=values["model_class"],
        above=unpack_above(values["above"]),
        tool=values["tool"] or None,
    )
