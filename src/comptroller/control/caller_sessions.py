"""Sessions by their callers: children of one's own, and what can be done about those and about oneself.

Whoever has a session can only take from it: what is opened stands below it. So a loop gets no new allowance by
opening sessions, and nobody sees or changes a session that is neither its own nor below it.
"""

from __future__ import annotations

from collections import Counter
from typing import cast

import msgspec

from comptroller.control import session_changes, sessions, tokens
from comptroller.control.caller_route import Asked, caller_of, json_answer, problem_of, read_as_caller
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, not_found
from comptroller.control.session_requests import ChildSent, CloseSent, IssueSent, NarrowSent, RenewSent, child_request
from comptroller.control.session_rows import SessionRow, row_of
from comptroller.control.tokens import Minted
from comptroller.core.refusal import Refusal
from comptroller.core.work.session import Session
from comptroller.flow.caller import Caller
from comptroller.flow.decide import standing
from comptroller.flow.door import Answered
from comptroller.flow.identify import identify

PATH = "/comptroller/v1/sessions"
_OWN = "self"
"""In a path: the session of the credential that asks."""


class Opened(msgspec.Struct, frozen=True):
    """A session that was opened, and its credential, which is shown this once."""

    credential: str
    expires_at: str  # of the credential
    session: SessionRow


async def open_child(office: Office, asked: Asked) -> Answered:
    """Open a session below one's own."""
    caller, sent = await read_as_caller(office, asked.request, ChildSent)
    actor = _actor(office, sent) if sent.identity is not None and sent.actor_token is not None else None
    minted = await tokens.open_session(office, child_request(sent, caller, actor), caller.names[0])
    return json_answer(_opened(office, minted), 201, opened=minted.session)


async def show(office: Office, asked: Asked) -> Answered:
    """One's own session, or one below it."""
    caller = caller_of(office, asked.request)
    return json_answer(_row(office, _within(office, caller, asked)))


async def close(office: Office, asked: Asked) -> Answered:
    """Say that it is done, and how it came out: its credentials end, and all below it."""
    caller, sent = await read_as_caller(office, asked.request, CloseSent)
    session = _within(office, caller, asked)
    return json_answer(await sessions.close_session(office, session.id, sent.outcome, sent.reason, caller.names[0]))


async def issue(office: Office, asked: Asked) -> Answered:
    """Another credential for one below it, before the last one ends: it shares everything with that."""
    caller, sent = await read_as_caller(office, asked.request, IssueSent)
    session = _below(office, caller, asked, "Whoever handed this credential out hands out the next one.")
    asked_with = caller.claims.credential_id
    minted = await tokens.fresh_credential(office, session.id, sent.lifetime_s, caller.names[0], asked_with=asked_with)
    return json_answer(_opened(office, minted), 201)


async def narrow(office: Office, asked: Asked) -> Answered:
    """Take something away from it, at once."""
    caller, sent = await read_as_caller(office, asked.request, NarrowSent)
    session = _within(office, caller, asked)
    bounds = sent.bounds.read()
    row = await session_changes.narrow(
        office, session.id, bounds, sent.models, sent.tools, sent.reason, caller.names[0]
    )
    return json_answer(row)


async def renew(office: Office, asked: Asked) -> Answered:
    """Give one below it more, out of what the session above that has. Nobody renews its own."""
    caller, sent = await read_as_caller(office, asked.request, RenewSent)
    session = _below(office, caller, asked, "Ask whoever runs the gateway: `comptroller sessions renew`.")
    row = await session_changes.renew(
        office, session.id, sent.bounds.read(), sent.reason, caller.names[0], within_kind=True
    )
    return json_answer(row)


def _actor(office: Office, sent: ChildSent) -> Caller:
    """Whose credential was sent to show that the child's identity takes part. Raises ControlProblem unless it works."""
    actor = identify(office.gate, [sent.actor_token or ""])
    no = actor if isinstance(actor, Refusal) else standing(office.gate, actor)
    if isinstance(actor, Refusal) or no is not None:
        problem = problem_of(no or cast("Refusal", actor))
        raise ControlProblem(422, problem.code, f"The actor token does not work: {problem.message}", problem.hint)
    if actor.session.name != sent.identity:
        sentence = f"The actor token is of {actor.session.name}, and not of {sent.identity}."
        raise ControlProblem(422, "delegation_forbidden", sentence, "Send one of the identity that is to take part.")
    return actor


def _within(office: Office, caller: Caller, asked: Asked) -> Session:
    """The session of a path, if it is the caller's own or below it; else there is none."""
    wanted = asked.path["session"]
    own = caller.claims.session
    session = office.gate.sessions.get(own if wanted == _OWN else wanted)
    if session is None or all(each.id != own for each in office.gate.runs.lineage(session)):
        raise not_found("There is no such session of yours.", f"`{PATH}/{_OWN}` is your own; you see those below it.")
    return session


def _below(office: Office, caller: Caller, asked: Asked, hint: str) -> Session:
    """The session of a path, if it is below the caller's own. `hint`: who may, where it is the caller's own."""
    session = _within(office, caller, asked)
    if session.id == caller.claims.session:
        raise ControlProblem(403, "delegation_widened", "Nobody renews its own session.", hint)
    return session


def _opened(office: Office, minted: Minted) -> Opened:
    row = _row(office, office.gate.sessions[minted.session])
    return Opened(minted.credential, minted.expires_at, row)


def _row(office: Office, session: Session) -> SessionRow:
    return row_of(office, session, Counter(call.session for call in office.gate.live.holding))
