"""Sessions: which there are, and ending one at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, not_found
from comptroller.control.reason import LONGEST_REASON, read_reason
from comptroller.control.session_rows import SessionRow, row_of
from comptroller.core.instant import format_instant
from comptroller.core.refusal import Refusal
from comptroller.core.work.session import STATES, Session, SessionOutcome
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

SESSIONS_SHOWN = 200

CloseOutcome = Literal["succeeded", "failed", "abandoned"]
"""How a session came out, by whoever closes it."""


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
    live = Counter(call.session for call in office.gate.live.holding)
    rows = [row_of(office, session, live) for session in sorted(found.values(), key=_newest, reverse=True)]
    return [row for row in rows if every or not STATES[row.state].final][:limit]


async def show_session(office: Office, session_id: str) -> SessionRow:
    """One session, open or over."""
    session = await find_session(office, session_id)
    live = Counter(call.session for call in office.gate.live.holding)
    return row_of(office, session, live)


async def find_session(office: Office, session_id: str) -> Session:
    """A session of memory or of the books. Raises ControlProblem."""
    session = office.gate.sessions.get(session_id) or await office.ledger.session(session_id)
    if session is None:
        raise not_found(f"There is no session {session_id!r}.", "`comptroller sessions` lists them.")
    return session


async def close_session(office: Office, session_id: str, outcome: CloseOutcome, reason: str, actor: str) -> SessionEnd:
    """Say that a session is done, and how it came out. It ends as one that is stopped does."""
    return await _end(office, session_id, reason, actor, outcome)


async def end_session(office: Office, session_id: str, reason: str, actor: str) -> SessionEnd:
    """Stop a session and all below it."""
    return await _end(office, session_id, reason, actor, "stopped")


async def _end(office: Office, session_id: str, reason: str, actor: str, outcome: SessionOutcome) -> SessionEnd:
    """In memory and in flight first, then in the books.

    If the books cannot be written the stop stands as long as this process lives, and the error is said.
    """
    words = read_reason(reason, "Say why, for whoever meets the refusal.")
    gate = office.gate
    session = await find_session(office, session_id)
    if session.ended_at_ns is not None and session_id not in office.unwritten_ends:
        return SessionEnd(row_of(office, session, {}), cut_calls=0, already_ended=True)
    ended = _end_in_memory(office, session, actor, words, outcome)
    cut = gate.live.stop(lambda call: session_id in call.facts.sessions, _said_in_flight(ended[0]))
    gate.pace.look_again()
    try:
        await write_ends(office, ended)
    except LedgerUnavailableError as error:
        raise ControlProblem(
            503,
            "ledger_unavailable",
            f"The session {session_id} is stopped in this process, but the stop could not be written: {error}.",
            "It would be open again after a restart: mend the store. The stop is tried again until it is written.",
        ) from error
    return SessionEnd(row_of(office, ended[0], {}), cut_calls=cut, ended_below=len(ended) - 1)


def _said_in_flight(ended: Session) -> Refusal:
    """What the callers are told whose calls were cut."""
    if ended.ended_at_ns is None:
        why = f"has run for as long as it may, until {format_instant(ended.expires_at_ns)}"
    else:
        why = f"was ended by {ended.ended_by}: {(ended.ended_reason or '').rstrip('.')}"
    return Refusal(
        code="session_ended",
        sentence=f"This call was stopped in flight: its session {ended.id} {why}.",
        hint=f"What it cost until then is charged. {ended.way_on}",
    )


async def end_past(office: Office) -> None:
    """End what is idle or past its wall-clock bound, calls in flight included. What is past its bound needs no row.

    Deferred work goes on: an hour of a credential is no bound of a batch that takes a day, and all that it may cost is
    held.
    """
    gate = office.gate
    now_ns = gate.clock.expiry_ns()
    over = list(gate.runs.past(now_ns))
    for session in over:
        gate.session_over(session)
    idle = [session for session in over if session.goes_on(now_ns)]
    ended = {
        each.id: each
        for session in idle
        for each in _end_in_memory(office, session, "gateway", f"idle for {session.bounds.idle_s} s", "idle")
    }
    gone = {session.id: ended.get(session.id, session) for session in over}
    for call in gate.live if gone else ():
        first = next((gone[each] for each in call.facts.sessions if each in gone), None)
        if first is not None:
            call.line.cut("stopped", _said_in_flight(first))
    if ended or office.unwritten_ends:
        try:
            await write_ends(office, tuple(ended.values()))
        except (LedgerUnavailableError, LookupError) as error:  # they stay ended here, and are tried again
            if ended:
                gate.warn("ledger_unavailable", {"message": f"sessions ended, but that is not written: {error}"})


async def write_ends(office: Office, ended: Sequence[Session]) -> None:
    """Write these ends, and all that could not be written before. What fails is kept for the next time."""
    unwritten = office.unwritten_ends
    unwritten.update({each.id: (each, _event(each)) for each in ended if each.id not in unwritten})
    now = dict(unwritten)
    await office.ledger.end_sessions(list(now.values()))
    for session_id in now:
        unwritten.pop(session_id, None)


def _end_in_memory(
    office: Office, session: Session, actor: str, reason: str, outcome: SessionOutcome
) -> Sequence[Session]:
    """The session and what is open below it, ended: itself first. One that has ended stays as it ended."""
    gate = office.gate
    now_ns, at_ns = gate.clock.expiry_ns(), gate.clock.now_ns()
    below = [each for each in gate.runs.descendants(session.id) if each.goes_on(now_ns)]
    first = session if session.ended_at_ns is not None else _ended(session, at_ns, actor, reason, outcome)
    # What did not say how it came out did not succeed, whatever is said of what stands above it.
    theirs: SessionOutcome = "abandoned" if outcome in {"succeeded", "failed"} else outcome
    ended = [first, *(_ended(each, at_ns, actor, f"{session.id} above it ended: {reason}", theirs) for each in below)]
    for each in ended:
        gate.end_session(each)
    return ended


def stop_every_session(office: Office, reason: str, actor: str) -> Sequence[Session]:
    """Stop every active session in memory; returns them, to be written."""
    gate = office.gate
    at_ns, now_ns = gate.clock.now_ns(), gate.clock.expiry_ns()
    active = [session for session in gate.sessions.values() if session.goes_on(now_ns)]
    ended = [_ended(session, at_ns, actor, reason, "stopped") for session in active]
    for session in ended:
        gate.end_session(session)
    return ended


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
