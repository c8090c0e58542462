"""Pins: a tool is what somebody has accepted, and nothing else, however its server describes it later.

A server can change what it says of a tool after everybody has looked at it, and a model believes what it reads. So the
first definition is pinned, and another one makes the tool unusable until a person has accepted that, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Literal

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.core.tool.definition import Definition
from comptroller.core.tool.lint import one_line

BY_ITSELF = "gateway"

PinMode = Literal["first", "approved"]
"""Who looks at the definitions of a tool's first list: nobody has to, or a person at each. Later ones: a person."""

PinState = Literal["pinned", "waiting", "changed", "rejected"]


class State(msgspec.Struct, frozen=True):
    """What every pin in one state has in common."""

    meaning: str
    usable: bool  # the tool is listed, and may be called
    leads_to: tuple[PinState, ...]


PIN_STATES: Mapping[PinState, State] = {
    "waiting": State("nobody has accepted any definition of it yet", False, ("pinned", "rejected")),
    "pinned": State("its server describes it as it was accepted", True, ("changed", "rejected")),
    "changed": State("its server describes it otherwise than it was accepted", False, ("pinned", "rejected")),
    "rejected": State("somebody said no to how its server describes it", False, ("pinned", "changed", "waiting")),
}
"""`waiting` and `changed` lead to themselves when the server says something else again."""


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What is accepted of one tool, and what its server says of it. Definitions are named by their digests."""

    server: str
    tool: str  # its own name, as the server has it
    digest: str = ""  # of the definition that was accepted; '': none was
    shown: str  # what its server said last
    rejected: str = ""  # what somebody said no to
    first: bool = False  # `shown` is from the first list of this server that was ever seen
    remarks: tuple[str, ...] = ()  # what looks suspicious in `shown` (lint.py)
    fault: str = ""  # why `shown` can be accepted by nobody
    shown_at_ns: int
    decided_at_ns: int | None = None
    decided_by: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        """SERVER/TOOL, as a person reads it."""
        return one_line(f"{self.server}/{self.tool}")

    @property
    def state(self) -> PinState:
        if self.shown == self.rejected:
            return "rejected"
        if not self.digest:
            return "waiting"
        return "pinned" if self.shown == self.digest else "changed"


class No(msgspec.Struct, frozen=True):
    """Why a definition is not accepted, or not rejected."""

    sentence: str
    hint: str


def begun(server: str, definition: Definition, remarks: tuple[str, ...], at_ns: int, *, first: bool) -> Pin:
    """A tool that was not there before."""
    return Pin(
        server=server,
        tool=definition.name,
        shown=definition.digest,
        first=first,
        remarks=remarks,
        fault=definition.fault,
        shown_at_ns=at_ns,
    )


def showing(pin: Pin, definition: Definition, remarks: tuple[str, ...], at_ns: int) -> Pin:
    """Its server describes it so from now on; what was accepted stays accepted."""
    if definition.digest == pin.shown:
        return pin
    return msgspec.structs.replace(
        pin, shown=definition.digest, first=False, remarks=remarks, fault=definition.fault, shown_at_ns=at_ns
    )


def pins_itself(pin: Pin, mode: PinMode | None) -> bool:
    """Whether nobody needs to look: it is from the first list, nothing in it is suspicious, and its entry says so."""
    return mode == "first" and pin.state == "waiting" and pin.first and not pin.remarks and not pin.fault


def pinned_by_itself(pin: Pin, at_ns: int) -> Pin:
    """The first definition is the accepted one."""
    why = "the first list of its server"
    return msgspec.structs.replace(pin, digest=pin.shown, decided_at_ns=at_ns, decided_by=BY_ITSELF, reason=why)


def accept(pin: Pin, digest: str, by: str, reason: str, at_ns: int) -> Pin | No:
    """Accept what its server says now, if that is what somebody looked at."""
    if digest != pin.shown:
        return _another(pin)
    if pin.fault:
        return No(f"{pin.name} cannot be accepted: {pin.fault}.", "Its server has to describe it otherwise.")
    if pin.state == "pinned":
        return No(f"{pin.name} is accepted already.", f"`comptroller tools show {quote(pin.name)}` says by whom.")
    return msgspec.structs.replace(pin, digest=digest, rejected="", decided_at_ns=at_ns, decided_by=by, reason=reason)


def reject(pin: Pin, digest: str, by: str, reason: str, at_ns: int) -> Pin | No:
    """Say no to what its server says now, accepted or not: the tool is of no use until it says something else."""
    if digest != pin.shown:
        return _another(pin)
    if pin.state == "rejected":
        return No(f"{pin.name} is rejected already.", f"`comptroller tools show {quote(pin.name)}` says by whom.")
    accepted = "" if pin.digest == digest else pin.digest
    return msgspec.structs.replace(
        pin, digest=accepted, rejected=digest, decided_at_ns=at_ns, decided_by=by, reason=reason
    )


def _another(pin: Pin) -> No:
    return No(
        f"The server {pin.server} does not describe {pin.tool} so now: this is not the digest of what it says.",
        f"Look again: `comptroller tools diff {quote(pin.name)}`.",
    )


def restored(old: Pin | None, present: Pin) -> Pin:
    """A pin after a backup took the place of the present store: accepted is what both have accepted, in the end."""
    if old is not None and old.digest == present.digest:
        return present
    if not present.digest:
        return present
    return msgspec.structs.replace(
        present, digest="", first=False, decided_at_ns=None, decided_by="", reason="accepted after the backup"
    )


def refusal_of(pin: Pin) -> Refusal | None:
    """What a call of the tool hears; None: nothing speaks against it. Nothing of the definition is repeated in it."""
    state = pin.state
    if state == "pinned":
        return None
    why = {
        "changed": "its server describes it otherwise than it was accepted",
        "waiting": "nobody has accepted its definition yet",
        "rejected": "somebody has rejected its definition",
    }[state]
    look = f"Somebody has to look at its definition (`comptroller tools diff {quote(pin.name)}`) and to accept it."
    hint = "Use another tool." if state == "rejected" else f"{look} Until then use another tool."
    return Refusal(code="tool_changed", sentence=f"The tool {pin.name} is held back: {why}.", hint=hint)


def never_listed(server: str, tool: str) -> Refusal:
    """What a call of a tool hears that its server has never listed."""
    return Refusal(
        code="tool_unknown",
        sentence=f"The server {server} has never listed a tool {tool[:128]!r} here.",
        hint="List its tools first (tools/list), and call one of those.",
    )


def too_many(server: str, tool: str, most: int) -> Refusal:
    """What a call of a tool hears for which no pin is kept."""
    return Refusal(
        code="tool_unknown",
        sentence=f"The server {server} lists more than {most} tools or too long ones: {tool[:128]!r} is beyond that.",
        hint="Ask whoever runs the gateway: its tools have to be split between several servers.",
    )
