"""Who calls: an identity of the registry, by the claims of its credential, and what follows from both."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.core.budget.scope import Attribute, Facts
from comptroller.core.detection.loop_rule import rule_for
from comptroller.core.identity.credential import Claims
from comptroller.core.identity.identity import Identity, acts_until_ns
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.policy.request import Principal
from comptroller.core.registry.registry import Registry
from comptroller.core.routing.route import Route
from comptroller.core.work.delegation import uses
from comptroller.core.work.session import Session
from comptroller.core.work.stop import Acting, stop_keys
from comptroller.flow.chain import Node, node, others, registered
from comptroller.flow.runs import Pulse

_FACTS_KEPT = 100  # names of models come from callers


class Caller:
    """A caller whose credential is good. Remembered between calls, so nothing in it may change or end on its own.

    What a call asks of the whole chain is computed here, once.
    """

    __slots__ = (
        "_facts",
        "_routes",
        "above",
        "acts_until_ns",
        "billed_team",
        "chain",
        "claims",
        "ends_at_ns",
        "identities",
        "identity",
        "idles",
        "lineage",
        "loop_rule",
        "models",
        "names",
        "principal",
        "pulses",
        "registry",
        "session",
        "stop_keys",
        "tools",
    )

    def __init__(
        self,
        claims: Claims,
        registry: Registry,
        lineage: Sequence[Session],
        identities: Sequence[Identity],
        pulses: Sequence[Pulse],
    ) -> None:
        """`lineage`: the acting session, its parent, ..., the root; `identities` and `pulses`: theirs."""
        identity, session = identities[0], lineage[0]
        organization = registry.organization.name
        self.identity = identity
        self.claims = claims
        self.registry = registry  # the version this call is governed by, from beginning to end
        self.session = session  # as it was when the caller was remembered
        self.lineage = tuple(each.id for each in lineage)
        self.names = tuple(each.name for each in lineage)  # the chain, for people
        self.identities = tuple(dict.fromkeys(identities))
        self.pulses = tuple(pulses)
        # What may end by being idle, and after how long.
        self.idles = tuple(
            (pulse, each.bounds.idle_s * NANOS_PER_SECOND)
            for pulse, each in zip(pulses, lineage, strict=True)
            if each.bounds.idle_s is not None
        )
        self.models = tuple(dict.fromkeys(each.models for each in lineage if each.models is not None))
        self.tools = tuple(dict.fromkeys(each.tools for each in lineage if each.tools is not None))
        self.ends_at_ns = min(each.expires_at_ns for each in lineage)
        self.acts_until_ns = min(acts_until_ns(each, registry.answerable_until(each)) for each in self.identities)
        # What budget scopes see of it.
        members = [registered(each) for each in identities]
        self.chain: tuple[Node, ...] = tuple(
            node(organization, of, each) for each, of in zip(lineage, members, strict=True)
        )
        self.loop_rule = rule_for(registry.loops, Facts(self.chain, {}))
        self.above = others(members)
        payer = identities[-1].team if registry.organization.bill_to == "root" else identity.team
        self.billed_team = None if payer == identity.team else payer
        self.stop_keys = stop_keys(
            [
                Acting(each.id, of.id, of.owner, of.team, each.tenant, each.opened_with or (), each.subject)
                for each, of in zip(lineage, identities, strict=True)
            ],
            claims.credential_id,
        )
        self.principal = Principal(identity.id, identity.kind, identity.team, identity.owner, organization)
        self._facts: dict[tuple[str, str], Facts] = {}
        self._routes: dict[tuple[str, str], Sequence[Route]] = {}

    def may_use(self, model: str) -> bool:
        """Whether every session of the chain may use this model, whatever the policies say."""
        return all(uses(patterns, model) for patterns in self.models)

    def may_use_tool(self, tool: str) -> bool:
        """The same for a tool, by its full name."""
        return all(uses(patterns, tool) for patterns in self.tools)

    def at_work(self, now_ns: int) -> None:
        """A call of it begins: none of its sessions is idle."""
        for pulse in self.pulses:
            pulse.at_ns = now_ns
            pulse.live += 1

    def at_rest(self, now_ns: int) -> None:
        """That call has ended."""
        for pulse in self.pulses:
            pulse.at_ns = now_ns
            pulse.live -= 1

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

    def facts_of_tool(self, provider: str, server: str, tool: str) -> Facts:
        """The same of a call to a tool, by its full name."""
        found = self._facts.get((provider, tool))
        if found is None:
            if len(self._facts) >= _FACTS_KEPT:
                self._facts.clear()
            key = (self.identity.id, self.claims.session, provider, tool)
            call: dict[Attribute, str] = {"provider": provider, "server": server, "tool": tool}
            found = self._facts[provider, tool] = Facts(self.chain, call, key)
        return found

    def routes_for(self, provider: str, model: str, model_class: str | None, facts: Facts) -> Sequence[Route]:
        """The routes that are for calls of this caller to this model at this provider, in their order."""
        found = self._routes.get((provider, model))
        if found is None:
            if len(self._routes) >= _FACTS_KEPT:
                self._routes.clear()
            routes = self.registry.routing.routes
            found = tuple(route for route in routes if route.is_for(model, model_class, facts))
            self._routes[provider, model] = found
        return found
