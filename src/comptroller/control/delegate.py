"""Delegation in the office: who may open what, for whom, and a session below another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import invalid, not_found, refused
from comptroller.core.budget.budget import label, say_amount
from comptroller.core.budget.meter import is_session_bound
from comptroller.core.identity.credential import ID_PREFIX
from comptroller.core.identity.identity import Identity, expiry_ends_ns, may_act, owner_ends_ns
from comptroller.core.ids import is_name
from comptroller.core.money import format_usd
from comptroller.core.problem import did_you_mean
from comptroller.core.refusal import Refusal
from comptroller.core.work.bounds import UNBOUNDED, Bounds, narrowed, say_widened
from comptroller.core.work.delegation import Wish, child_bounds, child_wish, ends_at_ns, may_open_below, may_take_part
from comptroller.core.work.session import Session
from comptroller.core.work.stop import Acting, refusal_of, stop_keys
from comptroller.flow.chain import known_identity

LONGEST_WORD = 200  # characters of a subject, tenant, task or workflow
_PATTERN = re.compile(r"[A-Za-z0-9*?][A-Za-z0-9._:/@+*?~-]{0,199}", re.ASCII)
T = TypeVar("T", Wish, Bounds)
_CHILD = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)


class OpenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is opened for. `bounds` only narrow those of its parent, profile and kind."""

    identity: str | None = None  # None: an ephemeral child of the parent's identity
    lifetime_s: int | None = None  # of the credential; None: DEFAULT_LIFETIME_S, or as long as the session if shorter
    profile: str | None = None  # None: the identity's own; another only narrows that, but for an operator
    subject: str | None = None
    tenant: str | None = None
    task_type: str | None = None
    task: str | None = None
    workflow: str | None = None
    bounds: Bounds = UNBOUNDED
    models: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    parent: str | None = None  # the session that it is opened below
    child: str | None = None  # what an ephemeral child is called below its parent; None: a made-up name
    agreed: bool = False  # the identity has shown that it takes part, or an operator says so
    by_operator: bool = False  # who may give more than the identity's own profile has
    actor: Session | None = None  # whose credential has shown it
    opened_with: tuple[str, ...] | None = None  # the ids of the credentials that it is opened with
    reserve: bool = False  # set what `bounds` say in USD aside for it


def checked(office: Office, request: OpenRequest) -> OpenRequest:
    """The same request, if every word in it is one. Raises ControlProblem."""
    registry = office.gate.registry
    if request.identity is None and request.parent is None:
        raise invalid("A session needs an identity.", "`comptroller identities` lists them.")
    for name in ("subject", "tenant", "task", "workflow"):
        word = getattr(request, name)
        if word is not None and not (0 < len(word) <= LONGEST_WORD and word.isprintable() and word == word.strip()):
            raise invalid(f"`{name}` is not one line of at most {LONGEST_WORD} printable characters.")
    if request.task_type is not None and not is_name(request.task_type):
        raise invalid("`task_type` is not a name.", "Use letters, digits and . _ @ -, at most 128, no sign first.")
    if request.task is not None and request.task_type is None:
        raise invalid("A task needs its type.", "Say `task_type`, such as 'ticket', beside `task`.")
    for pattern in (*(request.models or ()), *(request.tools or ())):
        if _PATTERN.fullmatch(pattern) is None:
            raise invalid(f"{pattern!r} is not a name or pattern.", "Use * and ? as wildcards.")
    if request.child is not None and (request.identity is not None or _CHILD.fullmatch(request.child) is None):
        raise invalid(
            f"{request.child!r} cannot be the name of a child.",
            "Small letters, digits and -, at most 32, and only where no identity is named.",
        )
    if request.reserve and (request.parent is None or not request.bounds.usd_nanos):
        raise invalid(
            "Nothing says what to set aside, or from what.",
            "`reserve` sets `bounds.usd` aside for a session below another: say that amount, and below which one.",
        )
    if request.profile is not None and request.profile not in registry.profiles:
        hint = did_you_mean(request.profile, registry.profiles) or "Add it under [profiles] in registry.toml."
        raise not_found(f"There is no profile {request.profile!r} in the registry.", hint)
    return request


def acting_identity(
    office: Office,
    identity_id: str,
    lineage: Sequence[Session] = (),
    tenant: str | None = None,
    opened_with: Sequence[str] = (),
    subject: str | None = None,
) -> Identity:
    """The identity, if it is registered and it and all that it would stand below may act now."""
    gate = office.gate
    registry, now_ns = gate.registry, gate.clock.expiry_ns()
    identity = registry.identities.get(identity_id)
    if identity is None:
        hint = did_you_mean(identity_id, registry.identities) or "`comptroller identities` lists them."
        raise not_found(f"There is no identity {identity_id!r} in the registry.", hint)
    above = [(session, known_identity(registry, session.identity)) for session in lineage]
    acting = [
        Acting(None, identity.id, identity.owner, identity.team, tenant, opened_with, subject),
        *(
            Acting(of.id, each.id, each.owner, each.team, of.tenant, of.opened_with or (), of.subject)
            for of, each in above
        ),
    ]
    stop = gate.stops.applies(stop_keys(acting))
    if stop is not None:
        raise refused(refusal_of(stop))
    for each in (identity, *(each for _, each in above)):
        no = may_act(each, registry.answerable_until(each), now_ns)
        if no is not None:
            raise refused(no)
    return identity


def bounds_of(office: Office, identity: Identity, request: OpenRequest) -> Bounds:
    """What is asked for, inside what its profile and kind allow."""
    ceiling = _ceiling(office, identity, identity.profile, request)
    beyond = say_widened(ceiling, request.bounds, f"the kind or profile of {identity.id}")
    if beyond:
        raise invalid(
            f"A session cannot have that much: {beyond}.",
            f"Ask for less, or change [bounds.{identity.kind}] or its profile in registry.toml.",
        )
    return narrowed(ceiling, request.bounds)


