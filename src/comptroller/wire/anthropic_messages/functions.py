"""The functions that a Messages request offers, and the tools that an answer calls, the provider's own among them.

Source: the Anthropic API reference and the anthropic SDK's types, stable and beta; recorded answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import msgspec

from comptroller.core.work.conversation import Call
from comptroller.wire.body import is_object
from comptroller.wire.called import first_calls
from comptroller.wire.parts import array_of, raws_of, text_of

_ENCODER = msgspec.json.Encoder()
_BLOCKS = msgspec.json.Decoder(list[dict[str, Any]])


def definitions(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """What a request says of its tools, as it came; nothing where it has none."""
    return bytes(fields["tools"]) if "tools" in fields else b""


def functions(fields: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    """The names of the functions that it offers."""
    return tuple(filter(None, map(_name, array_of(fields.get("tools")))))


def without(fields: Mapping[str, msgspec.Raw], names: Set[str]) -> dict[str, msgspec.Raw]:
    """The same request without these functions. What made the model call one of them leaves it the choice."""
    left = dict(fields)
    kept = [each for each in raws_of(fields.get("tools")) if _name(msgspec.json.decode(each)) not in names]
    if kept:
        left["tools"] = msgspec.Raw(_ENCODER.encode(kept))
    else:
        left.pop("tools", None)
        left.pop("tool_choice", None)
    choice = left.get("tool_choice")
    chosen = None if choice is None else msgspec.json.decode(choice)
    if is_object(chosen) and chosen.get("name") in names:
        del left["tool_choice"]
    return left


def calls_in(content: msgspec.Raw) -> tuple[Call, ...]:
    """The tools that a whole answer calls. Never raises."""
    if b"tool_use" not in bytes(content):
        return ()
    try:
        blocks = _BLOCKS.decode(content)
    except (ValueError, RecursionError):
        return ()
    named = ((called(block), block) for block in blocks)
    return first_calls(Call("", name, block.get("input")) for name, block in named if name)


def called(block: Mapping[str, Any]) -> str:
    """The tool that a block calls; nothing where it calls none."""
    name = text_of(block.get("name"))
    match block.get("type"):
        case "tool_use":
            return name
        case "server_tool_use":
            return f"anthropic/{name}"
        case "mcp_tool_use":
            return f"anthropic/mcp/{text_of(block.get('server_name'))}/{name}"
        case _:
            return ""


def _name(tool: object) -> str:
    """Of the caller's own definitions: the others are the provider's, by their `type`."""
    if not is_object(tool) or tool.get("type") not in {None, "custom"}:
        return ""
    return text_of(tool.get("name"))
