"""Fit: what a request carries is kept within the context caps that are for it. Too much is refused, or trimmed.

Caps are looked at as soon as a request has been read, before anything is held or anybody waits. A trimmed request is
read again by its dialect, so that hold, record and provider see the same one. Once more they are looked at when it is
known which model is called (`over_a_cap`), for a policy may have chosen another one; then they only refuse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec

from comptroller.core.budget.scope import nodes_in_scope
from comptroller.core.effect import Effect
from comptroller.core.pricing.estimate import Asked
from comptroller.core.pricing.input_counts import Count, expected, in_all
from comptroller.core.refusal import Refusal
from comptroller.core.registry.contexts import Cap
from comptroller.core.work.context import TRIMMABLE, Carried, Excess, excesses, refused, said
from comptroller.core.work.outline import Outline
from comptroller.core.work.stored import CONVERSATION, RESPONSE
from comptroller.flow.caller import Caller
from comptroller.flow.dialect import DialectRequest
from comptroller.flow.gate import Gate
from comptroller.flow.incoming import IncomingCall, outlined
from comptroller.flow.permit import Permit
from comptroller.flow.place import find_place
from comptroller.flow.tool_calls import limited
from comptroller.flow.trim import Trimmable, Trimmed, trim


async def fit(gate: Gate, call: IncomingCall) -> IncomingCall | Refusal:
    """The call as it goes on: as it came, or trimmed; or why it does not."""
    registry = call.caller.registry
    if not registry.contexts or call.asked.free or call.asked.tool is not None:
        return call
    if registry.outlines:
        await outlined(call)
    for cap in _caps_for(call.caller, call.asked.model):
        fitted = await _within(gate, call, cap)
        if isinstance(fitted, Refusal):
            return fitted
        call = fitted
    return call


def over_a_cap(gate: Gate, caller: Caller, asked: Asked, permit: Permit, call: IncomingCall | None) -> Refusal | None:
    """Why a request of this size may not go to the model that it is permitted for; None: it may. Changes nothing.

    `call`: None where somebody only asks, and nobody has made a request: what only one could tell is no reason for a no
    then, and neither is what trimming can mend.
    """
    if asked.free or asked.tool is not None:
        return None
    for cap in _caps_for(caller, permit.weighed.decision.name):
        if cap.mode == "shadow":
            continue
        carried = _planned(gate, caller, asked) if call is None else _measured(gate, call)
        for excess in excesses(cap.limits, carried):
            if call is not None or cap.action == "refuse" or excess.measure not in TRIMMABLE:
                return refused(cap.name, excess, carried)
    return None


def _caps_for(caller: Caller, model: str) -> Iterator[Cap]:
    """The caps that are for a request of this caller, in the order of their names."""
    name = caller.registry.routing.target(model)
    entry = caller.registry.model(name)
    facts = caller.facts("", name, name if entry is None else entry.model_class)  # an alias may be of a class
    return (cap for cap in caller.registry.contexts if nodes_in_scope(cap.scope, facts))


def _planned(gate: Gate, caller: Caller, asked: Asked) -> Carried:
    """What a request would carry that somebody only plans: its text is said in tokens, and not in bytes."""
    return _sized(caller, asked, gate.inputs.of(caller.session.id).in_tokens(), None, None)


def _carried(gate: Gate, caller: Caller, asked: Asked, body_bytes: int, outline: Outline | None) -> Carried:
    return _sized(caller, asked, gate.inputs.of(caller.session.id), body_bytes, outline)


def _sized(caller: Caller, asked: Asked, count: Count, body_bytes: int | None, outline: Outline | None) -> Carried:
    entry = caller.registry.model(asked.model)
    tokens = expected(asked, None if entry is None else entry.limits, count)
    return Carried(
        tokens=tokens,
        growth=None if tokens is None or count.most is None else tokens - count.most,
        session=None if tokens is None else count.total + in_all(asked, count),
        bytes=body_bytes,
        images=asked.images,
        unknown=asked.beyond,
        outline=outline,
    )


async def _within(gate: Gate, call: IncomingCall, cap: Cap) -> IncomingCall | Refusal:
    """The call within one cap."""
    carried = _measured(gate, call)
    found = list(excesses(cap.limits, carried))
    if not found:
        return call
    if cap.mode == "shadow":
        return _with_effect(call, Effect("shadowed", cap.name, f"{cap.action}: {said(found)}"))
    if cap.action == "refuse" or TRIMMABLE.isdisjoint(excess.measure for excess in found):
        return refused(cap.name, found[0], carried)
    return await _trimmed(gate, call, cap, found, carried)


def _measured(gate: Gate, call: IncomingCall) -> Carried:
    outline = call.outline if call.caller.registry.outlines else None
    return _carried(gate, call.caller, call.asked, len(call.body), outline)


async def _trimmed(
    gate: Gate, call: IncomingCall, cap: Cap, found: list[Excess], carried: Carried
) -> IncomingCall | Refusal:
    """The call with as much left out as the cap wants; where that is not enough, its refusal says why."""
    first = next(excess for excess in found if excess.measure in TRIMMABLE)
    stored = call.asked.stored
    if stored is not None and any(each.kind in {RESPONSE, CONVERSATION} and each.context for each in stored.named):
        return refused(cap.name, first, carried, "What is stored at the provider cannot be trimmed.")
    if not isinstance(call.request, Trimmable):
        return refused(cap.name, first, carried, "Requests of this API are not trimmed.")

    outlines = call.caller.registry.outlines

    def read(body: bytes) -> DialectRequest | Refusal:
        return call.dialect.read_request(body, call.sender.head)

    def fits(request: Trimmable, body: bytes) -> bool:
        # What our records say of files that it names is not looked up here: they all count.
        asked = msgspec.structs.replace(request.asked, earlier=call.asked.earlier)
        outline = request.outline(len(body)) if outlines else None
        left = excesses(cap.limits, _carried(gate, call.caller, asked, len(body), outline))
        return all(excess.measure not in TRIMMABLE for excess in left)

    done = await asyncio.to_thread(trim, call.request, cap, read, fits)
    if isinstance(done, str):
        return refused(cap.name, first, carried, done)
    fitted = await read_again(gate, call, cap.name, done)
    if isinstance(fitted, Refusal):
        return fitted
    carried = _measured(gate, fitted)
    left = next(excesses(cap.limits, carried), None)
    return fitted if left is None else refused(cap.name, left, carried, "It was trimmed, and that was not enough.")


async def read_again(gate: Gate, call: IncomingCall, rule: str, done: Trimmed) -> IncomingCall | Refusal:
    """The call as if it had come so, with what a rule left out of it."""
    request = limited(call.caller.registry, done.request)
    if isinstance(request, Refusal):
        return request
    place = find_place(gate, call.dialect, call.caller, call.sender, request.asked)
    if isinstance(place, Refusal):
        return place
    fitted = msgspec.structs.replace(call, request=request, body=done.body, asked=place.asked, provider=place.provider)
    if call.caller.registry.outlines:
        await outlined(fitted)
    return _with_effect(fitted, Effect("trimmed", rule, done.detail))


def _with_effect(call: IncomingCall, effect: Effect) -> IncomingCall:
    """The same call, its outline with it, if somebody has made one."""
    other = msgspec.structs.replace(call, effects=(*call.effects, effect))
    known = vars(call).get("outline")
    if known is not None:
        vars(other)["outline"] = known
    return other
