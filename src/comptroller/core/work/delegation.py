"""Delegation: what a session may hand on to a child. A child only ever has less than its parent.

Every rule is a value: what is wrong is a refusal, what is right the child as it will be. Who calls may add to what it
is for (a task of its own), and take away from what it may do; on whose behalf it acts stays as it was said first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from comptroller.core.identity.credential import Actor
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.refusal import Refusal
from comptroller.core.work.bounds import DEEPEST, UNBOUNDED, Bounds, narrowed, say_widened
from comptroller.core.work.session import Session

Patterns = tuple[str, ...] | None
"""Names of models or tools, with * and ?. None: all."""

DELEGATION: Mapping[str, str] = {
    "delegation_forbidden": "the identity is in this chain already, is of another environment, or has not agreed to "
    "stand below this session",
    "delegation_too_deep": "nothing more may be opened below this session",
    "delegation_widened": "it would have more than the session above it",
}
"""The codes of what is refused when a session is opened or changed, and no call ever is."""

MOST_IN_TREE = 10_000
"""Sessions of one tree that are open or were so within the last hour: each of them costs memory."""

FIXED = ("subject", "tenant", "workflow")
"""What a child has from its parent wherever that has said it."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants of a session that is to be opened."""

    bounds: Bounds = UNBOUNDED
    models: Patterns = None
    tools: Patterns = None
    subject: str | None = None
    tenant: str | None = None
    task_type: str | None = None
    task: str | None = None
    workflow: str | None = None


def may_open_below(
    lineage: Sequence[Session], identity: str | None, open_children: int, now_ns: int, in_tree: int = 0
) -> Refusal | None:
    """Why the session at the head of this lineage may have no child now. `identity`: a registered one; None: ephemeral.

    `in_tree`: how many sessions its tree has, with those that were over lately.

    Whether the chain is suspended, and whether the identity agrees, is known to others.
    """
    parent = lineage[0]
    for session in lineage:
        if not session.goes_on(now_ns):
            how = "was ended" if session.ended_at_ns is not None else "has run for as long as it may"
            return Refusal(
                code="session_ended",
                sentence=f"The session {session.id} {how}: nothing can be opened below it.",
                hint="Open a new session.",
            )
    if identity is not None and any(session.identity == identity for session in lineage):
        return Refusal(
            code="delegation_forbidden",
            sentence=f"{identity} is in this chain already: {say_chain(session.name for session in lineage)}.",
            hint="For a sub-agent of its own, leave the identity out: it gets a name below its parent's.",
        )
    if room_below(lineage) < 1:
        return Refusal(
            code="delegation_too_deep",
            sentence=f"The session {parent.id} is at depth {parent.depth}, and nothing may be opened below it.",
            hint="Do the work in this session, or ask whoever runs the gateway for a larger `depth`.",
            limit="session.depth",
        )
    most = parent.bounds.fan_out
    if most is not None and open_children >= most:
        return Refusal(
            code="session_limit",
            sentence=f"The session {parent.id} has {open_children} open children of at most {most}.",
            hint="Close one that is done, or ask whoever runs the gateway for a larger `fan_out`.",
            limit="session.fan_out",
            remaining="0",
            needed="1",
        )
    if in_tree >= MOST_IN_TREE:
        return Refusal(
            code="session_limit",
            sentence=f"The run of {parent.top} has opened {in_tree} sessions that are open or were so within the hour.",
            hint=f"A run has at most {MOST_IN_TREE}: let a child do more than one thing, or open more slowly.",
            limit="session.tree",
            remaining="0",
            needed="1",
        )
    return None


def may_open_another(
    identity: str, kind: str, open_sessions: int, most: int, subject: str | None = None
) -> Refusal | None:
    """Why an identity may have no further session at the top of a run now. `subject`: of whose alone it is asked."""
    if open_sessions < most:
        return None
    has = f"{open_sessions} open sessions of at most {most}"
    return Refusal(
        code="session_limit",
        sentence=f"{identity} has {has}." if subject is None else f"{subject} has {has} in {identity}.",
        hint="Close some that are done (`comptroller sessions --identity` lists them), use one for more calls, or ask "
        f"whoever runs the gateway for a larger `sessions` in [bounds.{kind}].",
        limit="identity.sessions",
        remaining="0",
        needed="1",
    )


def child_bounds(lineage: Sequence[Session], ceiling: Bounds, asked: Bounds) -> Bounds | Refusal:
    """The bounds of a child: what its own kind and profile allow, and never more than its parent has."""
    handed_on = msgspec.structs.replace(lineage[0].bounds, depth=room_below(lineage) - 1)
    within = narrowed(ceiling, handed_on)
    beyond = say_widened(handed_on, asked, lineage[0].id) or say_widened(ceiling, asked, "its kind or profile")
    return _widened(beyond) if beyond else narrowed(within, asked)


