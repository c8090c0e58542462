"""Choosing a model: which route takes a call, and which model of its target can have it. Pure, and always the same.

Whoever asks says what can be called: the models behind a target, and trying one of them, which gives what the caller
of this needs to go on, or why it cannot be that one, in words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

from comptroller.core.routing.route import Route
from comptroller.core.routing.routing import Routing

T = TypeVar("T")

_NEVER = 2**62


class Member(msgspec.Struct, frozen=True, gc=False):
    """A model behind a target."""

    name: str
    model_class: str | None
    aside: bool = False  # its provider is not well: it is tried after those that are
    price: int | None = None  # of three tokens of input and one of output; None: nobody knows, and it goes last


class Asking(msgspec.Struct, frozen=True, gc=False):
    """What routes look at in a call, as it was asked."""

    model: str
    model_class: str | None
    task_type: str | None
    left_bp: int
    input_tokens: int
    kept: Collection[str] = ()  # the routes that took the last call of its session for want of budget


class Chosen(msgspec.Struct, Generic[T], frozen=True):
    """The model that a route leads to, and what came of trying it."""

    route: Route
    member: Member
    got: T


class Passed(msgspec.Struct, frozen=True):
    """A route that applies and does not take the call: nothing behind its target can have it, or it is in shadow."""

    route: Route
    why: str  # "" for one in shadow
    to: str = ""  # where one in shadow would have led


def in_order(members: Sequence[Member]) -> Sequence[Member]:
    """Those whose provider is well first, then the cheapest, then by name."""
    return sorted(members, key=lambda each: (each.aside, _NEVER if each.price is None else each.price, each.name))


def first_of(
    routing: Routing, task_type: str | None, members: Sequence[Member], attempt: Callable[[str], T | str]
) -> tuple[Member, T] | str:
    """The first of the models of a target that can have the call and is not below its floor; else why none can."""
    reasons: list[str] = []
    for member in in_order(members):
        if routing.is_below_floor(task_type, member.model_class):
            floor = routing.floor(task_type)
            reasons.append(f"{member.name} is below {floor}, the floor of {task_type}")
            continue
        got = attempt(member.name)
        if not isinstance(got, str):
            return member, got
        reasons.append(got)
    return "; ".join(dict.fromkeys(reasons)) or "no model is behind it"


def choose(
    routing: Routing,
    routes: Sequence[Route],
    asking: Asking,
    behind: Callable[[str], Sequence[Member]],
    attempt: Callable[[str], T | str],
) -> Iterator[Chosen[T] | Passed]:
    """What the routes come to, in their order, up to the first that takes the call: that one is the last.

    `routes`: those that are for such a call. One whose target it has already takes it and changes nothing: then
    nothing more comes.
    """
    for route in routes:
        if not route.when.hold(asking.left_bp, asking.input_tokens, kept=route.name in asking.kept):
            continue
        members = behind(route.to)
        if any(member.name == asking.model for member in members):
            if route.mode == "shadow":
                continue
            return
        found = first_of(routing, asking.task_type, members, attempt)
        if isinstance(found, str):
            yield Passed(route, found)
        elif route.mode == "shadow":
            yield Passed(route, "", found[0].name)
        else:
            yield Chosen(route, *found)
            return
