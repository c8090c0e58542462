"""Changing a live session: narrowing it at once, and renewing it by whoever answers for more."""

from __future__ import annotations

from collections import Counter

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, conflict, invalid, ledger_unavailable, over, refused
from comptroller.control.reason import read_reason
from comptroller.control.session_rows import SessionRow, row_of, show_bounds
from comptroller.control.sessions import find_session
from comptroller.core.identity.identity import expiry_ends_ns
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.refusal import Refusal
from comptroller.core.work.bounds import LONGEST_SESSION_S, Bounds, changed, narrowed, say_widened
from comptroller.core.work.delegation import Patterns, handed_on, room_below
from comptroller.core.work.session import Session
from comptroller.flow.chain import known_identity
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change

_WHY = "Say why, for whoever asks later."


async def narrow(
    office: Office,
    session_id: str,
    asked: Bounds,
    models: Patterns,
    tools: Patterns,
    reason: str,
    actor: str,
    *,
    by_operator: bool = False,
) -> SessionRow:
    """Take something away from a session, and from all below it: in memory first, then in the books.

    `by_operator`: from then on nobody else renews it, or whoever started it could undo this.
    """
    words = read_reason(reason, _WHY)
    session = await _open_session(office, session_id)
    beyond = say_widened(session.bounds, asked, session.id)
    if beyond:
        raise invalid(f"That is not narrower: {beyond}.", "`renew` gives more.")
    bounds = narrowed(session.bounds, asked)
    after = msgspec.structs.replace(
        session,
        bounds=bounds,
        expires_at_ns=_ends_at_ns(session, bounds, session.expires_at_ns),
        models=_narrower(session.models, models),
        tools=_narrower(session.tools, tools),
        operators_only=session.operators_only or by_operator,
        reserved=None if session.reserved is None else session.reserved.within(bounds),
    )
    if (after.bounds, after.models, after.tools) == (session.bounds, session.models, session.tools):
        return _row(office, session)
    outliving = office.gate.runs.outliving(after)
    office.gate.change_session(after)
    try:
        await office.ledger.change_session(after, _event(office, "narrow", session, after, words, actor), outliving)
    except LedgerUnavailableError as error:
        raise ControlProblem(
            503,
            "ledger_unavailable",
            f"The session {session_id} is narrower in this process, but that could not be written: {error}.",
            "It would be as before after a restart: mend the store, then do it again.",
        ) from error
    return _row(office, after)


async def renew(
    office: Office, session_id: str, asked: Bounds, reason: str, actor: str, *, within_kind: bool = False
) -> SessionRow:
    """Give a session other bounds, never more than the session above it has. On disk first, then in force.

    `within_kind`: nor more than its identity's kind and profile have, which an operator may go beyond.
    """
    words = read_reason(reason, _WHY)
    async with office.changing:
        session = await _open_session(office, session_id)
        after = _renewed(office, session, asked, within_kind=within_kind)
        outliving = office.gate.runs.outliving(after)
        try:
            await office.ledger.change_session(after, _event(office, "renew", session, after, words, actor), outliving)
        except LedgerUnavailableError as error:
            raise ledger_unavailable(f"The session {session_id} stays as it was: {error}.") from error
        if office.gate.sessions.get(session_id) is not session:
            raise conflict(f"The session {session_id} was changed by somebody else meanwhile.", "Look at it again.")
        office.gate.change_session(after)
    return _row(office, after)


def _renewed(office: Office, session: Session, asked: Bounds, *, within_kind: bool) -> Session:
    gate = office.gate
    if within_kind and session.operators_only:
        sentence = f"The session {session.id} was narrowed by an operator, and only an operator gives it more."
        hint = f"Ask whoever runs the gateway: `comptroller sessions renew {session.id}`."
        raise ControlProblem(403, "delegation_widened", sentence, hint)
    bounds = changed(session.bounds, asked)
    above = gate.runs.lineage(session)[1:]
    parent = above[0] if above else None
    identity = known_identity(gate.registry, session.identity)
    own = gate.registry.ceiling(identity, identity.profile)
    room = None if parent is None else msgspec.structs.replace(parent.bounds, depth=room_below(above) - 1)
    ceilings = (room, narrowed(own, gate.registry.ceiling(identity, session.profile)) if within_kind else None)
    for ceiling in ceilings:
        whose = f"{parent.id} above it" if parent is not None and ceiling is room else "its kind or profile"
        beyond = None if ceiling is None else say_widened(ceiling, asked, whose)
        if beyond:
            hint = "Renew that one first." if ceiling is room else "Ask for less, or whoever runs the gateway for more."
            raise invalid(f"A session cannot have that much: {beyond}.", hint)
    ends = [session.opened_at_ns + LONGEST_SESSION_S * NANOS_PER_SECOND, *(each.expires_at_ns for each in above)]
    latest_ns = min([*ends, *(each for each in (expiry_ends_ns(identity),) if each is not None)])
    expires_at_ns = session.expires_at_ns if asked.wall_clock_s is None else _ends_at_ns(session, bounds, latest_ns)
    reserved = None if session.reserved is None else session.reserved.within(bounds)
    return msgspec.structs.replace(session, bounds=bounds, expires_at_ns=expires_at_ns, reserved=reserved)


async def _open_session(office: Office, session_id: str) -> Session:
    session = office.gate.sessions.get(session_id)
    if session is not None and session.goes_on(office.gate.clock.expiry_ns()):
        return session
    await find_session(office, session_id)
    raise over(session_id)


def _narrower(held: Patterns, asked: Patterns) -> Patterns:
    found = handed_on(held, asked)
    if isinstance(found, Refusal):
        raise refused(found)
    return found


def _ends_at_ns(session: Session, bounds: Bounds, latest_ns: int) -> int:
    if bounds.wall_clock_s is None:
        return latest_ns
    return min(latest_ns, session.opened_at_ns + bounds.wall_clock_s * NANOS_PER_SECOND)


def _row(office: Office, session: Session) -> SessionRow:
    return row_of(office, session, Counter(call.session for call in office.gate.live.holding))


def _event(office: Office, verb: str, before: Session, after: Session, reason: str, actor: str) -> Change:
    return Change(
        at_ns=office.gate.clock.now_ns(),
        actor=actor,
        verb=verb,
        noun="session",
        key=after.id,
        reason=reason,
        before=_said(before),
        after=_said(after),
    )


def _said(session: Session) -> str:
    said = {"bounds": show_bounds(session.bounds), "models": session.models, "tools": session.tools}
    return msgspec.json.encode(said).decode()
