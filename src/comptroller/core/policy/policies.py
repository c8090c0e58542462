"""The policies in force: one immutable set that decides.

Cedar evaluates. Around it stand the rules that make it safe: what it cannot decide is a deny, and so is every
decision in which a policy could not be evaluated, for Cedar skips a forbid that fails.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property

import msgspec
from cedarpy import Decision, Entities, PolicySet

from comptroller.core.policy.cedar import authorize
from comptroller.core.policy.relevance import Relevance, UnknownConstructError, as_far_as
from comptroller.core.policy.request import (
    STEADY,
    Action,
    Context,
    PolicyRequest,
    Principal,
    Resource,
    cedar_request,
    entities,
    is_well_typed,
)
from comptroller.core.policy.verdict import Policy, Verdict

DECISIONS_KEPT = 4096
_ENTITIES_KEPT = 1024
_SETS_KEPT = 64
_POLICY = re.compile(r"`(policy\d+)`")

NOTHING: frozenset[str] = frozenset()
_SOME_CALL = Context(environment="", risk_tier="", data_classes=())


class Policies:
    """A set of policies that was loaded (load.py). Nothing of it changes but what it remembers."""

    def __init__(self, policies: Sequence[Policy], version: str, *, built_in: bool = False) -> None:
        """Raises ValueError for a text that is no policy; `load_policies` has looked before."""
        self.policies = tuple(policies)
        self.version = version
        self.built_in = built_in  # nothing is installed: the set that ships with the program
        self._whole = _Parsed(self.policies)
        self._parts: dict[frozenset[str], _Parsed] = {NOTHING: self._whole}
        self._relevance = self._whole.relevance
        self._decided: dict[Hashable, Verdict] = {}
        self._entities: dict[tuple[Principal, Resource], Entities] = {}

    @cached_property
    def looked_at(self) -> frozenset[str]:
        """The values of the context that a policy may look at."""
        everything = frozenset(Context.__struct_fields__)
        return everything if self._relevance is None else self._relevance.looked_at & everything

    def asking(self, role: str) -> frozenset[str]:
        """The forbids that an approval of this role lifts."""
        marked = (policy for policy in self.policies if policy.remedy is not None)
        return frozenset(p.id for p in marked if p.remedy and (p.remedy.kind, p.remedy.value) == ("approval", role))

    def decide(self, request: PolicyRequest, suspended: AbstractSet[str] = NOTHING) -> Verdict:
        """The decision, from memory where one that cannot differ was made before.

        `suspended`: ids of forbids that are lifted for this call. Permits are never lifted.
        """
        if self._relevance is None or not is_well_typed(request.context):
            return self.evaluate(request, suspended)
        key = (self._relevance.key(request), suspended and frozenset(suspended))
        known = self._decided.get(key)
        if known is not None:
            return known
        verdict = self.evaluate(request, suspended)
        if not verdict.errors:  # these name values of the one call that they are about
            if len(self._decided) >= DECISIONS_KEPT:
                self._decided.clear()
            self._decided[key] = verdict
        return verdict

    def evaluate(self, request: PolicyRequest, suspended: AbstractSet[str] = NOTHING) -> Verdict:
        """The decision as Cedar makes it now."""
        if not is_well_typed(request.context):
            return Verdict(False, (), ("a value of the context does not have its type",), self.version)
        parsed = self._without(frozenset(suspended))
        try:
            who_and_what = self._entities_of(request.principal, request.resource)
            answer = authorize(cedar_request(request), parsed.set, who_and_what)
        except (ValueError, TypeError) as error:  # a value that is no JSON, or an entity that fits no schema
            return Verdict(False, (), (str(error),), self.version)
        diagnostics = answer.diagnostics
        determining = {parsed.names[name] for name in diagnostics.reasons}
        errors = tuple(_POLICY.sub(lambda found: f"`{parsed.names[found[1]]}`", each) for each in diagnostics.errors)
        if answer.decision is Decision.NoDecision and not errors:
            errors = ("Cedar came to no decision",)
        return Verdict(
            allowed=answer.decision is Decision.Allow and not errors,
            determining=tuple(policy for policy in self.policies if policy.id in determining),
            errors=errors,
            version=self.version,
        )

    def may_ever(self, principal: Principal, resource: Resource, context: Context | None = None) -> bool:
        """Whether some call to this model or tool can be permitted, whatever it asks, costs and when.

        False only where nothing about the call can change it: no permit is about this caller and resource, or a forbid
        is that nothing lifts. `context`: where it is given, conditions that look only at what stays as it is through a
        session (STEADY) are held against it.
        """
        action: Action = "tool.call" if resource.server else "model.call"
        part = self._whoever if context is None else self._in_session
        verdict = part.decide(PolicyRequest(principal, resource, context or _SOME_CALL, action))
        return verdict.allowed or bool(verdict.errors)  # a condition that was left out may keep it from being evaluated

    @cached_property
    def _whoever(self) -> Policies:
        return self._as_far_as(None)

    @cached_property
    def _in_session(self) -> Policies:
        return self._as_far_as(STEADY)

    def _as_far_as(self, known: frozenset[str] | None) -> Policies:
        """The permits with those of their conditions that rest on what is known, and the forbids with no others that
        nothing lifts. None: no condition is looked at.
        """
        found: list[Policy] = []
        for policy in self.policies:
            text, whole = as_far_as(policy.text, known)
            if policy.effect == "permit" or (whole and policy.remedy is None):
                found.append(msgspec.structs.replace(policy, text=text))
        return Policies(found, self.version)

    def _entities_of(self, principal: Principal, resource: Resource) -> Entities:
        key = (principal, resource)
        found = self._entities.get(key)
        if found is None:
            if len(self._entities) >= _ENTITIES_KEPT:
                self._entities.clear()
            found = self._entities[key] = entities(principal, resource)
        return found

    def _without(self, suspended: frozenset[str]) -> _Parsed:
        parsed = self._parts.get(suspended)
        if parsed is None:
            if len(self._parts) >= _SETS_KEPT:
                self._parts = {NOTHING: self._whole}
            left = [p for p in self.policies if p.effect == "permit" or p.id not in suspended]
            parsed = self._parts[suspended] = _Parsed(left)
        return parsed


class _Parsed:
    """Policies as Cedar holds them, and what it calls them."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.set = PolicySet.from_str("\n".join(policy.text for policy in policies))
        written = self.set.to_pst().static_policies
        self.names = {name: policy.annotations["id"] for name, policy in written.items()}
        try:
            self.relevance: Relevance | None = Relevance(written.values())
        except UnknownConstructError:
            self.relevance = None
