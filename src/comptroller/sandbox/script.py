"""A script: the tools that the next answers call, for agents whose requests cannot say so themselves."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TypeVar

import msgspec

from comptroller.sandbox.order import Call, Order

Ordered = TypeVar("Ordered", bound=Order)


class Scripted(msgspec.Struct, forbid_unknown_fields=True):
    """One call to come: of the first tool that is offered whose name ends so."""

    tool: str
    arguments: dict[str, object] = {}


class ScriptPlan(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /sandbox/script`."""

    calls: list[Scripted]


class Script:
    """The calls that are still to come, in their order; each comes once."""

    def __init__(self) -> None:
        self._left: deque[Scripted] = deque()

    @property
    def plan(self) -> ScriptPlan:
        """What is left."""
        return ScriptPlan(list(self._left))

    def install(self, plan: ScriptPlan) -> None:
        """Replace what is left."""
        self._left = deque(plan.calls)

    def applied(self, order: Ordered) -> Ordered:
        """The order with the next call, if it offers that tool; what a request says itself goes first."""
        if not self._left or order.call is not None:
            return order
        wanted = self._left[0]
        for namespace, name in order.offered:
            if name.endswith(wanted.tool):
                self._left.popleft()
                call = Call(name, None, "tool_calls", namespace=namespace, arguments=wanted.arguments)
                return replace(order, call=call)
        return order
