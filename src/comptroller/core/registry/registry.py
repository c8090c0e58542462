"""The registry as one immutable version: who exists, what they may spend, which models and tools there are, what is
allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal, Protocol, TypeVar

import msgspec

from comptroller.core.approval.role import ApprovalRole
from comptroller.core.budget.budget import Budget
from comptroller.core.budget.retry_budget import RetryRule
from comptroller.core.detection.loop_rule import LoopRule
from comptroller.core.identity.federation import Federation
from comptroller.core.identity.identity import FOREVER_NS, Identity, Organization, Owner, Team
from comptroller.core.policy.load import built_in
from comptroller.core.policy.policies import Policies
from comptroller.core.policy.targets import is_name
from comptroller.core.pricing.book import PriceBook
from comptroller.core.pricing.estimate import ModelLimits
from comptroller.core.rate.rate import Rate
from comptroller.core.registry.contexts import Cap
from comptroller.core.routing.routing import Routing
from comptroller.core.tool.arguments import ArgumentRules
from comptroller.core.tool.entry import ToolEntry
from comptroller.core.work.bounds import SHIPPED, SHIPPED_SESSIONS, Bounds
from comptroller.core.work.context import needs_outline

OutputLimitField = Literal["max_completion_tokens", "max_tokens"]

NO_SESSIONS: Mapping[str, int | None] = MappingProxyType({})
NO_ROLES: Mapping[str, ApprovalRole] = MappingProxyType({})
NO_TOOLS: Mapping[str, ToolEntry] = MappingProxyType({})
NO_PROFILES: Mapping[str, Mapping[str, int | None]] = MappingProxyType({})


class Model(msgspec.Struct, frozen=True):
    """One [models."PATTERN"] entry: who serves it, and what bounds it."""

    pattern: str  # a name, or a pattern with * and ?
    providers: tuple[str, ...]
    limits: ModelLimits
    model_class: str | None = None
    output_limit_field: OutputLimitField | None = None  # None: as the provider says
    visible_output: bool = False  # every billed output token is seen as it comes
    disabled: bool = False
    max_tool_calls: int | None = None  # of the provider's own tools in one call, where the request can limit them
    upstream_model: Mapping[str, str] = msgspec.field(
        default_factory=dict[str, str]
    )  # by provider, where it has another

    def sent_as(self, provider: str, name: str) -> str:
        """What a provider is asked for, where this name was asked for here."""
        return self.upstream_model.get(provider, name)


class Registry:
    """A snapshot that is replaced as a whole by `apply`."""

    def __init__(  # noqa: PLR0913 - a registry is its parts
        self,
        *,
        version: int,
        organization: Organization,
        teams: Mapping[str, Team],
        owners: Mapping[str, Owner],
        identities: Mapping[str, Identity],
        models: Mapping[str, Model],
        prices: PriceBook,
        budgets: tuple[Budget, ...],
        policies: Policies | None = None,  # None: the built-in set
        bounds: Mapping[str, Bounds] = SHIPPED,  # of sessions, by the kind of their identity
        profiles: Mapping[str, Mapping[str, int | None]] = NO_PROFILES,  # the bounds that each of them sets
        sessions: Mapping[str, int | None] = SHIPPED_SESSIONS,  # that an identity of this kind may have open at once
        profile_sessions: Mapping[str, int | None] = NO_SESSIONS,  # the same by profile, where it says so
        rates: tuple[Rate, ...] = (),
        contexts: tuple[Cap, ...] = (),  # in the order of their names
        retries: tuple[RetryRule, ...] = (),
        federation: Federation | None = None,  # None: nobody's tokens are believed
        approvals: Mapping[str, ApprovalRole] = NO_ROLES,  # the roles that have a table
        routing: Routing | None = None,  # None: every call goes to the model that it asks for
        loops: tuple[LoopRule, ...] = (),
        tools: Mapping[str, ToolEntry] = NO_TOOLS,  # by their pattern; what none of them matches is refused
        arguments: ArgumentRules | None = None,  # None: of no tool
    ) -> None:
        self.version = version
        self.organization = organization
        self.teams = teams
        self.owners = owners
        self.identities = identities
        self.models = models
        self.prices = prices
        self.budgets = budgets
        self.rates = rates
        self.contexts = contexts
        self.outlines = any(needs_outline(cap.limits) for cap in contexts)  # whether a cap is about more than sizes
        self.retries = retries
        self.loops = loops
        self.federation = Federation() if federation is None else federation
        self.policies = built_in() if policies is None else policies
        self.bounds = bounds
        self.profiles = profiles
        self.sessions = sessions
        self.profile_sessions = profile_sessions
        self.approvals = approvals
        self.routing = Routing() if routing is None else routing
        self.tools = tools
        self.arguments = ArgumentRules() if arguments is None else arguments
        self._matched: dict[str, Model | None] = {}
        self._matched_tools: dict[str, ToolEntry | None] = {}
        self._members: dict[str, tuple[str, ...]] = {}

    def answerable_until(self, identity: Identity) -> int:
        """Until when somebody answers for the identity: FOREVER_NS while its owner or deputy is enabled, else the
        instant at which the last of them left.
        """
        people = (self.owners.get(name) for name in (identity.owner, identity.deputy) if name is not None)
        return max((_until_ns(person) for person in people if person is not None), default=0)

    def ceiling(self, identity: Identity, profile: str | None) -> Bounds:
        """The widest bounds that a session of this identity may have; a profile stands over its kind."""
        return msgspec.structs.replace(self.bounds[identity.kind], **self.profiles.get(profile or "", {}))

    def most_sessions(self, identity: Identity) -> int | None:
        """How many sessions at the top of a run an identity may have open at once; None: any number."""
        return self.profile_sessions.get(identity.profile or "", self.sessions[identity.kind])

    def model(self, name: str) -> Model | None:
        """The entry that serves a model name: an exact name, else the longest matching pattern.

        A disabled entry serves nothing, and hides nothing: the file that left it out is read the same way.
        """
        if name not in self._matched:
            if len(self._matched) > 10_000:  # names come from callers
                self._matched.clear()
            self._matched[name] = _match(self.models, name)
        return self._matched[name]

    def tool(self, name: str) -> ToolEntry | None:
        """The entry of a tool by its full name, SERVER/TOOL; found as a model's is."""
        if name not in self._matched_tools:
            if len(self._matched_tools) > 10_000:
                self._matched_tools.clear()
            self._matched_tools[name] = _match(self.tools, name)
        return self._matched_tools[name]

    def members(self, model_class: str) -> tuple[str, ...]:
        """The models of a class that have a name of their own, and not only a pattern. Not for what callers say."""
        found = self._members.get(model_class)
        if found is None:
            entries = (m for m in self.models.values() if m.model_class == model_class and not m.disabled)
            found = tuple(sorted(entry.pattern for entry in entries if is_name(entry.pattern)))
            self._members[model_class] = found
        return found


class _Entry(Protocol):
    @property
    def pattern(self) -> str: ...
    @property
    def disabled(self) -> bool: ...


_E = TypeVar("_E", bound=_Entry)


def _match(entries: Mapping[str, _E], name: str) -> _E | None:
    exact = entries.get(name)
    if exact is not None and not exact.disabled:
        return exact
    matching = [entry for entry in entries.values() if not entry.disabled and fnmatchcase(name, entry.pattern)]
    return max(matching, key=lambda entry: len(entry.pattern), default=None)


def _until_ns(owner: Owner) -> int:
    return owner.disabled_at_ns if owner.disabled else FOREVER_NS
