"""Sessions: which there are, and ending one at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, not_found
from comptroller.control.reason import LONGEST_REASON, read_reason
from comptroller.control.stops import stop_of
from comptroller.core.instant import format_instant
from comptroller.core.work.session import STATES, Session, SessionOutcome, SessionState, state_of
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

SESSIONS_SHOWN = 200


class SessionRow(msgspec.Struct, frozen=True):
    id: str
    identity: str
    state: SessionState
    opened_at: str
    expires_at: str
    minted_by: str
    live_calls: int
    ended_at: str | None
    ended_by: str | None
    ended_reason: str | None
    outcome: SessionOutcome | None


class SessionEnd(msgspec.Struct, frozen=True):
    """What ending a session did."""

    session: SessionRow
    cut_calls: int
    ended_below: int = 0  # open sessions below it, which ended with it
    already_ended: bool = False


async def list_sessions(
    office: Office, identity: str | None = None, *, every: bool = False, limit: int = SESSIONS_SHOWN
) -> Sequence[SessionRow]:
    """The active sessions, newest first; with `every`, the ended and expired ones too."""
    written = await office.ledger.sessions(identity, limit) if every else ()
    found = {session.id: session for session in written}
    # Memory is ahead of the books: a stop holds here even where it could not be written.
    found |= {s.id: s for s in office.gate.sessions.values() if identity is None or s.identity == identity}
    live = Counter(call.session for call in office.gate.live)
    rows = [_row(office, session, live) for session in sorted(found.values(), key=_newest, reverse=True)]
    return [row for row in rows if every or not STATES[row.state].final][:limit]


async def end_session(office: Office, session_id: str, reason: str, actor: str) -> SessionEnd:
    """Stop a session and all below it: in memory and in flight first, then in the books.

    If the books cannot be written the stop stands as long as this process lives, and the error is said.
    """
    words = read_reason(reason, "Say why, for whoever meets the refusal.")
    gate = office.gate
    session = gate.sessions.get(session_id) or await office.ledger.session(session_id)
    if session is None:
        raise not_found(f"There is no session {session_id!r}.", "`comptroller sessions` lists them.")
    if await _is_written(office, session):
        return SessionEnd(_row(office, session, {}), cut_calls=0, already_ended=True)
    ended = _end_in_memory(office, session, actor, words, "stopped")
    cut = gate.live.cut(lambda call: session_id in call.facts.sessions, "stopped")
    try:
        await office.ledger.end_sessions([(each, _event(each)) for each in ended])
    except LedgerUnavailableError as error:
        raise ControlProblem(
            503,
            "ledger_unavailable",
            f"The session {session_id} is stopped in this process, but the stop could not be written: {error}.",
            "It would be open again after a restart: mend the store, then end the session again.",
        ) from error
    return SessionEnd(_row(office, ended[0], {}), cut_calls=cut, ended_below=len(ended) - 1)


async def end_past(office: Office) -> None:
    """End what is idle or past its wall-clock bound, calls in flight included. What is past its bound needs no row."""
    gate = office.gate
    now_ns = gate.clock.expiry_ns()
    over = list(gate.runs.past(now_ns))
    idle = [session for session in over if session.goes_on(now_ns)]
    ended = {
        each.id: each
        for session in idle
        for each in _end_in_memory(office, session, "gateway", f"idle for {session.bounds.idle_s} s", "idle")
    }
    gone = {session.id for session in over}
    if gone:
        gate.live.cut(lambda call: not gone.isdisjoint(call.facts.sessions), "stopped")
    if ended:
        try:
            await office.ledger.end_sessions([(each, _event(each)) for each in ended.values()])
        except LedgerUnavailableError as error:  # they stay ended here, and are idle again after a start
            gate.warn("ledger_unavailable", {"message": f"idle sessions ended, but that is not written: {error}"})


def _end_in_memory(
    office: Office, session: Session, actor: str, reason: str, outcome: SessionOutcome
) -> Sequence[Session]:
    """The session and what is open below it, ended: itself first. One that has ended stays as it ended."""
    gate = office.gate
    now_ns, at_ns = gate.clock.expiry_ns(), gate.clock.now_ns()
    below = [each for each in gate.runs.descendants(session.id) if each.goes_on(now_ns)]
    first = session if session.ended_at_ns is not None else _ended(session, at_ns, actor, reason, outcome)
    ended = [first, *(_ended(each, at_ns, actor, f"{session.id} above it ended: {reason}", outcome) for each in below)]
    gate.sessions.update({each.id: each for each in ended})
    return ended


def stop_every_session(office: Office, reason: str, actor: str) -> Sequence[tuple[Session, Change]]:
    """Stop every active session in memory; returns them with their events, to be written."""
    gate = office.gate
    at_ns, now_ns = gate.clock.now_ns(), gate.clock.expiry_ns()
    active = [session for session in gate.sessions.values() if session.goes_on(now_ns)]
    ended = [_ended(session, at_ns, actor, reason, "stopped") for session in active]
    gate.sessions.update({session.id: session for session in ended})
    return [(session, _event(session)) for session in ended]


async def _is_written(office: Office, session: Session) -> bool:
    """True if it was ended before, and the books know."""
    if session.ended_at_ns is None:
        return False
    written = await office.ledger.session(session.id)
    return written is not None and written.ended_at_ns is not None


def _ended(session: Session, at_ns: int, actor: str, reason: str, outcome: SessionOutcome) -> Session:
    return msgspec.structs.replace(
        session, ended_at_ns=at_ns, ended_by=actor, ended_reason=reason[:LONGEST_REASON], outcome=outcome
    )


def _event(ended: Session) -> Change:
    return Change(
        at_ns=ended.ended_at_ns or 0,
        actor=ended.ended_by or "",
        verb="end",
        noun="session",
        key=ended.id,
        reason=ended.ended_reason or "",
    )


def _newest(session: Session) -> tuple[int, str]:
    return session.opened_at_ns, session.id


def _row(office: Office, session: Session, live: Mapping[str, int]) -> SessionRow:
    return SessionRow(
        id=session.id,
        identity=session.identity,
        state=_state(office, session),
        opened_at=format_instant(session.opened_at_ns),
        expires_at=format_instant(session.expires_at_ns),
        minted_by=session.minted_by,
        live_calls=live.get(session.id, 0),
        ended_at=format_instant(session.ended_at_ns) if session.ended_at_ns is not None else None,
        ended_by=session.ended_by,
        ended_reason=session.ended_reason,
        outcome=session.outcome,
    )


def _state(office: Office, session: Session) -> SessionState:
    """What a session is now."""
    meter = office.gate.tree.meter(session.id)
    exhausted = meter is not None and meter.exhausted
    suspended = stop_of(office.gate, session) is not None
    return state_of(session, office.gate.clock.expiry_ns(), exhausted=exhausted, suspended=suspended)