def child_wish(parent: Session, wish: Wish) -> Wish | Refusal:
    """What a child is for and may use, with what it has from its parent."""
    for name in FIXED:
        said, wanted = getattr(parent, name), getattr(wish, name)
        if said is not None and wanted not in {None, said}:
            return _widened(f"this one asks for another {name} than its parent, which acts for {said!r}")
    models, tools = handed_on(parent.models, wish.models), handed_on(parent.tools, wish.tools)
    if isinstance(models, Refusal):
        return models
    if isinstance(tools, Refusal):
        return tools
    own_task = wish.task_type is not None
    return Wish(
        bounds=wish.bounds,
        models=models,
        tools=tools,
        subject=wish.subject or parent.subject,
        tenant=wish.tenant or parent.tenant,
        task_type=wish.task_type if own_task else parent.task_type,
        task=wish.task if own_task else parent.task,
        workflow=wish.workflow or parent.workflow,
    )


def may_take_part(actor: Session, ceiling: Bounds, wish: Wish) -> Refusal | None:
    """Why a credential of this session does not show that its identity takes part: the child could do more.

    `ceiling`: what a session of the identity may have; `wish`: what the child will be. The identity as such is shown
    by a session at the top from which nothing was taken; any other speaks for itself alone.
    """
    if actor.parent is not None:
        why = f"stands below {actor.parent}"
    elif actor.models is not None or actor.tools is not None or narrowed(ceiling, actor.bounds) != ceiling:
        why = f"has less than {actor.identity} may have"
    else:
        other = [name for name in FIXED if getattr(actor, name) not in {None, getattr(wish, name)}]
        if not other:
            return None
        why = f"is for another {other[0]}"
    return Refusal(
        code="delegation_forbidden",
        sentence=f"The session of the actor token {why}: its credential speaks for that session alone.",
        hint=f"Send one of a session of {actor.identity} that was opened without such limits, or use `may_act`.",
    )


def handed_on(held: Patterns, asked: Patterns) -> Patterns | Refusal:
    """The patterns that are asked for, if those that are held cover them; all that are held if none is."""
    if held is None or asked is None:
        return held if asked is None else asked
    beyond = [pattern for pattern in asked if not covers(held, pattern)]
    if not beyond:
        return asked
    return _widened(f"this one asks for {', '.join(map(repr, beyond))}, and its parent has {', '.join(held)}")


def covers(held: Iterable[str], pattern: str) -> bool:
    """Whether everything that a pattern matches is matched by one of those that are held."""
    return any(_covers(each, pattern) for each in held)


def uses(held: Patterns, name: str) -> bool:
    """Whether a name is among them."""
    return held is None or any(fnmatchcase(name, each) for each in held)


def ends_at_ns(lineage: Sequence[Session], opened_ns: int, wall_clock_s: int | None) -> int:
    """When a child of this lineage ends: by its own bound, and never after one above it."""
    latest_ns = min(session.expires_at_ns for session in lineage)
    return latest_ns if wall_clock_s is None else min(latest_ns, opened_ns + wall_clock_s * NANOS_PER_SECOND)


def with_ancestors(sessions: Iterable[Session]) -> Mapping[str, Session]:
    """Of these those whose ancestors are all among them, by id, parents first. None ends after one above it."""
    kept: dict[str, Session] = {}
    for session in sorted(sessions, key=lambda each: each.depth):
        if session.parent is None:
            kept[session.id] = session
        elif (parent := kept.get(session.parent)) is not None:
            ends_ns = min(session.expires_at_ns, parent.expires_at_ns)
            kept[session.id] = msgspec.structs.replace(session, expires_at_ns=ends_ns)
    return kept


def actors(lineage: Sequence[Session]) -> Sequence[Actor]:
    """Who acts, who started that one, ..., who began, as credentials name them; nobody for a session at the top."""
    return [Actor(each.identity, each.child) for each in lineage] if len(lineage) > 1 else []


def say_chain(names: Iterable[str]) -> str:
    """A chain as a person reads it: who acts, and above whom it stands."""
    return " <- ".join(names)


def room_below(lineage: Sequence[Session]) -> int:
    """How many generations may stand below the first of it: what each of it allows, less those that stand already."""
    rooms = [each.bounds.depth - below for below, each in enumerate(lineage) if each.bounds.depth is not None]
    return min([DEEPEST - lineage[0].depth, *rooms])


def _covers(wide: str, pattern: str) -> bool:
    """A ? of the wide one stands for one character, and a * of the pattern may stand for none or many."""
    if wide == pattern:
        return True
    return not ("?" in wide and "*" in pattern) and fnmatchcase(pattern, wide)


def _widened(what: str) -> Refusal:
    return Refusal(
        code="delegation_widened",
        sentence=f"A child cannot have more than its parent: {what}.",
        hint="Ask for less, or leave it out: the child then has what its parent has.",
    )
