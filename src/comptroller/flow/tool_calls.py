"""How often the provider's own tools may be called in one call: a bound that the registry sets on a model.

What it bounds is held as if the request had said so; the dialect writes it into the body, so that it binds.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from comptroller.core.refusal import Refusal
from comptroller.core.registry.registry import Registry
from comptroller.flow.dialect import DialectRequest


@runtime_checkable
class Searching(DialectRequest, Protocol):
    """A request of a dialect that has a field for such a limit."""

    def with_tool_calls(self, most: int) -> DialectRequest: ...


def limited(registry: Registry, request: DialectRequest | Refusal) -> DialectRequest | Refusal:
    """The request with the limit of its model's entry, if it offers tools that one would bound.

    Of an alias: the lowest of those behind it.
    """
    if isinstance(request, Refusal) or not request.asked.searching or not isinstance(request, Searching):
        return request
    name = request.asked.model
    target = registry.routing.aliases.get(name)
    names = (name,) if target is None else registry.members(target) or (target,)
    models = map(registry.model, names)
    limits = [model.max_tool_calls for model in models if model is not None and model.max_tool_calls is not None]
    return request.with_tool_calls(min(limits)) if limits else request
