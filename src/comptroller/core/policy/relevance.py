"""What of a request can change a decision: the ground of the decision cache.

The parsed policies are read once. A whole number that they only compare with literals counts by the interval it
falls in; a name that they never mention counts as "some other"; what they do not look at does not count. Whatever
is used in a way that is not understood here counts as it is, and a construct that is not known turns caching off.
A property test holds cached decisions against evaluated ones.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Set
from dataclasses import replace
from operator import attrgetter
from typing import Any

from cedarpy import PolicySet, pst

from comptroller.core.policy.request import LONGS, Context, PolicyRequest, Principal, Resource

_MIRRORED: dict[str, str] = {
    "less": "greater",
    "less_eq": "greater_eq",
    "greater": "less",
    "greater_eq": "less_eq",
    "eq": "eq",
    "not_eq": "not_eq",
}
_MEMBERSHIP = frozenset({"eq", "not_eq", "in"})
_SCOPES = frozenset({pst.ScopeAny, pst.ScopeEq, pst.ScopeIn, pst.ScopeIs, pst.ScopeIsIn})


class UnknownConstructError(Exception):
    """The policies hold something that this reading does not know."""


class Relevance:
    """Which parts of a request the policies look at, and how closely."""

    def __init__(self, policies: Iterable[pst.Template]) -> None:
        """Raises UnknownConstructError."""
        reading = _Reading()
        for policy in policies:
            reading.read(policy)
        named = reading.named
        self._teams = named.get("Team", frozenset[str]())
        self._owners = named.get("Owner", frozenset[str]())
        self._organizations = named.get("Organization", frozenset[str]())
        self._identities = named.get("Identity", frozenset[str]())
        self._models = named.get("Model", frozenset[str]())
        self._classes = named.get("ModelClass", frozenset[str]())
        self._tools = named.get("Tool", frozenset[str]())
        self._servers = named.get("Server", frozenset[str]())
        self._risks = named.get("RiskClass", frozenset[str]())
        self._whole = reading.whole
        self._attributes = reading.attributes
        self.looked_at = frozenset(Context.__struct_fields__ if "context" in reading.whole else reading.looked_at)
        exact = reading.exact
        cuts = {name: sorted(cuts) for name, cuts in sorted(reading.cuts.items()) if name not in exact}
        self._cuts = tuple(cuts.values())
        self._cut_values = _values_of(cuts)
        self._exact_values = _values_of(sorted(exact))

    def key(self, request: PolicyRequest) -> Hashable:
        """Requests with the same key get the same decision."""
        context = request.context
        return (
            request.action,
            request.principal if "principal" in self._whole else self._principal(request.principal),
            request.resource if "resource" in self._whole else self._resource(request.resource),
            context
            if "context" in self._whole
            else (tuple(map(bisect_right, self._cuts, self._cut_values(context))), self._exact_values(context)),
        )

    def _principal(self, principal: Principal) -> Hashable:
        attributes = self._attributes
        return (
            principal.team if principal.team in self._teams else None,
            principal.owner if principal.owner in self._owners else None,
            principal.organization if principal.organization in self._organizations else None,
            principal.name if ("principal", "name") in attributes or principal.name in self._identities else None,
            principal.kind if ("principal", "kind") in attributes else None,
        )

    def _resource(self, resource: Resource) -> Hashable:
        if resource.server:
            return self._tool(resource)
        return (
            resource.model_class if resource.model_class in self._classes else None,
            resource.name if ("resource", "name") in self._attributes or resource.name in self._models else None,
        )

    def _tool(self, tool: Resource) -> Hashable:
        attributes = self._attributes
        return (
            "tool",
            tool.server if ("resource", "server") in attributes or tool.server in self._servers else None,
            tool.name if ("resource", "name") in attributes or tool.name in self._tools else None,
            tuple(risk for risk in tool.risks if risk in self._risks),
        )


def _values_of(names: Iterable[str]) -> Callable[[Context], tuple[Any, ...]]:
    """Reads these values of a context, as a tuple also where there are fewer than two."""
    several = tuple(names)
    if len(several) > 1:
        return attrgetter(*several)
    return lambda context: tuple(getattr(context, name) for name in several)


def mentioned(policy: pst.Template) -> frozenset[str]:
    """The values of the context that a policy names. Raises UnknownConstructError."""
    reading = _Reading()
    reading.read(policy)
    return reading.looked_at | reading.tested


def as_far_as(text: str, known: Set[str] | None) -> tuple[str, bool]:
    """A policy with those of its conditions that rest on these values of the context; whether that is all of them."""
    written = PolicySet.from_str(text).to_pst()
    ((name, policy),) = written.static_policies.items()
    kept = tuple(clause for clause in policy.clauses if _rests_on(replace(policy, clauses=(clause,)), known))
    part = replace(written, static_policies={name: replace(policy, clauses=kept)})
    return str(PolicySet.from_pst(part)), len(kept) == len(policy.clauses)


def _rests_on(policy: pst.Template, known: Set[str] | None) -> bool:
    if known is None:
        return False
    reading = _Reading()
    try:
        reading.read(policy)
    except UnknownConstructError:
        return False
    return "context" not in reading.whole and reading.looked_at <= known


class _Reading:
    """One walk through the policies."""

    def __init__(self) -> None:
        self.cuts: dict[str, set[int]] = {}
        self.exact: set[str] = set()
        self.tested: set[str] = set()  # `context has x`: it always has, so the value does not count
        self.whole: set[str] = set()  # of principal, resource, context: compared as a whole, or passed about
        self.attributes: set[tuple[str, str]] = set()
        self.named: dict[str, frozenset[str]] = {}

    @property
    def looked_at(self) -> frozenset[str]:
        """The values of the context whose value counts."""
        return frozenset(self.exact | self.cuts.keys())

    def read(self, policy: pst.Template) -> None:
        for constraint in (policy.principal, policy.resource):
            if type(constraint) not in _SCOPES:
                raise UnknownConstructError(type(constraint).__name__)
            if isinstance(constraint, pst.ScopeEq | pst.ScopeIn | pst.ScopeIsIn):
                if isinstance(constraint.entity, pst.Slot):
                    raise UnknownConstructError("a slot")
                self._name(constraint.entity)
        for clause in policy.clauses:
            self._walk(clause.expr)

    def _walk(self, expr: pst.Expr) -> None:
        match expr:
            case pst.BoolLit() | pst.LongLit() | pst.StringLit() | pst.Var(name="action"):
                pass
            case pst.BinaryOp() if self._comparison(expr) or self._membership(expr):
                pass
            case pst.Is(base=pst.Var(), in_expr=None):
                pass  # a principal has one type, and a resource the one of its action, which is in the key
            case pst.GetAttr(base=pst.Var(name="context"), attr=attr):
                self.exact.add(attr)
            case pst.HasAttr(base=pst.Var(name="context"), attrs=attrs):
                self.tested.update(attrs)
            case pst.GetAttr(base=pst.Var(name=name), attr=attr):
                self.attributes.add((name, attr))
            case pst.Var(name=name):
                self.whole.add(name)
            case pst.EntityLit():
                self.whole |= {"principal", "resource"}  # what it belongs to depends on who asks
            case _:
                self._walk_inside(expr)

    def _walk_inside(self, expr: pst.Expr) -> None:
        inside: tuple[pst.Expr, ...]
        match expr:
            case pst.BinaryOp(left=left, right=right):
                inside = (left, right)
            case pst.UnaryOp(arg=arg):
                inside = (arg,)
            case pst.GetAttr(base=base) | pst.HasAttr(base=base) | pst.Like(base=base):
                inside = (base,)
            case pst.Is(base=base, in_expr=in_expr):
                inside = (base,) if in_expr is None else (base, in_expr)
            case pst.IfThenElse(cond=cond, then_expr=then_expr, else_expr=else_expr):
                inside = (cond, then_expr, else_expr)
            case pst.Set(elements=elements):
                inside = elements
            case pst.Record(fields=fields):
                inside = tuple(fields.values())
            case _:
                raise UnknownConstructError(type(expr).__name__)
        for one in inside:
            self._walk(one)

    def _comparison(self, expr: pst.BinaryOp) -> bool:
        """Whether a whole number of the context is compared with a literal; its cut points are noted."""
        op: str = expr.op
        if op not in _MIRRORED:
            return False
        left, right = expr.left, expr.right
        if isinstance(left, pst.LongLit):
            left, right, op = right, left, _MIRRORED[op]
        match left, right:
            case pst.GetAttr(base=pst.Var(name="context"), attr=attr), pst.LongLit(value=value) if attr in LONGS:
                self.cuts.setdefault(attr, set()).update(_cuts(op, value))
                return True
            case _:
                return False

    def _membership(self, expr: pst.BinaryOp) -> bool:
        """Whether principal, resource or action itself is held against named entities; these are noted."""
        if expr.op not in _MEMBERSHIP or not isinstance(expr.left, pst.Var) or expr.left.name == "context":
            return False
        listed = expr.right.elements if isinstance(expr.right, pst.Set) else (expr.right,)
        named = [one.value for one in listed if isinstance(one, pst.EntityLit)]
        if len(named) < len(listed):
            return False
        for uid in named:
            self._name(uid)
        return True

    def _name(self, uid: pst.EntityUid) -> None:
        kind = str(uid.type)
        self.named[kind] = self.named.get(kind, frozenset[str]()) | {uid.id}


def _cuts(op: str, value: int) -> tuple[int, ...]:
    """The numbers from which on a comparison with `value` turns out otherwise than below them."""
    if op in {"less", "greater_eq"}:
        return (value,)
    if op in {"less_eq", "greater"}:
        return (value + 1,)
    return (value, value + 1)
