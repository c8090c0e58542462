"""Pins in memory: how each tool of each server stands, asked on every call, and brought up to date by every list.

A list that a server shows to anybody is what it says to everybody: where it describes a tool to one caller otherwise
than to another, the tool has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

import msgspec

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.refusal import Refusal
from comptroller.core.tool.definition import NAME_CHARACTERS, Definition, read_definition
from comptroller.core.tool.lint import lint
from comptroller.core.tool.pin import (
    Pin,
    PinMode,
    begun,
    never_listed,
    pinned_by_itself,
    pins_itself,
    refusal_of,
    showing,
    too_many,
)

MOST_TOOLS = 500  # of one server
LOOK_BYTES = 1_048_576  # of definitions that are new or others, in one list: more is no list for any model
FIRST_LASTS_NS = 600 * NANOS_PER_SECOND  # a first list that comes in pages is over then
AGAIN_NS = 60 * NANOS_PER_SECOND  # a server that says something else every time does not fill the journal

Key = tuple[str, str]  # server, tool


class Listed(Protocol):
    """One tool in a list, as its server describes it."""

    @property
    def name(self) -> str: ...

    @property
    def raw(self) -> bytes:
        """The whole member of the list, a JSON object."""
        ...


class Seen(msgspec.Struct, frozen=True):
    """A pin that is to be written down, with the definition that its server shows."""

    pin: Pin
    definition: Definition


class Sighting(msgspec.Struct, frozen=True):
    """What a list has shown."""

    hidden: Mapping[str, Refusal]  # the tools that are held back, by their own names
    written: Sequence[Seen] = ()
    changed: Sequence[Pin] = ()  # that were something else before
    new: Sequence[Pin] = ()  # that were not there in the first list


@dataclass
class _Look:
    """One list, and what was found in it so far."""

    first: bool
    mode_of: Callable[[str], PinMode | None]
    now_ns: int
    names: set[str]  # that are listed
    room: int = LOOK_BYTES
    elsewhere: AbstractSet[str] | None = None  # once somebody has asked
    hidden: dict[str, Refusal] = field(default_factory=dict[str, Refusal])
    written: list[Seen] = field(default_factory=list[Seen])
    changed: list[Pin] = field(default_factory=list[Pin])
    new: list[Pin] = field(default_factory=list[Pin])

    def note(self, pin: Pin, was: Pin | None, definition: Definition) -> None:
        """A pin is written down."""
        self.written.append(Seen(pin, definition))
        if was is None and not self.first:
            self.new.append(pin)
        elif was is not None and pin.state != "pinned" and pin.shown != was.shown:
            self.changed.append(pin)


class Pins:
    """The pins that a process holds. Bounded: `MOST_TOOLS` of each server, and no definition, only digests."""

    def __init__(self, pins: Iterable[Pin] = ()) -> None:
        self._pins: dict[Key, Pin] = {}
        self._refusals: dict[Key, Refusal | None] = {}
        self._names: dict[str, set[str]] = {}  # of the tools, by server
        self._raw: dict[Key, bytes] = {}  # a digest of the bytes that `shown` was read from
        self._written: dict[Key, tuple[Pin, int]] = {}  # as they stand in the journal, since when
        self._going_on: dict[str, int] = {}  # first lists that come in pages, since when
        for pin in pins:
            self.put(pin)

    def refusal(self, server: str, tool: str) -> Refusal | None:
        """What speaks against a call of this tool, by its own name. Pseudo-tools (@...) have no definition."""
        key = (server, tool)
        if key in self._refusals:
            return self._refusals[key]
        return None if tool.startswith("@") else never_listed(server, tool)

    def pin(self, server: str, tool: str) -> Pin | None:
        return self._pins.get((server, tool))

    def all(self) -> Sequence[Pin]:
        return [pin for _, pin in sorted(self._pins.items())]

    def put(self, pin: Pin) -> None:
        """It stands so from now on, and in the journal too."""
        self._stand(pin)
        self._written[pin.server, pin.tool] = (pin, 0)

    def seen(
        self,
        server: str,
        definitions: Iterable[Listed],
        mode_of: Callable[[str], PinMode | None],
        now_ns: int,
        *,
        continued: bool = False,
        more: bool = False,
    ) -> Sighting:
        """A server has listed these tools. `mode_of`: what the entry of a tool says, by the tool's own name.

        A list may come in pages, each of which is looked at by itself: `continued`, it was asked for with a cursor;
        `more`, the answer says that another one follows.
        """
        first = self._is_first(server, now_ns, continued=continued, more=more)
        listed = list(definitions)
        look = _Look(first, mode_of, now_ns, {each.name for each in listed})
        for each in listed:
            refusal = self._see(server, each, look)
            if refusal is not None:
                look.hidden[each.name] = refusal
        return Sighting(look.hidden, look.written, look.changed, look.new)

    def _see(self, server: str, listed: Listed, look: _Look) -> Refusal | None:
        """Bring the pin of one tool up to date; what speaks against the tool then."""
        key = (server, listed.name)
        was = self._pins.get(key)
        raw = blake2b(listed.raw, digest_size=16).digest()
        pin, definition = was, None
        if pin is None or self._raw.get(key) != raw:
            look.room -= len(listed.raw)
            if look.room < 0 or (was is None and not self._has_room(key)):
                return too_many(server, listed.name, MOST_TOOLS)
            definition = read_definition(listed.name, listed.raw)
            pin = self._shown(server, definition, was, look)
            self._raw[key] = raw
        if pins_itself(pin, look.mode_of(listed.name)):
            pin = pinned_by_itself(pin, look.now_ns)
        if pin is not was:
            self._stand(pin)
        if self._is_due(key, pin, look.now_ns):
            self._written[key] = (pin, look.now_ns)
            look.note(pin, was, definition or read_definition(listed.name, listed.raw))
        return self._refusals[key]

    def _shown(self, server: str, definition: Definition, was: Pin | None, look: _Look) -> Pin:
        """The pin by what is shown now."""
        if was is not None and was.shown == definition.digest:
            return was
        remarks = () if definition.fault else tuple(map(str, lint(definition.fields, self._elsewhere(server, look))))
        if was is None:
            return begun(server, definition, remarks, look.now_ns, first=look.first)
        return showing(was, definition, remarks, look.now_ns)

    def _is_first(self, server: str, now_ns: int, *, continued: bool, more: bool) -> bool:
        """Whether a list is the first one of this server, or the next page of that."""
        first = server not in self._names
        if not first:
            since = self._going_on.get(server)
            first = continued and since is not None and now_ns - since <= FIRST_LASTS_NS
        if first and more:
            self._going_on.setdefault(server, now_ns)
        elif first:
            self._going_on.pop(server, None)
        return first

    def _has_room(self, key: Key) -> bool:
        return len(key[1]) <= NAME_CHARACTERS and len(self._names.get(key[0], ())) < MOST_TOOLS

    def _stand(self, pin: Pin) -> None:
        key = (pin.server, pin.tool)
        self._names.setdefault(pin.server, set()).add(pin.tool)
        self._pins[key] = pin
        self._refusals[key] = refusal_of(pin)

    def _is_due(self, key: Key, pin: Pin, now_ns: int) -> bool:
        """Whether a pin is to be written now: that a tool is held back at once, anything else not every second."""
        written = self._written.get(key)
        if written is None:
            return True
        was, at_ns = written
        if was is pin:
            return False
        return now_ns - at_ns >= AGAIN_NS or (was.state == "pinned" and pin.state != "pinned")

    def _elsewhere(self, server: str, look: _Look) -> AbstractSet[str]:
        """What tools are called on other servers, and none on this one: servers of one kind share their names."""
        if look.elsewhere is None:
            others = set[str]().union(*(names for other, names in self._names.items() if other != server))
            look.elsewhere = others - self._names.get(server, set()) - look.names
        return look.elsewhere
