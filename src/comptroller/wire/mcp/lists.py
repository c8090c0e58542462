"""Lists of a server: what they define, and the same list without what its reader may not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from comptroller.wire.body import is_object
from comptroller.wire.event_stream import EventSplitter, EventTooLarge, event_data
from comptroller.wire.mcp.answer import SAID, Said
from comptroller.wire.mcp.message import Message
from comptroller.wire.mcp.rpc import event, result_body

META_HIDDEN = "comptroller/hidden"
# What a list has in its result, and what its items are named by.
_MEMBERS = {"tools": "name", "prompts": "name", "resources": "uri", "resourceTemplates": "uriTemplate"}

MOST_LISTED = 2_000
"""Tools in one answer: policies and pins are asked about each of them, and others wait for that."""

_NOTHING = msgspec.Raw(b"")


class ToolDefinition(msgspec.Struct, frozen=True):
    """One tool as its server lists it."""

    name: str
    raw: bytes  # all of it, as it came


class _Tool(msgspec.Struct):
    name: str


class _Tools(msgspec.Struct):
    tools: list[msgspec.Raw] = []


class _Page(msgspec.Struct):
    cursor: msgspec.Raw = _NOTHING


_PAGE = msgspec.json.Decoder(_Page)
_TOOLS = msgspec.json.Decoder(_Tools)
_TOOL = msgspec.json.Decoder(_Tool)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()


class Malformed(ValueError):
    """A list that is none: no JSON-RPC, no array, or items without a name."""


def definitions(body: bytes) -> list[ToolDefinition]:
    """The tools in the answer to tools/list, as JSON or as a stream of events; none in an error. Raises Malformed."""
    found: list[ToolDefinition] = []
    for said in _responses(body):
        try:
            tools = _TOOLS.decode(said.result).tools
            if len(found) + len(tools) > MOST_LISTED:
                raise Malformed(f"it has more than {MOST_LISTED:,} tools")
            found += [ToolDefinition(_TOOL.decode(raw).name, bytes(raw)) for raw in tools]
        except (ValueError, RecursionError) as error:
            raise Malformed(str(error)) from error
    return found


def names(body: bytes, member: str) -> list[str]:
    """What its items are named by. `member`: tools, prompts, resources or resourceTemplates. Raises Malformed."""
    found: list[str] = []
    for said in _responses(body):
        result = _members(said)
        found += [_named(item, _MEMBERS[member]) for item in _items(result.get(member, _NOTHING))]
    return found


def pages(message: Message, body: bytes) -> tuple[bool, bool]:
    """Whether a list goes on with what was asked for, and whether it goes on after it. Raises Malformed."""
    asked = _PAGE.decode(message.params).cursor if message.params else _NOTHING
    answered = (_members(said).get("nextCursor", _NOTHING) for said in _responses(body))
    return _is_said(asked), any(map(_is_said, answered))


def _is_said(cursor: msgspec.Raw) -> bool:
    return bytes(cursor) not in {b"", b"null"}


def filtered(body: bytes, hidden: Mapping[str, str]) -> bytes:
    """The same answer without the items in `hidden` (name: why), as JSON or as a stream of events.

    How many are missing and why stands in `_meta`; the list is for its reader alone (`cacheScope`). Raises Malformed.
    """
    return rewritten(body, hidden.get)


def rewritten(body: bytes, why_not: Callable[[str], str | None]) -> bytes:
    """As `filtered`; `why_not` says why an item is missing, None: it is not."""
    if body.lstrip()[:1] == b"{":
        return _rewritten(body, why_not) or body
    parts: list[bytes] = []
    for raw in _events(body):
        data = _data(raw)
        changed = _rewritten(data, why_not) if data is not None else None
        parts.append(raw if changed is None else event(changed))
    return b"".join(parts)


def _rewritten(data: bytes, why_not: Callable[[str], str | None]) -> bytes | None:
    said = _said(data)
    result = _without(said, why_not) if said is not None else None
    return None if said is None or result is None else result_body(said.id, result)


def _without(said: Said, why_not: Callable[[str], str | None]) -> dict[str, object] | None:
    """None: nothing of it changes."""
    members = _members(said)
    result: dict[str, object] = dict(members)
    why: dict[str, int] = {}
    for member, key in _MEMBERS.items():
        if member not in result:
            continue
        kept: list[msgspec.Raw] = []
        for item in _items(result[member]):
            reason = why_not(_named(item, key))
            if reason is None:
                kept.append(item)
            else:
                why[reason] = why.get(reason, 0) + 1
        result[member] = kept
    if not why and "cacheScope" not in result:
        return None
    if "cacheScope" in result:
        result["cacheScope"] = "private"
    if why:
        written = members.get("_meta")
        meta: Mapping[str, object] = {} if written is None else _meta(written)
        hidden = {"count": sum(why.values()), "reasons": why}
        result["_meta"] = {**meta, META_HIDDEN: hidden}
    return result


def _meta(written: msgspec.Raw) -> Mapping[str, object]:
    try:
        meta: object = _ANY.decode(written)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error
    return meta if is_object(meta) else {}


def _responses(body: bytes) -> list[Said]:
    """Every response with a result in it."""
    whole = [body] if body.lstrip()[:1] == b"{" else [_data(raw) for raw in _events(body)]
    found = [_said(each) for each in whole if each is not None]
    return [said for said in found if said is not None]


def _events(body: bytes) -> list[bytes]:
    splitter = EventSplitter()
    try:
        events = splitter.feed(body)
    except EventTooLarge as error:
        raise Malformed(str(error)) from error
    rest = splitter.rest()
    if rest:
        events.append(rest)
    if not any(_data(raw) is not None for raw in events):
        raise Malformed("neither JSON nor a stream of events")
    return events


def _data(raw: bytes) -> bytes | None:
    """What an event says; None for one that only keeps the stream open."""
    data = event_data(raw)
    return data if data is not None and data.strip() else None


def _said(data: bytes) -> Said | None:
    """A response that has a result; None for everything else that a server may say."""
    try:
        said = SAID.decode(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error
    return said if said.answers and bytes(said.result) else None


def _members(said: Said) -> dict[str, msgspec.Raw]:
    try:
        return _OBJECT.decode(said.result)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error


def _items(raw: object) -> list[msgspec.Raw]:
    if not isinstance(raw, msgspec.Raw) or not bytes(raw):
        return []
    try:
        return _ITEMS.decode(raw)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error


def _named(item: msgspec.Raw, key: str) -> str:
    try:
        name = _OBJECT.decode(item).get(key)
        value: object = _ANY.decode(name) if name is not None else None
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error
    if not isinstance(value, str):
        raise Malformed(f"an item without `{key}`")
    return value