def _ceiling(office: Office, identity: Identity, own: str | None, request: OpenRequest) -> Bounds:
    """The widest bounds for what is asked. `own`: the profile that it has if it asks for none."""
    registry = office.gate.registry
    if request.profile is not None and request.by_operator:
        return registry.ceiling(identity, request.profile)
    return narrowed(registry.ceiling(identity, own), registry.ceiling(identity, request.profile or own))


def last_ns(office: Office, identity: Identity, expires_ns: int) -> int:
    """When the session ends: never after its identity does."""
    ends = (expiry_ends_ns(identity), owner_ends_ns(identity, office.gate.registry.answerable_until(identity)))
    return min([expires_ns, *(each for each in ends if each is not None)])


def below(office: Office, request: OpenRequest, actor: str) -> Session:
    """A session below another, with less than that in everything. Raises ControlProblem."""
    gate = office.gate
    now_ns = gate.clock.expiry_ns()
    parent = gate.sessions.get(request.parent or "")
    if parent is None:
        raise not_found(f"There is no session {request.parent!r}.", "`comptroller sessions` lists them.")
    lineage = gate.runs.lineage(parent)
    open_children = sum(child.goes_on(now_ns) for child in gate.runs.children(parent.id))
    no = may_open_below(lineage, request.identity, open_children, now_ns, gate.runs.in_tree(parent.top))
    if no is not None:
        raise refused(no)
    wish = _right(child_wish(parent, _wish(request)))
    identity = acting_identity(
        office, request.identity or parent.identity, lineage, wish.tenant, request.opened_with or (), wish.subject
    )
    if request.identity is not None and not request.agreed and parent.identity not in identity.may_act:
        raise refused(_not_agreed(parent, identity))
    if identity.id != parent.identity and identity.id in gate.registry.federation.sandboxes:
        raise refused(_in_a_sandbox(identity))
    above = known_identity(gate.registry, parent.identity)
    if identity.environment != above.environment:
        raise refused(_another_environment(above, identity))
    no = (
        None
        if request.actor is None
        else may_take_part(request.actor, gate.registry.ceiling(identity, identity.profile), wish)
    )
    if no is not None:
        raise refused(no)
    own = parent.profile if request.identity is None else identity.profile
    bounds = _right(child_bounds(lineage, _ceiling(office, identity, own, request), request.bounds))
    ends_ns = last_ns(office, identity, ends_at_ns(lineage, now_ns, bounds.wall_clock_s))
    session_id = gate.clock.new_id("ses")
    return Session(
        id=session_id,
        identity=identity.id,
        credential=gate.clock.new_id(ID_PREFIX),
        opened_at_ns=gate.clock.now_ns(),
        expires_at_ns=ends_ns if request.actor is None else min(ends_ns, request.actor.expires_at_ns),
        minted_by=actor,
        parent=parent.id,
        root=parent.top,
        depth=parent.depth + 1,
        child=f"{parent.name}/~{request.child or session_id[-4:]}" if request.identity is None else None,
        subject=wish.subject,
        tenant=wish.tenant,
        task_type=wish.task_type,
        task=wish.task,
        workflow=wish.workflow,
        profile=request.profile or own,
        bounds=bounds,
        models=wish.models,
        tools=wish.tools,
        opened_with=request.opened_with,
    )


def _wish(request: OpenRequest) -> Wish:
    return Wish(
        bounds=request.bounds,
        models=request.models,
        tools=request.tools,
        subject=request.subject,
        tenant=request.tenant,
        task_type=request.task_type,
        task=request.task,
        workflow=request.workflow,
    )


def _another_environment(above: Identity, identity: Identity) -> Refusal:
    return Refusal(
        code="delegation_forbidden",
        sentence=f"{identity.id} is of {identity.environment}, and {above.id} of {above.environment}: the keys and "
        "policies of one are not for the other.",
        hint=f"Register one for {above.environment}, and open that one here.",
    )


def _in_a_sandbox(identity: Identity) -> Refusal:
    """Whose spend it is there, the subject says; and that is the parent's to say."""
    return Refusal(
        code="delegation_forbidden",
        sentence=f"{identity.id} is a sandbox, and takes part in no run of another identity.",
        hint="Ask for an identity of your own: `comptroller identities request`.",
    )


def _not_agreed(parent: Session, identity: Identity) -> Refusal:
    return Refusal(
        code="delegation_forbidden",
        sentence=f"{identity.id} has not agreed to be a child of {parent.identity}.",
        hint=f"Send its own credential as `actor_token`, or list {parent.identity!r} in its `may_act` (registry.toml).",
    )


def _right(found: T | Refusal) -> T:
    if isinstance(found, Refusal):
        raise refused(found)
    return found


def set_aside(office: Office, session: Session) -> Session:
    """Set what a session that was just opened may spend aside for it. Raises ControlProblem."""
    gate, share = office.gate, session.bounds.usd_nanos or 0
    found = gate.set_aside(session, share)
    if isinstance(found, Session):
        return found
    draw, budget = gate.drawn_above(session), found.budget
    bound = is_session_bound(budget)
    name = f"the session {found.key.instance}" if bound else f"the budget {label(budget.name, found.key.instance)}"
    left = f"{say_amount(max(0, draw.left(found)), budget.unit)} left" if draw.shows(found) else "too little left"
    raise refused(
        Refusal(
            code="session_limit" if bound else "budget_exhausted",
            sentence=f"{format_usd(share)} USD cannot be set aside: {name} has {left}.",
            hint="Ask for a smaller share, or leave out `reserve`: its limit is then a ceiling.",
        )
    )
