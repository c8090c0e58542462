"""Sessions as they are shown and asked for: rows, bounds in words of JSON, and what was spent of them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import asdict

from comptroller.control.office import Office
from comptroller.control.problem import invalid
from comptroller.control.stops import stop_of
from comptroller.core.budget.hold import Amounts
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd, parse_usd
from comptroller.core.work.bounds import Bounds
from comptroller.core.work.session import Session, SessionOutcome, SessionState, state_of


class SessionBounds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of a session. What is left out is not asked for, or unbounded."""

    usd: str | None = None  # decimal
    tokens: int | None = None
    thinking_tokens: int | None = None
    model_calls: int | None = None
    tool_calls: int | None = None
    wall_clock_s: int | None = None
    idle_s: int | None = None
    depth: int | None = None
    fan_out: int | None = None

    def read(self) -> Bounds:
        """The same in the units of the rules. Raises ControlProblem."""
        asked = asdict(self)
        usd = asked.pop("usd")
        try:
            usd_nanos = None if usd is None else parse_usd(usd)
        except ValueError as error:
            raise invalid(f"bounds.usd: {error}.") from error
        below = [name for name, value in (asked | {"usd": usd_nanos}).items() if value is not None and value < 0]
        if below:
            raise invalid(f"bounds.{below[0]} is below zero.")
        return Bounds(usd_nanos=usd_nanos, **asked)


class Spent(msgspec.Struct, frozen=True):
    """What a session has spent, its descendants included."""

    usd: str
    tokens: int
    thinking_tokens: int
    model_calls: int
    tool_calls: int


class SessionRow(msgspec.Struct, frozen=True):
    """One session."""

    id: str
    identity: str
    name: str  # who acts in it: an ephemeral child by its own name
    state: SessionState
    opened_at: str
    expires_at: str
    minted_by: str
    live_calls: int  # its own
    ended_at: str | None
    ended_by: str | None
    ended_reason: str | None
    outcome: SessionOutcome | None
    parent: str | None
    root: str
    depth: int
    subject: str | None
    tenant: str | None
    task_type: str | None
    task: str | None
    workflow: str | None
    profile: str | None
    bounds: SessionBounds
    models: tuple[str, ...] | None
    tools: tuple[str, ...] | None
    spent: Spent | None  # None: of one that is over and not in memory any more
    reserved_usd: str | None = None  # what is set aside for it now; None: nothing ever was, or it is over


def row_of(office: Office, session: Session, live: Mapping[str, int], spent: Amounts | None = None) -> SessionRow:
    """A session as it is now. `live`: calls in flight by session; `spent`: where memory does not know."""
    meter = office.gate.tree.meter(session.id)
    known = spent if meter is None else meter.posted
    state = state_now(office, session)
    return SessionRow(
        id=session.id,
        identity=session.identity,
        name=session.name,
        state=state,
        opened_at=format_instant(session.opened_at_ns),
        expires_at=format_instant(session.expires_at_ns),
        minted_by=session.minted_by,
        live_calls=live.get(session.id, 0),
        ended_at=format_instant(session.ended_at_ns) if session.ended_at_ns is not None else None,
        ended_by=session.ended_by,
        ended_reason=session.ended_reason,
        outcome=outcome_of(session, state),
        parent=session.parent,
        root=session.top,
        depth=session.depth,
        subject=session.subject,
        tenant=session.tenant,
        task_type=session.task_type,
        task=session.task,
        workflow=session.workflow,
        profile=session.profile,
        bounds=show_bounds(session.bounds),
        models=session.models,
        tools=session.tools,
        spent=None if known is None else show_spent(known),
        reserved_usd=show_reserved(office, session),
    )


def show_reserved(office: Office, session: Session) -> str | None:
    """What is set aside for a session now."""
    aside = office.gate.tree.aside(session.id)
    return None if aside is None else format_usd(aside)


def state_now(office: Office, session: Session) -> SessionState:
    """What a session is now: as its next call would find it."""
    gate = office.gate
    meter = gate.tree.meter(session.id)
    exhausted = meter is not None and meter.exhausted
    suspended = stop_of(gate, session) is not None
    return state_of(session, gate.clock.expiry_ns(), exhausted=exhausted, suspended=suspended)


def outcome_of(session: Session, state: SessionState) -> SessionOutcome | None:
    """How it came out: one that ran for as long as it might needs nobody to say so."""
    return "expired" if state == "expired" else session.outcome


def show_bounds(bounds: Bounds) -> SessionBounds:
    """Bounds in words of JSON."""
    known = asdict(bounds)
    usd_nanos = known.pop("usd_nanos")
    return SessionBounds(usd=None if usd_nanos is None else format_usd(usd_nanos), **known)


def show_spent(amounts: Amounts) -> Spent:
    return Spent(format_usd(amounts.usd), amounts.tokens, amounts.thinking_tokens, amounts.calls, amounts.tool_calls)
