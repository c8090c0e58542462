"""Models: which ones a caller can reach. A list is free: nothing is held, sent or recorded for it.

A model that policies permit only sometimes is listed; one that they never permit to this caller is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from comptroller.core.policy.request import Resource
from comptroller.core.pricing.estimate import ModelLimits
from comptroller.core.refusal import Refusal
from comptroller.flow.caller import Caller
from comptroller.flow.decide import provider_for, standing
from comptroller.flow.gate import Gate
from comptroller.flow.identify import identify

_WILD = frozenset("*?[")


@dataclass(frozen=True)
class Reachable:
    """A model as a caller may name it, and who would serve it."""

    name: str
    provider: str
    limits: ModelLimits


def reachable_models(gate: Gate, family: str, credentials: Sequence[str]) -> list[Reachable] | Refusal:
    """Every model and alias that the registry names and this caller can reach through APIs of this family.

    A pattern of the registry names no model; what it matches is found by its name.
    """
    caller = _caller(gate, credentials)
    return caller if isinstance(caller, Refusal) else reachable_by(gate, family, caller)


def reachable_by(gate: Gate, family: str, caller: Caller, *, patterns: bool = False) -> list[Reachable]:
    """The same for somebody who is known. `patterns`: those of the registry, too, each as if it were a name."""
    registry = caller.registry
    named = (name for name in registry.models if patterns or not _WILD.intersection(name))
    names = sorted({*registry.routing.aliases, *named})
    found = (_reachable(gate, family, caller, name) for name in names)
    return [each for each in found if each is not None]


def reachable_model(gate: Gate, family: str, credentials: Sequence[str], name: str) -> Reachable | Refusal:
    """One model by its name."""
    caller = _caller(gate, credentials)
    if isinstance(caller, Refusal):
        return caller
    found = _reachable(gate, family, caller, name)
    return found if found is not None else _unknown(name)


def _caller(gate: Gate, credentials: Sequence[str]) -> Caller | Refusal:
    caller = identify(gate, credentials)
    return caller if isinstance(caller, Refusal) else standing(gate, caller) or caller


def _reachable(gate: Gate, family: str, caller: Caller, name: str) -> Reachable | None:
    """A model; of an alias the first one behind it, under the name of the alias."""
    registry = caller.registry
    target = registry.routing.aliases.get(name)
    if target is None:
        return _reachable_model(gate, family, caller, name)
    found = (_reachable_model(gate, family, caller, each) for each in registry.members(target) or (target,))
    first = next((each for each in found if each is not None), None)
    return None if first is None else replace(first, name=name)


def _reachable_model(gate: Gate, family: str, caller: Caller, name: str) -> Reachable | None:
    model = caller.registry.model(name)
    if model is None or not caller.may_use(name) or gate.stops.applies_to_model(name) is not None:
        return None
    provider = provider_for(gate, family, caller, model)
    if isinstance(provider, Refusal):
        return None
    if not _may_ever(gate, caller, Resource(name, model.model_class or "")):
        return None
    return Reachable(name, provider.name, model.limits)


def _may_ever(gate: Gate, caller: Caller, resource: Resource) -> bool:
    """Whether some call of it would be let through, by the policies or by a grant of break-glass that is in force."""
    if caller.registry.policies.may_ever(caller.principal, resource):
        return True
    return any(True for _ in gate.broken.applying(caller.stop_keys, gate.clock.now_ns()))


def _unknown(name: str) -> Refusal:
    return Refusal(
        code="model_unknown",
        sentence=f"There is no model {name[:200]!r} that you can reach through this API.",
        hint="List the models to see which there are.",
    )
