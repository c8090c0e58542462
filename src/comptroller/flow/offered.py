"""The tools that model requests offer: recorded by a digest of their definitions, and by their names once.

An agent sends the same definitions with every request of a run, often tens of kilobytes. Their digest tells whether
they are the same as before; only new ones are looked into.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol, runtime_checkable

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.flow.dialect import DialectRequest
from comptroller.flow.gate import Gate
from comptroller.flow.records import ToolsOffered
from comptroller.flow.tool_sets import ToolSet

NAMES_KEPT = 256  # of one set
_MOST_NAME_CHARACTERS = 128
_SAID_AGAIN_NS = 24 * 3_600 * NANOS_PER_SECOND


@runtime_checkable
class Offering(DialectRequest, Protocol):
    """A request of a dialect whose requests may offer functions of the caller's to the model."""

    def definitions(self) -> bytes: ...
    def functions(self) -> tuple[str, ...]: ...
    def without(self, names: Set[str]) -> bytes: ...


def offered(gate: Gate, request: DialectRequest) -> ToolSet | None:
    """The functions that a request offers to the model, on record; None: it says nothing of tools."""
    if not isinstance(request, Offering):
        return None
    definitions = request.definitions()
    if not definitions:
        return None
    now_ns, digest = gate.clock.now_ns(), gate.credentials.digest(definitions)
    known = gate.tool_sets.get(digest)
    if known is not None and now_ns - known.said_ns < _SAID_AGAIN_NS:
        return known
    functions = request.functions() if known is None else known.names
    tools = ToolSet(digest, functions, now_ns)
    gate.tool_sets.keep(tools)
    kept = tuple(name[:_MOST_NAME_CHARACTERS] for name in functions[:NAMES_KEPT])
    gate.journal.offer(ToolsOffered(now_ns, digest, kept, len(functions)))
    return tools
