"""The chain of a call as budget scopes see it: live, and of a recorded call as it was when that was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comptroller.core.budget.scope import Attribute, Facts
from comptroller.core.identity.identity import Identity
from comptroller.core.registry.registry import Registry
from comptroller.core.work.session import Session
from comptroller.flow.records import CallFacts, Registered

Node = Mapping[Attribute, str]

_REGISTERED: tuple[Attribute, ...] = ("identity", "kind", "owner", "team", "environment")


def registered(identity: Identity) -> Registered:
    """An identity as the registry has it now."""
    return Registered(identity.id, identity.kind, identity.owner, identity.team, identity.environment)


def others(members: Sequence[Registered]) -> tuple[Registered, ...]:
    """Those above the first that are not the same identity, each once: ephemeral children add nobody."""
    return tuple(each for each in dict.fromkeys(members[1:]) if each.identity != members[0].identity)


def chain_of(registry: Registry, lineage: Sequence[Session]) -> tuple[Node, ...]:
    """The nodes of these sessions as the registry has their identities now."""
    members = [registered(known_identity(registry, each.identity)) for each in lineage]
    return tuple(node(registry.organization.name, of, each) for each, of in zip(lineage, members, strict=True))


def known_identity(registry: Registry, identity_id: str) -> Identity:
    """As the registry has it; one that it does not have stands as disabled, whoever answered for it."""
    known = registry.identities.get(identity_id)
    return known or Identity(identity_id, "agent", "", "", "", "experimentation", disabled=True)


def node(organization: str, member: Registered, session: Session) -> Node:
    """One node: whose session it is, and what that was opened for."""
    found = _node(organization, member, session.id)
    found.update(session.declared)
    if session.profile is not None:
        found["profile"] = session.profile
    return found


def recorded(facts: CallFacts, lineage: Sequence[Session]) -> Facts:
    """What scopes saw of a recorded call. `lineage`: its session, that one's parent, ..., as far as they are known."""
    acting = Registered(facts.identity, facts.kind, facts.owner, facts.team, facts.environment)
    known = {each.identity: each for each in (acting, *facts.above)}
    chain = [
        node(facts.organization, known.get(each.identity) or Registered(each.identity), each) for each in lineage
    ] or [_node(facts.organization, acting, facts.session)]
    # Whoever stands above by the record alone: their sessions are not known any more, or nobody asks for them.
    named = {each.identity for each in lineage}
    chain += [_node(facts.organization, each, "") for each in facts.above if each.identity not in named]
    asked: dict[Attribute, str | None] = {
        "provider": facts.provider,
        "model": facts.model,
        "model_class": facts.model_class,
        "server": facts.tool.partition("/")[0] if facts.tool else None,
        "tool": facts.tool,
    }
    return Facts(tuple(chain), {key: value for key, value in asked.items() if value})


def _node(organization: str, member: Registered, session: str) -> dict[Attribute, str]:
    """What was not known is not there: it matches no scope."""
    found: dict[Attribute, str] = {"organization": organization, "session": session}
    found.update(zip(_REGISTERED, msgspec.structs.astuple(member), strict=True))
    return {name: value for name, value in found.items() if value}
