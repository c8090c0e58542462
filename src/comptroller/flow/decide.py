"""Decide: may this identity make this call, and who would serve it?"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec

from comptroller.core.budget.bounds import Bound
from comptroller.core.identity.identity import may_act
from comptroller.core.instant import NANOS_PER_SECOND, format_instant
from comptroller.core.pricing.estimate import ModelLimits
from comptroller.core.refusal import Refusal
from comptroller.core.registry.registry import Model
from comptroller.core.work.stop import Stop, refusal_of
from comptroller.flow.caller import Caller
from comptroller.flow.circuits import EVERY_MODEL, unavailable
from comptroller.flow.dialect import Dialect
from comptroller.flow.gate import Gate, Provider

NOBODY: AbstractSet[str] = frozenset()
NO_OUTPUT = ModelLimits(max_output_tokens=0)


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Yes: this model by its entry, on this provider, with this standing of its bound."""

    name: str  # of the model, as it is called
    model: Model
    provider: Provider
    bound: Bound

    @property
    def sent_as(self) -> str:
        """What the provider calls the model."""
        return self.model.sent_as(self.provider.name, self.name)


def standing(gate: Gate, caller: Caller) -> Refusal | None:
    """Why this caller may do nothing now, before its body is even read."""
    if gate.draining:
        return Refusal(
            code="draining",
            sentence="The gateway is shutting down and takes no new calls.",
            hint="Send it again in a few seconds.",
            retry_after_s=5,
        )
    session = gate.sessions.get(caller.claims.session)
    if session is None or session.ended_at_ns is not None:
        why = f" by {session.ended_by}: {session.ended_reason}" if session is not None else ""
        return _over(caller, f"was ended{why}")
    stop = gate.stops.applies(caller.stop_keys)
    if stop is not None:
        return refusal_of(stop)
    now_ns = gate.clock.expiry_ns()
    if caller.ends_at_ns == 0:
        return _over(caller, "stands below one that is over")
    if now_ns >= caller.ends_at_ns:
        return _over(caller, f"has run for as long as it may, until {format_instant(caller.ends_at_ns)}")
    for pulse, idle_ns in caller.idles:
        if now_ns - pulse.at_ns >= idle_ns and not pulse.live:
            return _over(caller, f"has been idle for {idle_ns // NANOS_PER_SECOND} s, and that ends it")
    if now_ns < caller.acts_until_ns:
        return None
    registry = caller.registry
    noes = (may_act(identity, registry.answerable_until(identity), now_ns) for identity in caller.identities)
    return next((no for no in noes if no is not None), None)


def _over(caller: Caller, why: str) -> Refusal:
    return Refusal(
        code="session_ended",
        sentence=f"The session {caller.claims.session} {why}.",
        hint=caller.session.way_on,
    )


def decide(
    gate: Gate, dialect: Dialect, caller: Caller, name: str, besides: AbstractSet[str] = NOBODY
) -> Decision | Refusal:
    """The entry of a model and the first provider that serves it for the caller's environment.

    `name`: empty for a request that names no model. `besides`: providers that are not asked (any more).
    """
    if not name:
        return _without_model(gate, dialect, caller, besides)
    model = caller.registry.model(name)
    if model is None:
        return Refusal(
            code="model_unknown",
            sentence=f"No entry of the registry serves the model {name!r}.",
            hint="Check its name, or ask whoever runs the gateway to add it under [models] in registry.toml.",
            param="model",
        )
    if caller.models and not caller.may_use(name):
        return Refusal(
            code="model_forbidden",
            sentence=f"The session {caller.claims.session} may not use the model {name!r}.",
            hint=f"It may use {' and '.join(', '.join(patterns) for patterns in caller.models)}.",
            param="model",
        )
    stop = gate.stops.applies_to_model(name)
    if stop is not None:
        return refusal_of(stop)
    provider = provider_for(gate, dialect.family, caller, model, besides, name)
    if isinstance(provider, Refusal):
        return provider
    key = (provider.name, name, dialect.name)
    return Decision(name, model, provider, gate.bounds.get(key) or Bound(*key))


def places(gate: Gate, dialect: Dialect, caller: Caller) -> tuple[str, ...]:
    """The providers that could keep what is made without a model: those that serve the caller anything in this way."""
    named = dict.fromkeys(name for model in caller.registry.models.values() for name in model.providers)
    entry = _anywhere(dialect, tuple(named))
    return tuple(name for name in named if not isinstance(_only(gate, dialect, caller, entry, name), Refusal))


def _without_model(gate: Gate, dialect: Dialect, caller: Caller, besides: AbstractSet[str]) -> Decision | Refusal:
    entry = _anywhere(dialect, gate.model_providers)
    provider = provider_for(gate, dialect.family, caller, entry, besides, EVERY_MODEL)
    if isinstance(provider, Refusal):
        return provider
    key = (provider.name, "", dialect.name)
    return Decision("", entry, provider, gate.bounds.get(key) or Bound(*key))


def _anywhere(dialect: Dialect, providers: tuple[str, ...]) -> Model:
    """What stands for the entry of a model where none is named."""
    return Model(dialect.name, providers, NO_OUTPUT)


def _only(gate: Gate, dialect: Dialect, caller: Caller, entry: Model, name: str) -> Provider | Refusal:
    return provider_for(gate, dialect.family, caller, entry, gate.providers.keys() - {name})


def provider_for(
    gate: Gate,
    family: str,
    caller: Caller,
    model: Model,
    besides: AbstractSet[str] = NOBODY,
    name: str | None = None,
) -> Provider | Refusal:
    """The first provider of a model that is not stopped, speaks this family and has a key for the environment.

    One that is aside (health.py) is asked if there is no other; one whose circuit is open is not. `name`: of the model
    that is asked for; None: nothing will be asked, and no circuit matters.
    """
    environment, now_ns = caller.identity.environment, gate.clock.expiry_ns()
    reasons: list[str] = []
    stopped: Stop | None = None
    resort: Provider | None = None
    resting: dict[str, int] = {}
    for each in model.providers:
        if each in besides:
            continue
        provider = gate.providers.get(each)
        unfit = _unfit(provider, family, environment)
        if provider is None or unfit is not None:
            reasons.append(f"{each} {unfit}")
        elif (stop := gate.stops.applies_to_provider(each)) is not None:
            stopped = stopped or stop
        elif name is not None and (until_ns := gate.circuits.refused_until(each, name, now_ns)):
            resting[each] = until_ns
        elif gate.health.usable(each, now_ns):
            return provider
        else:
            resort = resort or provider
    if resort is not None:
        return resort
    if resting:
        return unavailable(name or model.pattern, resting, now_ns)
    if stopped is not None:
        return refusal_of(stopped)
    # Who reads this where all were left out named an object (call.py): only one provider has it.
    why = "; ".join(reasons) or "the provider that has what the request names is not among them"
    return Refusal(
        code="provider_unavailable",
        sentence=f"No provider serves {model.pattern!r} for the environment {environment}: {why}.",
        hint="Ask whoever runs the gateway to check [providers] in comptroller.toml.",
    )


def _unfit(provider: Provider | None, family: str, environment: str) -> str | None:
    """Why a provider cannot serve a call as the process is set up."""
    if provider is None:
        return "is not configured"
    if family not in provider.dialects:
        return f"does not speak {family}"
    if provider.environments is not None and environment not in provider.environments:
        return f"has no key for {environment}"
    return "has no usable key" if provider.missing is not None else None
