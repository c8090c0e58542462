"""Scopes: which calls a budget is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

Attribute = Literal[
    "organization",
    "team",
    "owner",
    "environment",
    "kind",
    "identity",
    "session",
    "profile",
    "subject",
    "tenant",
    "task",
    "task_type",
    "workflow",
    "provider",
    "model",
    "model_class",
    "server",
    "tool",
]
REGISTERED_ATTRIBUTES: tuple[Attribute, ...] = ("organization", "team", "owner", "environment", "kind", "identity")
DECLARED_ATTRIBUTES: tuple[Attribute, ...] = ("subject", "tenant", "task", "task_type", "workflow")
"""Said at the opening of a session; a node whose session has not said one does not have it."""
SESSION_ATTRIBUTES: tuple[Attribute, ...] = ("session", "profile", *DECLARED_ATTRIBUTES)
"""Which of them a node has, only its session knows. The profiles that there are stand in the registry."""
NODE_ATTRIBUTES = REGISTERED_ATTRIBUTES + SESSION_ATTRIBUTES
CALL_ATTRIBUTES: tuple[Attribute, ...] = ("provider", "model", "model_class", "server", "tool")
"""What a call is to: a model has the first three of them, a tool `provider` and the last two."""
ATTRIBUTES: tuple[Attribute, ...] = NODE_ATTRIBUTES + CALL_ATTRIBUTES

Scope = Mapping[Attribute, tuple[str, ...]]
"""Several attributes: all must match. Several values of one: any of them."""


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What scopes look at: one mapping per node of the chain (the acting session first), and the call's own."""

    chain: tuple[Mapping[Attribute, str], ...]
    call: Mapping[Attribute, str]
    key: tuple[str, ...] = ()  # equal keys mean equal facts, as long as the registry stays; empty: no such promise

    @property
    def called(self) -> str:
        """The model or the tool, as stops name it; "" for what is neither."""
        return self.call.get("model") or self.call.get("tool", "")

    @property
    def sessions(self) -> Sequence[str]:
        """Those of the chain, the acting one first, the root last."""
        return tuple(dict.fromkeys(node["session"] for node in self.chain if "session" in node))

    @property
    def own_sessions(self) -> frozenset[str]:
        """Those of the chain that are the acting identity's own."""
        acting = self.chain[0].get("identity") if self.chain else None
        return frozenset(node["session"] for node in self.chain if "session" in node and node.get("identity") == acting)


def nodes_in_scope(scope: Scope, facts: Facts) -> Sequence[Mapping[Attribute, str]]:
    """The nodes of the chain for which the scope matches. All attributes must match at one and the same node."""
    return [node for node in facts.chain if all(_value(key, node, facts) in wanted for key, wanted in scope.items())]


def instances(per: Attribute | None, scope: Scope, facts: Facts) -> Sequence[str]:
    """The windows' instances that a call draws on: each once, however many nodes match; "" for one pool."""
    matching = nodes_in_scope(scope, facts)
    if per is None:
        return [""] if matching else []
    values = (_value(per, node, facts) for node in matching)
    return list(dict.fromkeys(value for value in values if value is not None))


def _value(key: Attribute, node: Mapping[Attribute, str], facts: Facts) -> str | None:
    return facts.call.get(key) if key in CALL_ATTRIBUTES else node.get(key)
