"""Sight: a server has listed its tools, which is where the gateway learns of them, and of what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from comptroller.core.refusal import Refusal
from comptroller.core.tool.lint import one_line
from comptroller.core.tool.pin import BY_ITSELF, Pin, PinMode
from comptroller.flow.findings import report_of_provider
from comptroller.flow.gate import Gate
from comptroller.flow.mcp.pins import Listed
from comptroller.flow.records import Finding, PinChanged

_NAMED = 5  # in one sentence
_LOOK = "`comptroller tools list --waiting` lists what a person has to look at."


def sight(
    gate: Gate, server: str, definitions: Iterable[Listed], *, continued: bool = False, more: bool = False
) -> Mapping[str, Refusal]:
    """Bring the pins of a server up to date, and say which of these tools are held back, by their own names, and why.

    To be called with every answer to tools/list, whoever asked. `continued`: it was asked for with a cursor; `more`:
    the answer has one. Does not wait.
    """
    registry = gate.registry

    def mode_of(tool: str) -> PinMode | None:
        entry = registry.tool(f"{server}/{tool}")
        return None if entry is None else entry.pins

    now_ns = gate.clock.now_ns()
    sighting = gate.pins.seen(server, definitions, mode_of, now_ns, continued=continued, more=more)
    for seen in sighting.written:
        gate.journal.append(PinChanged(now_ns, BY_ITSELF, seen.pin, seen.definition.text))
    _report(gate, server, "tool_changed", sighting.changed, "described otherwise than before", now_ns)
    _report(gate, server, "tools_grew", sighting.new, "new, or renamed", now_ns)
    suspicious = [seen.pin for seen in sighting.written if seen.pin.remarks and seen.pin.state == "waiting"]
    unsaid = [pin for pin in suspicious if pin not in sighting.changed and pin not in sighting.new]
    _report(gate, server, "tool_suspicious", unsaid, "described as if to steer a model", now_ns)
    return sighting.hidden


def _report(gate: Gate, server: str, code: str, pins: Sequence[Pin], what: str, now_ns: int) -> None:
    if not pins:
        return
    names = ", ".join(one_line(pin.tool) for pin in pins[:_NAMED]) + (", ..." if len(pins) > _NAMED else "")
    tools = f"{len(pins)} tools of the server {server} are" if len(pins) > 1 else f"A tool of the server {server} is"
    sentence = (
        f"{tools} {what}: {names}. Nobody can use {'them' if len(pins) > 1 else 'it'} until a person accepts. {_LOOK}"
    )
    subject = pins[0].name if len(pins) == 1 else server
    report_of_provider(gate, Finding(now_ns, code, None, subject, sentence), f"mcp/{server}")
