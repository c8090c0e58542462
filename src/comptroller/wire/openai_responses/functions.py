"""The functions that a Responses request offers, and the tools that an answer calls, the provider's own among them.

Source: the OpenAI API reference and the openai SDK's types; recorded answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec

from comptroller.core.work.conversation import Call
from comptroller.wire.body import is_array, is_object
from comptroller.wire.called import first_calls
from comptroller.wire.openai_responses.conversation import CALLS
from comptroller.wire.parts import array_of, text_of

_FUNCTIONS = frozenset({"function", "custom"})
_NAMESPACE = "namespace"
_BESIDE = ("tool_choice", "parallel_tool_calls")
# Items that are no call of a tool: the request for an approval comes before one, a program calls others.
_NO_CALLS = frozenset({"mcp_approval_request", "program", "tool_search_call"})
_ENCODER = msgspec.json.Encoder()
_ITEMS = msgspec.json.Decoder(list[dict[str, Any]] | None)


def definitions(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """What a request says of its tools, as it came; nothing where it has none."""
    return bytes(fields["tools"]) if "tools" in fields else b""


def functions(fields: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    """The names of the functions that it offers."""
    return tuple(name for tool in array_of(fields.get("tools")) if is_object(tool) for name in _names(tool))


def without(fields: Mapping[str, msgspec.Raw], names: Set[str]) -> dict[str, msgspec.Raw]:
    """The same request without these functions. What made the model call one of them leaves it the choice."""
    left = dict(fields)
    kept = list(_kept(array_of(fields.get("tools")), names))
    if kept:
        left["tools"] = msgspec.Raw(_ENCODER.encode(kept))
    else:
        for field in ("tools", *_BESIDE):
            left.pop(field, None)
    choice = left.get("tool_choice")
    if choice is not None and _names_one(msgspec.json.decode(choice), names):
        del left["tool_choice"]
    return left


def calls_in(output: msgspec.Raw) -> tuple[Call, ...]:
    """The tools that a whole answer calls. Never raises."""
    if b'_call"' not in bytes(output):
        return ()
    try:
        items = _ITEMS.decode(output) or ()
    except (ValueError, RecursionError):
        return ()
    return first_calls(filter(None, map(call_of, items)))


def call_of(item: Mapping[str, Any]) -> Call | None:
    """The call that an item of an answer is."""
    kind = text_of(item.get("type"))
    if kind not in CALLS or kind in _NO_CALLS:
        return None
    arguments = item.get(CALLS[kind])
    return Call("", _called(kind, item), "" if arguments is None else arguments)


def _called(kind: str, item: Mapping[str, Any]) -> str:
    name = text_of(item.get("name"))
    match kind:
        case "function_call" | "custom_tool_call":
            return qualified(text_of(item.get("namespace")), name)
        case "mcp_call":
            return f"openai/mcp/{text_of(item.get('server_label'))}/{name}"
        case _:
            return f"openai/{kind.removesuffix('_call')}"


def qualified(namespace: str, name: str) -> str:
    """A function of a namespace, as other APIs would name it. Clients write `mcp__SERVER` or `mcp__SERVER__`.

    A function that was found by a search of tools comes with its own name for a namespace (recorded).
    """
    return f"{namespace.rstrip('_')}__{name}" if namespace not in {"", name} else name


def _names(tool: Mapping[str, object]) -> Iterator[str]:
    kind, name = tool.get("type", "function"), text_of(tool.get("name"))
    if kind == _NAMESPACE:
        inner = tool.get("tools")
        yield from (
            qualified(name, each)
            for one in (inner if is_array(inner) else ())
            if is_object(one)
            for each in _names(one)
        )
    elif kind in _FUNCTIONS and name:
        yield name


def _kept(tools: Sequence[object], names: Set[str]) -> Iterator[object]:
    for tool in tools:
        if not is_object(tool):
            yield tool
        elif tool.get("type") != _NAMESPACE:
            if names.isdisjoint(_names(tool)):
                yield tool
        elif left := [one for one in _objects(tool.get("tools")) if names.isdisjoint(_inside(tool, one))]:
            yield {**tool, "tools": left}


def _inside(space: Mapping[str, object], tool: Mapping[str, object]) -> Iterator[str]:
    """The names of what stands in a namespace."""
    return (qualified(text_of(space.get("name")), each) for each in _names(tool))


def _names_one(choice: object, names: Set[str]) -> bool:
    """Whether a choice of tools names one that is gone."""
    return is_object(choice) and any(each.get("name") in names for each in (choice, *_objects(choice.get("tools"))))


def _objects(value: object) -> list[dict[str, object]]:
    return [each for each in value if is_object(each)] if is_array(value) else []
