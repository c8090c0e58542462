"""Where a request has to go, whatever else could serve it: to the provider that has what it names.

A request that makes an object and names no model goes to the only provider that the caller could use for it, or to
the one that it names itself.
"""

from __future__ import annotations

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import BATCH, busy
from comptroller.flow.caller import Caller
from comptroller.flow.decide import places
from comptroller.flow.deferred import is_worked_on
from comptroller.flow.dialect import Dialect
from comptroller.flow.door import CallerRequest
from comptroller.flow.gate import Gate
from comptroller.flow.objects import batch_of, find, going_on

PROVIDER_HEADER = b"x-comptroller-provider"
_MOST_NAMED = 5


class Place(msgspec.Struct, frozen=True, gc=False):
    """The one provider that a request can go to (None: any), and what is asked, with what our records say of it."""

    provider: str | None
    asked: Asked


def find_place(gate: Gate, dialect: Dialect, caller: Caller, request: CallerRequest, asked: Asked) -> Place | Refusal:
    """Whose what it names is, and where that leads. Does not wait."""
    use = asked.stored
    if use is None:
        return Place(None, asked)
    if use.named:
        found = find(gate, caller, dialect.family, use)
        if isinstance(found, Refusal):
            return found
        if use.deletes and is_worked_on(gate, found[0]):
            return busy(use)
        whole = batch_of(caller.registry, use, found[0]) if use.keeps == BATCH else going_on(asked, use, found)
        return whole if isinstance(whole, Refusal) else Place(found[0].provider, whole)
    if asked.model:
        return Place(None, asked)
    provider = _chosen(gate, dialect, caller, request)
    return provider if isinstance(provider, Refusal) else Place(provider, asked)


def _chosen(gate: Gate, dialect: Dialect, caller: Caller, request: CallerRequest) -> str | Refusal | None:
    """The provider that shall keep what is made; None: there is none, and `decide` says why."""
    possible = places(gate, dialect, caller)
    said = [value for name, value in request.headers if name == PROVIDER_HEADER]
    if said:
        named = next((each for each in possible if each.encode() == said[0]), None)
        return named if named is not None and len(said) == 1 else _not_there(possible)
    if len(possible) > 1:
        return _ambiguous(possible)
    return possible[0] if possible else None


def _ambiguous(possible: tuple[str, ...]) -> Refusal:
    return Refusal(
        code="provider_ambiguous",
        sentence=f"This request names no model, and {len(possible)} providers could keep what it makes.",
        hint=f"Name one in the header `x-comptroller-provider`: {_list(possible)}.",
        param="x-comptroller-provider",
    )


def _not_there(possible: tuple[str, ...]) -> Refusal:
    return Refusal(
        code="provider_ambiguous",
        sentence="The header `x-comptroller-provider` names no provider that could keep what this request makes.",
        hint=f"Name one of these: {_list(possible)}." if possible else "There is none for this identity.",
        param="x-comptroller-provider",
    )


def _list(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
