"""Stops: what a person (suspend) or a rule (quarantine) has stopped, what a stop matches, and what a caller is told.

A stop is in force from the moment it is made until somebody lifts it: it has no end of its own, and nothing that
is remembered about a caller outlives it. Of several stops that match, the caller is told the one that is most about
it, in the order of `StopScope`: its credential before its session, its own session before the one that started it,
its identity before its team, everything last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase, translate
from shlex import quote
from typing import Literal, get_args

import msgspec

from comptroller.core.identity.admin import BOOTSTRAP
from comptroller.core.instant import format_instant
from comptroller.core.refusal import Refusal

StopScope = Literal[
    "credential", "session", "identity", "owner", "team", "subject", "tenant", "model", "provider", "everything"
]
STOP_SCOPES: tuple[StopScope, ...] = get_args(StopScope)
StopKind = Literal["suspend", "quarantine"]  # a person's, a rule's

StopKey = tuple[StopScope, str]
"""What is stopped: its scope and its name there; of everything, no name."""

EVERYTHING: StopKey = ("everything", "")
_MODELS_KEPT = 10_000  # names of models come from callers

_CODES: Mapping[StopScope, str] = {
    "credential": "credential_suspended",
    "session": "session_suspended",
    "identity": "identity_suspended",
    "owner": "identity_suspended",
    "team": "identity_suspended",
    "subject": "identity_suspended",
    "tenant": "identity_suspended",
    "model": "model_suspended",
    "provider": "model_suspended",
    "everything": "gateway_suspended",
}
_DONE: Mapping[StopKind, str] = {"suspend": "suspended", "quarantine": "quarantined"}


class Stop(msgspec.Struct, frozen=True, gc=False):
    """One stop, with who made it and why, and who lifted it and why."""

    id: str
    scope: StopScope
    value: str  # "" for everything; of a model its name, or a pattern with * and ?
    kind: StopKind
    at_ns: int
    actor: str  # a person, or the rule
    reason: str
    lifted_at_ns: int | None = None
    lifted_by: str | None = None
    lifted_reason: str | None = None

    @property
    def key(self) -> StopKey:
        return self.scope, self.value

    @property
    def name(self) -> str:
        """As `comptroller suspend` and `resume` take it: `team search`, `everything`."""
        return f"{self.scope} {self.value}".rstrip()

    @property
    def sentence(self) -> str:
        """What is stopped, by whom, when and why."""
        what = "Everything" if self.scope == "everything" else f"The {self.name}"
        why = self.reason.rstrip(".")
        return f"{what} was {_DONE[self.kind]} by {self.actor} at {format_instant(self.at_ns)}: {why}."

    @property
    def hint(self) -> str:
        """Whom to ask, and how it is lifted."""
        named = self.kind == "suspend" and self.actor != BOOTSTRAP
        whom = self.actor if named else "whoever runs the gateway"
        value = f" {quote(self.value)}" if self.value else ""
        return f"Ask {whom}; an operator lifts it with `comptroller resume {self.scope}{value} --reason ...`."

    def matches_model(self, name: str) -> bool:
        """Whether a model that is called by this name is stopped."""
        return self.scope == "model" and (self.value == name or (_wild(self.value) and fnmatchcase(name, self.value)))

    def matches_call(self, keys: Sequence[StopKey], provider: str, model: str) -> bool:
        """Whether a call to this model, by whoever has these keys (`stop_keys`), is stopped."""
        return self.key in keys or (self.scope == "provider" and self.value == provider) or self.matches_model(model)


class Acting(msgspec.Struct, frozen=True, gc=False):
    """One node of a chain as stops see it: the acting session, the one that started it, and so on up to the root."""

    session: str | None  # None: about to be opened
    identity: str
    owner: str
    team: str
    tenant: str | None = None
    opened_with: Sequence[str] = ()  # ids of credentials
    subject: str | None = None


def stop_keys(chain: Sequence[Acting], credential: str | None = None) -> tuple[StopKey, ...]:
    """Everything by whose stop this caller is stopped, the one it would be told first. `chain`: the acting node first.

    A stop of an ancestor stops all that it started. A stop of a credential stops all that was opened with it, and below
    that: whoever has found a leaked key may have opened it. What its session had opened with another one goes on.
    """
    keys: list[StopKey] = []
    if credential is not None:
        keys.append(("credential", credential))
    keys.extend(("credential", each) for node in chain for each in node.opened_with)
    keys.extend(("session", node.session) for node in chain if node.session is not None)
    keys.extend(("identity", node.identity) for node in chain)
    keys.extend(("owner", node.owner) for node in chain)
    keys.extend(("team", node.team) for node in chain)
    keys.extend(("subject", node.subject) for node in chain if node.subject is not None)
    keys.extend(("tenant", node.tenant) for node in chain if node.tenant is not None)
    return tuple(dict.fromkeys((*keys, EVERYTHING)))


class Stops:
    """All stops in force, as one value: whoever changes them puts another one in its place.

    What a question costs depends on the length of a chain, and not on how many stops there are.
    """

    __slots__ = ("_any_pattern", "_by_key", "_models", "_patterns")

    def __init__(self, in_force: Iterable[Stop] = ()) -> None:
        self._by_key = {stop.key: stop for stop in in_force}
        patterns = [stop for stop in self._by_key.values() if stop.scope == "model" and _wild(stop.value)]
        self._patterns = sorted(patterns, key=lambda stop: len(stop.value), reverse=True)  # the closest first
        self._any_pattern = re.compile("|".join(translate(stop.value) for stop in self._patterns) or r"(?!)")
        self._models: dict[str, Stop | None] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def in_force(self) -> Sequence[Stop]:
        """The oldest first."""
        return tuple(self._by_key.values())

    def of(self, key: StopKey) -> Stop | None:
        """The stop of exactly this."""
        return self._by_key.get(key)

    def applies(self, keys: Sequence[StopKey]) -> Stop | None:
        """The stop that a caller with these keys is told; None: it may act."""
        if not self._by_key:
            return None
        for key in keys:
            stop = self._by_key.get(key)
            if stop is not None:
                return stop
        return None

    def applies_to_model(self, name: str) -> Stop | None:
        """The stop of a model that is called by this name: of the name itself, else of the longest pattern."""
        if not self._by_key:
            return None
        if name not in self._models:
            if len(self._models) >= _MODELS_KEPT:
                self._models.clear()
            self._models[name] = self._by_key.get(("model", name)) or self._by_pattern(name)
        return self._models[name]

    def applies_to_provider(self, name: str) -> Stop | None:
        return self._by_key.get(("provider", name)) if self._by_key else None

    def _by_pattern(self, name: str) -> Stop | None:
        if self._any_pattern.match(name) is None:  # one look for all of them: hardly any name is stopped
            return None
        return next(stop for stop in self._patterns if stop.matches_model(name))

    def with_stop(self, stop: Stop) -> Stops:
        """These, and this one."""
        return Stops((*self._by_key.values(), stop))

    def without(self, stop: Stop) -> Stops:
        """These, but not this one."""
        return Stops(each for each in self._by_key.values() if each.id != stop.id)


def refusal_of(stop: Stop, *, in_flight: bool = False) -> Refusal:
    """What a caller is told whose call is stopped, before it began or while it ran."""
    if not in_flight:
        return Refusal(code=_CODES[stop.scope], sentence=stop.sentence, hint=stop.hint)
    sentence = f"This call was stopped in flight. {stop.sentence}"
    return Refusal(code=_CODES[stop.scope], sentence=sentence, hint=f"What it cost until then is charged. {stop.hint}")


def _wild(value: str) -> bool:
    return "*" in value or "?" in value
