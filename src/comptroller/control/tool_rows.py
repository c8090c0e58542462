"""Tools of MCP servers as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comptroller.core.instant import format_instant
from comptroller.core.registry.registry import Registry
from comptroller.core.tool.definition import read_fields
from comptroller.core.tool.difference import Difference, differences
from comptroller.core.tool.lint import one_line, visible
from comptroller.core.tool.pin import PIN_STATES, Pin, PinState


class ToolRow(msgspec.Struct, frozen=True):
    """How a tool stands. In texts of a server, what nobody would see is written out: `\\u{200B}`."""

    name: str  # SERVER/TOOL
    server: str
    state: PinState
    entry: str | None  # of the registry, by its pattern; None: nobody may call it, whatever its pin says
    risks: Sequence[str]  # of that entry; what the server says of itself is not asked
    accepted: str | None  # the digest of the definition that was accepted
    shown: str  # the digest of what its server says now
    remarks: Sequence[str]  # what looks suspicious in that
    fault: str  # why that can be accepted by nobody
    shown_at: str
    decided_at: str | None
    decided_by: str
    reason: str


class ToolShown(msgspec.Struct, frozen=True):
    """A tool with its definitions, and what differs between them."""

    tool: ToolRow
    accepted: str | None  # the definition as JSON, laid out for reading
    shown: str | None  # the same of what its server says; None where that has a fault
    differences: Sequence[Difference]  # from the one to the other; all of it where none was accepted
    moving: bool  # the server said something else again a moment ago, which is on record within a minute


def tool_row(registry: Registry, pin: Pin) -> ToolRow:
    entry = registry.tool(f"{pin.server}/{pin.tool}")
    return ToolRow(
        name=pin.name,
        server=pin.server,
        state=pin.state,
        entry=None if entry is None else entry.pattern,
        risks=() if entry is None else entry.risks,
        accepted=pin.digest or None,
        shown=pin.shown,
        remarks=pin.remarks,
        fault=one_line(pin.fault),
        shown_at=format_instant(pin.shown_at_ns),
        decided_at=None if pin.decided_at_ns is None else format_instant(pin.decided_at_ns),
        decided_by=pin.decided_by,
        reason=pin.reason,
    )


def tool_shown(row: ToolRow, pin: Pin, texts: Mapping[str, str]) -> ToolShown:
    """`texts`: the definitions on record, by their digests."""
    accepted = texts.get(pin.digest, "")
    shown = texts.get(pin.shown, "")
    return ToolShown(
        tool=row,
        accepted=_laid_out(accepted),
        shown=_laid_out(shown),
        differences=differences(read_fields(accepted), read_fields(shown)) if shown else (),
        moving=not shown and not pin.fault,
    )


def waits(row: ToolRow) -> bool:
    """Whether a person should look: it would be of use if it were accepted."""
    return row.entry is not None and not PIN_STATES[row.state].usable and row.state != "rejected"


def _laid_out(text: str) -> str | None:
    return visible(msgspec.json.format(text, indent=2)) if text else None
