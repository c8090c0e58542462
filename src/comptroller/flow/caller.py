"""Who calls: an identity of the registry, by the claims of its credential, and what follows from both."""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.budget.scope import Attribute, Facts
from comptroller.core.identity.credential import Claims
from comptroller.core.identity.identity import Identity, acts_until_ns
from comptroller.core.policy.request import Principal
from comptroller.core.registry.registry import Registry
from comptroller.core.work.stop import Acting, stop_keys

_FACTS_KEPT = 100  # names of models come from callers


class Caller:
    """A caller whose credential is good. Remembered between calls, so nothing in it may change or end on its own."""

    __slots__ = ("_facts", "acts_until_ns", "chain", "claims", "identity", "principal", "registry", "stop_keys")

    def __init__(self, identity: Identity, claims: Claims, registry: Registry) -> None:
        organization = registry.organization.name
        node: Mapping[Attribute, str] = {
            "organization": organization,
            "team": identity.team,
            "owner": identity.owner,
            "environment": identity.environment,
            "kind": identity.kind,
            "identity": identity.id,
            "session": claims.session,
        }
        self.identity = identity
        self.claims = claims
        self.registry = registry  # the version this call is governed by, from beginning to end
        self.acts_until_ns = acts_until_ns(identity, registry.answerable_until(identity))
        self.chain = (node,)  # what budget scopes see of it
        acting = Acting(claims.session, identity.id, identity.owner, identity.team)
        self.stop_keys = stop_keys((acting,), claims.credential_id)
        self.principal = Principal(identity.id, identity.kind, identity.team, identity.owner, organization)
        self._facts: dict[tuple[str, str], Facts] = {}

    def facts(self, provider: str, model: str, model_class: str | None) -> Facts:
        """What budget scopes see of a call of this caller. A registry has one class for each name of a model."""
        found = self._facts.get((provider, model))
        if found is None:
            call: dict[Attribute, str] = {"provider": provider, "model": model}
            if model_class is not None:
                call["model_class"] = model_class
            if len(self._facts) >= _FACTS_KEPT:
                self._facts.clear()
            key = (self.identity.id, self.claims.session, provider, model)
            found = self._facts[provider, model] = Facts(self.chain, call, key)
        return found
