"""The tree of a run: a session and all below it, with what each has spent and how it stands."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from comptroller.control.office import Office
from comptroller.control.session_rows import Spent, outcome_of, show_reserved, show_spent, state_now
from comptroller.control.sessions import find_session
from comptroller.core.budget.hold import NOTHING, Amounts
from comptroller.core.budget.meter import LEDGER_KEY, ledger_key
from comptroller.core.instant import format_instant
from comptroller.core.work.session import Session, SessionOutcome, SessionState


class TreeNode(msgspec.Struct, frozen=True):
    """One session of a run. `own` is its own spend; `spent` that of all below it, too."""

    id: str
    name: str
    identity: str
    state: SessionState
    outcome: SessionOutcome | None
    task: str | None
    opened_at: str
    ended_at: str | None
    live_calls: int
    own: Spent
    spent: Spent
    children: Sequence[TreeNode]
    reserved_usd: str | None = None  # what is set aside for it now, beside what it has spent


async def show_tree(office: Office, session_id: str) -> TreeNode:
    """A session and all below it, open or over. What nobody keeps any more is not there."""
    gate = office.gate
    top = await find_session(office, session_id)
    await office.catch_up()
    written = await office.ledger.family(top.top)
    found = {session.id: session for session in written}
    balances = await office.ledger.instance_balances([LEDGER_KEY], list(found))
    # From here on nothing waits. Memory is ahead of the books.
    found |= {session.id: session for session in gate.sessions.values() if session.top == top.top}
    spent = {key: balances.get(ledger_key(key), NOTHING) for key in found}
    spent |= {key: meter.posted for key in found if (meter := gate.tree.meter(key)) is not None}
    children: defaultdict[str, list[Session]] = defaultdict(list)
    for session in sorted(found.values(), key=lambda each: (each.opened_at_ns, each.id)):
        if session.parent is not None:
            children[session.parent].append(session)
    live = Counter(call.session for call in gate.live)
    return _node(office, found.get(top.id, top), children, spent, live)


def _node(
    office: Office,
    session: Session,
    children: Mapping[str, Sequence[Session]],
    spent: Mapping[str, Amounts],
    live: Mapping[str, int],
) -> TreeNode:
    below = children.get(session.id, ())
    whole = own = spent.get(session.id, NOTHING)
    for child in below:
        own = own.less(spent.get(child.id, NOTHING))
    state = state_now(office, session)
    return TreeNode(
        id=session.id,
        name=session.name,
        identity=session.identity,
        state=state,
        outcome=outcome_of(session, state),
        task=session.task_key,
        opened_at=format_instant(session.opened_at_ns),
        ended_at=None if session.ended_at_ns is None else format_instant(session.ended_at_ns),
        live_calls=live.get(session.id, 0),
        own=show_spent(own),
        spent=show_spent(whole),
        children=[_node(office, child, children, spent, live) for child in below],
        reserved_usd=show_reserved(office, session),
    )
