"""What may be sent about sessions, on the admin plane and by callers."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from comptroller.control.delegate import LONGEST_WORD, OpenRequest
from comptroller.control.reason import LONGEST_REASON
from comptroller.control.route import Sent
from comptroller.control.session_rows import SessionBounds
from comptroller.control.sessions import CloseOutcome
from comptroller.core.identity.credential import DEFAULT_LIFETIME_S, LONGEST_LIFETIME_S
from comptroller.flow.caller import Caller

_NOTHING = SessionBounds()

Word = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": LONGEST_WORD})]
Lifetime = Annotated[
    int,
    Meta(
        description=f"How long the credential is good for; left out: {DEFAULT_LIFETIME_S}, or as long as its session.",
        extra_json_schema={"minimum": 1, "maximum": LONGEST_LIFETIME_S},
    ),
]
Patterns = Annotated[tuple[str, ...], Meta(description="Names, with * and ?. Left out: all that it may otherwise use.")]
Why = Annotated[
    str,
    Meta(
        description="One line of words for whoever asks later.",
        extra_json_schema={"minLength": 1, "maxLength": LONGEST_REASON},
    ),
]


class WorkSent(Sent, frozen=True, kw_only=True):
    """What a session is for, and how much less than otherwise it may do."""

    identity: Annotated[str, Meta(description="An identity of the registry. Left out: an ephemeral child.")] | None = (
        None
    )
    name: Annotated[str, Meta(description="What an ephemeral child is called below its parent.")] | None = None
    profile: str | None = None
    subject: Word | None = None
    tenant: Word | None = None
    task_type: Annotated[str, Meta(examples=["ticket"])] | None = None
    task: Annotated[str, Meta(description="A reference within the type.", examples=["T-1042"])] | None = None
    workflow: Word | None = None
    bounds: SessionBounds = _NOTHING
    models: Patterns | None = None
    tools: Patterns | None = None
    lifetime_s: Lifetime | None = None
    reserve: Annotated[
        bool, Meta(description="Set `bounds.usd` aside for it. Left out: its limit is a ceiling, and no share.")
    ] = False


class OpenSent(WorkSent, frozen=True, kw_only=True):
    parent: Annotated[str, Meta(description="The session that it is opened below.")] | None = None


class ChildSent(WorkSent, frozen=True, kw_only=True):
    actor_token: (
        Annotated[str, Meta(description="A session credential of `identity`: it takes part (RFC 8693).")] | None
    ) = None


class IssueSent(Sent, frozen=True, kw_only=True):
    lifetime_s: Lifetime | None = None


class CloseSent(Sent, frozen=True):
    outcome: CloseOutcome
    reason: Annotated[str, Meta(extra_json_schema={"maxLength": LONGEST_REASON})] = "done"


class NarrowSent(Sent, frozen=True):
    bounds: SessionBounds = _NOTHING
    models: Patterns | None = None
    tools: Patterns | None = None
    reason: Why = "narrowed by whoever runs it"


class RenewSent(Sent, frozen=True):
    bounds: SessionBounds
    reason: Why = "renewed by the session above it"


def open_request(sent: WorkSent, parent: str | None, *, agreed: bool, by_operator: bool = False) -> OpenRequest:
    """The request that was sent, for a session below `parent`. Raises ControlProblem for bounds that are none."""
    return OpenRequest(
        identity=sent.identity,
        lifetime_s=sent.lifetime_s,
        profile=sent.profile,
        subject=sent.subject,
        tenant=sent.tenant,
        task_type=sent.task_type,
        task=sent.task,
        workflow=sent.workflow,
        bounds=sent.bounds.read(),
        models=sent.models,
        tools=sent.tools,
        parent=parent,
        child=sent.name,
        agreed=agreed,
        by_operator=by_operator,
        reserve=sent.reserve,
    )


def child_request(sent: WorkSent, parent: Caller, actor: Caller | None, *, agreed: bool = False) -> OpenRequest:
    """The same by somebody who has a session, for one below it. `actor`: whose credential shows that they take part."""
    request = open_request(sent, parent.claims.session, agreed=agreed or actor is not None)
    callers = [parent] if actor is None else [parent, actor]
    return msgspec.structs.replace(
        request,
        actor=None if actor is None else actor.session,
        opened_with=tuple(each.claims.credential_id for each in callers),
    )
