"""Sessions: which there are, and ending one at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, not_found
from comptroller.control.reason import read_reason
from comptroller.core.instant import format_instant
from comptroller.core.work.session import Session
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

SessionState = Literal["active", "ended", "expired"]
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


class SessionEnd(msgspec.Struct, frozen=True):
    """What ending a session did."""

    session: SessionRow
    cut_calls: int
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
    return [row for row in rows if every or row.state == "active"][:limit]


async def end_session(office: Office, session_id: str, reason: str, actor: str) -> SessionEnd:
    """Stop a session: in memory and in flight first, then in the books.

    If the books cannot be written the stop stands as long as this process lives, and the error is said.
    """
    words = read_reason(reason, "Say why, for whoever meets the refusal.")
    gate = office.gate
    session = gate.sessions.get(session_id) or await office.ledger.session(session_id)
    if session is None:
        raise not_found(f"There is no session {session_id!r}.", "`comptroller sessions` lists them.")
    if await _is_written(office, session):
        return SessionEnd(_row(office, session, {}), cut_calls=0, already_ended=True)
    ended = session if session.ended_at_ns is not None else _ended(session, gate.clock.now_ns(), actor, words)
    gate.sessions[session_id] = ended
    cut = gate.live.cut(lambda call: call.session == session_id, "stopped")
    try:
        await office.ledger.end_session(ended, _event(ended))
    except LedgerUnavailableError as error:
        raise ControlProblem(
            503,
            "ledger_unavailable",
            f"The session {session_id} is stopped in this process, but the stop could not be written: {error}.",
            "It would be open again after a restart: mend the store, then end the session again.",
        ) from error
    return SessionEnd(_row(office, ended, {}), cut_calls=cut)


def stop_every_session(office: Office, reason: str, actor: str) -> Sequence[tuple[Session, Change]]:
    """Stop every active session in memory; returns them with their events, to be written."""
    gate = office.gate
    at_ns, now_ns = gate.clock.now_ns(), gate.clock.expiry_ns()
    active = [session for session in gate.sessions.values() if session_state(session, now_ns) == "active"]
    ended = [_ended(session, at_ns, actor, reason) for session in active]
    gate.sessions.update({session.id: session for session in ended})
    return [(session, _event(session)) for session in ended]


async def _is_written(office: Office, session: Session) -> bool:
    """True if it was ended before, and the books know."""
    if session.ended_at_ns is None:
        return False
    written = await office.ledger.session(session.id)
    return written is not None and written.ended_at_ns is not None


def _ended(session: Session, at_ns: int, actor: str, reason: str) -> Session:
    return msgspec.structs.replace(session, ended_at_ns=at_ns, ended_by=actor, ended_reason=reason)


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
        state=session_state(session, office.gate.clock.expiry_ns()),
        opened_at=format_instant(session.opened_at_ns),
        expires_at=format_instant(session.expires_at_ns),
        minted_by=session.minted_by,
        live_calls=live.get(session.id, 0),
        ended_at=format_instant(session.ended_at_ns) if session.ended_at_ns is not None else None,
        ended_by=session.ended_by,
        ended_reason=session.ended_reason,
    )


def session_state(session: Session, now_ns: int) -> SessionState:
    """What a session is at this instant."""
    if session.ended_at_ns is not None:
        return "ended"
    return "expired" if now_ns >= session.expires_at_ns else "active"
