"""What policies may name: the things that the registry knows. A name of nothing is a rule that never binds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase

import msgspec
from cedarpy import pst

from comptroller.core.policy.remedy import Remedy
from comptroller.core.problem import Problem, did_you_mean
from comptroller.core.work.stored import WITHOUT_MODEL

_WORDS = {"ModelClass": "model class", "RiskClass": "risk class"}


class Targets(msgspec.Struct, frozen=True):
    """The names of a registry."""

    organization: str
    teams: frozenset[str]
    owners: frozenset[str]
    identities: frozenset[str]
    models: Mapping[str, str]  # pattern -> class, "" where it has none
    tools: frozenset[str] = frozenset()  # patterns of SERVER/TOOL
    risks: frozenset[str] = frozenset()

    @property
    def classes(self) -> frozenset[str]:
        return frozenset(filter(None, self.models.values()))

    def serves(self, model: str) -> bool:
        """Whether some entry is for a model of this name."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def has_tool(self, tool: str) -> bool:
        """Whether some entry is for a tool of this full name."""
        return any(fnmatchcase(tool, pattern) for pattern in self.tools)

    def has_server(self, server: str) -> bool:
        """Whether some entry can be for tools of this server."""
        return any(fnmatchcase(server, pattern.partition("/")[0]) for pattern in self.tools)

    def members(self, model_class: str) -> list[str]:
        """The models of a class that have a name of their own, and not only a pattern."""
        return sorted(name for name, own in self.models.items() if own == model_class and is_name(name))


def is_name(pattern: str) -> bool:
    """True for the name of one model; False for a pattern."""
    return not {"*", "?"} & set(pattern)


def unknown_names(where: str, policy: pst.Template, targets: Targets) -> Iterator[Problem]:
    """Every name in a policy that the registry does not know."""
    for uid in sorted(pst.entity_uids(policy), key=str):
        kind = str(uid.type)
        if kind == "Model":
            if not targets.serves(uid.id) and uid.id not in WITHOUT_MODEL:
                yield _unknown(where, kind, uid.id, targets.models)
            continue
        if kind == "Tool":
            if not targets.has_tool(uid.id):
                yield _unknown(where, kind, uid.id, targets.tools)
            continue
        if kind == "Server":
            if not targets.has_server(uid.id):
                yield _unknown(where, kind, uid.id, {pattern.partition("/")[0] for pattern in targets.tools})
            continue
        known = _known(kind, targets)
        if known is not None and uid.id not in known:
            yield _unknown(where, kind, uid.id, known)


def unreachable_route(where: str, remedy: Remedy, targets: Targets) -> Iterator[Problem]:
    """What is wrong with a `route:` that leads nowhere, or to two places."""
    target = remedy.value
    if target in targets.classes:
        if target in targets.models:
            yield Problem(where, f"{target!r} is the name of a model and of a class.", "Rename one of them.")
        elif not targets.members(target):
            sentence = f"The class {target!r} has only patterns of models: there is no name to send a call to."
            yield Problem(where, sentence, "Give one of its models an entry of its own in the registry.")
    elif not targets.serves(target):
        known = [*targets.classes, *filter(is_name, targets.models)]
        yield Problem(where, f"There is no model and no class {target!r} to route to.", did_you_mean(target, known))


def _known(kind: str, targets: Targets) -> Collection[str] | None:
    match kind:
        case "Organization":
            return (targets.organization,)
        case "Team":
            return targets.teams
        case "Owner":
            return targets.owners
        case "Identity":
            return targets.identities
        case "ModelClass":
            return targets.classes
        case "RiskClass":
            return targets.risks
        case _:
            return None


def _unknown(where: str, kind: str, name: str, known: Collection[str]) -> Problem:
    word = _WORDS.get(kind, kind.lower())
    return Problem(where, f"There is no {word} {name!r} in the registry.", did_you_mean(name, known))
