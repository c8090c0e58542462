"""Causes: which answer of a model asked for a call to a tool, so that a run reads as one chain.

In memory, and bounded; after a restart a tool call has a cause only if its model call came after it. The answers that
are still on their way count as far as they have come: clients run a tool before the stream that called it is over.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence

import msgspec

from comptroller.core.tool.called import CalledTool
from comptroller.core.tool.names import names_tool

RUNS_KEPT = 10_000  # of more, those that called no tool for longest are forgotten
CALLS_KEPT = 256  # of tools, by the answers of one run: the last ones

Reading = Callable[[], Sequence[CalledTool]]


class Answered(msgspec.Struct, frozen=True, gc=False):
    """One tool that an answer called."""

    tool: CalledTool
    session: str
    call_id: str


class Causes:
    """What the answers of each run called, by the session at its top."""

    def __init__(self, runs: int = RUNS_KEPT, calls: int = CALLS_KEPT) -> None:
        self._most, self._calls = runs, calls
        self._answered = OrderedDict[str, deque[Answered]]()
        self._live: dict[str, dict[str, tuple[str, Reading]]] = {}

    def begin(self, top: str, session: str, call_id: str, reading: Reading) -> None:
        """A call to a model is on its way. `reading`: the tools that its answer has called so far."""
        self._live.setdefault(top, {})[call_id] = (session, reading)

    def end(self, top: str, session: str, call_id: str, called: Sequence[CalledTool]) -> None:
        """It is over."""
        live = self._live.get(top, {})
        live.pop(call_id, None)
        if not live:
            self._live.pop(top, None)
        if not called:
            return
        known = self._answered.get(top)
        if known is None:
            if len(self._answered) >= self._most:
                self._answered.popitem(last=False)
            known = self._answered[top] = deque(maxlen=self._calls)
        else:
            self._answered.move_to_end(top)
        known.extend(Answered(each, session, call_id) for each in called)

    def find(self, top: str, session: str, tool: str, arguments_digest: str) -> str | None:
        """The last call to a model in the run whose answer asked for this tool with these arguments.

        One of the same session goes before others. `tool`: SERVER/TOOL.
        """
        elsewhere: str | None = None
        for each in self._newest_first(top):
            if each.tool.arguments_digest == arguments_digest and names_tool(each.tool.name, tool):
                if each.session == session:
                    return each.call_id
                elsewhere = elsewhere or each.call_id
        return elsewhere

    def _newest_first(self, top: str) -> Iterator[Answered]:
        for call_id, (session, reading) in reversed(self._live.get(top, {}).items()):
            for tool in reading():
                yield Answered(tool, session, call_id)
        yield from reversed(self._answered.get(top, ()))
