"""The result of a tool, cut to what may be handed on: still a result, and it says where it was cut."""

from __future__ import annotations

from typing import Any

import msgspec

from comptroller.core.work.tool_use import ToolUse
from comptroller.wire.body import is_object

META_CUT = "comptroller/cut"
_ROOM_FOR_THE_NOTE = 700
_LEAST_TEXT = 64  # of a text in JSON: less of it says nothing

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()


def cut(tool: ToolUse, result: bytes, *, member: str) -> bytes | None:
    """A result of at most `tool.result_bytes`; None: nothing of it can be handed on.

    `member`: what holds its items, `content` of a tool or `contents` of a resource. Items are kept from the first
    one on, and of the one that no longer fits its text as far as it does. Structured content is data of a schema:
    it stays whole or goes. A result that has to have it and does not is marked as failed, or clients refuse all of it.
    """
    try:
        return _cut(tool, result, member)
    except (KeyError, ValueError, RecursionError):
        return None


def _cut(tool: ToolUse, result: bytes, member: str) -> bytes | None:
    parts = _OBJECT.decode(result)
    items = _ITEMS.decode(parts.pop(member))
    structured = parts.pop("structuredContent", None)
    room = tool.result_bytes - _ROOM_FOR_THE_NOTE - len(_ENCODER.encode(parts))
    keeps = structured is not None and len(bytes(structured)) <= room // 2
    if structured is not None and keeps:
        room -= len(bytes(structured))
    kept, shortened = _fitting(items, room)
    if room <= 0 or not (kept or keeps):
        return None
    lost = structured is not None and not keeps
    dropped = len(items) - len(kept)
    said: dict[str, object] = {"bytes": len(result), "limit": tool.result_bytes, "items_left_out": dropped}
    note = _note(tool, len(result), dropped, shortened=shortened, without_structure=lost)
    whole: dict[str, object] = {**parts, member: _with_note(kept, note, member)}
    if lost:
        said["structured_content_left_out"] = whole["isError"] = True
    elif structured is not None:
        whole["structuredContent"] = structured
    whole["_meta"] = {**_meta(parts), META_CUT: said}
    encoded = _ENCODER.encode(whole)
    return encoded if len(encoded) <= tool.result_bytes else None


def _fitting(items: list[msgspec.Raw], room: int) -> tuple[list[object], bool]:
    """Items from the first one on, and whether the last of them was shortened."""
    kept: list[object] = []
    for item in items:
        size = len(bytes(item)) + 1
        if size <= room:
            kept.append(item)
            room -= size
            continue
        part = _shortened(_ANY.decode(item), room)
        if part is not None:
            kept.append(part)
        return kept, part is not None
    return kept, False


def _shortened(item: Any, room: int) -> dict[str, object] | None:
    """An item with as much of its text as fits; None if it has none, or no room for it."""
    if not is_object(item):
        return None
    inner = item.get("resource")
    holder = inner if is_object(inner) else item
    text = holder.get("text")
    if not isinstance(text, str):
        return None
    fixed = len(_ENCODER.encode(item)) - len(_ENCODER.encode(text))
    if room - fixed < _LEAST_TEXT:
        return None
    short: dict[str, object] = {**holder, "text": _prefix(text, room - fixed)}
    return {**item, "resource": short} if holder is inner else short


def _prefix(text: str, room: int) -> str:
    """The longest beginning whose JSON has at most `room` bytes, about."""
    length = min(len(text), room)
    while length > 0:
        size = len(_ENCODER.encode(text[:length]))
        if size <= room:
            return text[:length]
        length = min(length - 1, length * room // size)
    return ""


def _note(tool: ToolUse, size: int, dropped: int, *, shortened: bool, without_structure: bool) -> str:
    left_out = ["the rest of the text above"] if shortened else []
    if dropped:
        left_out.append(f"{dropped} more item{'s' if dropped > 1 else ''}")
    if without_structure:
        left_out.append("its structured content, so that it is marked as failed")
    return (
        f"[Cut by the gateway: {tool.name} gave {size:,} bytes, and no more than {tool.result_bytes:,} are handed on. "
        f"Left out: {', '.join(left_out) or 'nothing'}. "
        "It has run; ask for less at a time: a smaller range, a filter, a page.]"
    )


def _with_note(kept: list[object], note: str, member: str) -> list[object]:
    if member == "content":
        return [*kept, {"type": "text", "text": note}]
    last = kept[-1] if kept else None
    if is_object(last) and isinstance(last.get("text"), str):  # contents of a resource have an address each
        return [*kept[:-1], {**last, "text": f"{last['text']}\n{note}"}]
    return kept


def _meta(parts: dict[str, msgspec.Raw]) -> dict[str, object]:
    raw = parts.get("_meta")
    meta: object = _ANY.decode(raw) if raw is not None else {}
    return meta if is_object(meta) else {}
