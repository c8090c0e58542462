"""The functions that a chat request offers, and those that an answer calls.

Source: the OpenAI API reference and the openai SDK's types; recorded answers for what compatible servers do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import msgspec

from comptroller.core.work.conversation import Call
from comptroller.wire.body import is_array, is_object
from comptroller.wire.called import first_calls, provider_tool
from comptroller.wire.openai_chat.conversation import read_entries
from comptroller.wire.parts import array_of, raws_of

_FIELDS = ("tools", "functions")  # the latter: the API before tools
_CHOICES = ("tool_choice", "function_call")
_BESIDE = (*_CHOICES, "parallel_tool_calls")  # which no request without tools may have
_SWITCHES: Mapping[str, str] = {
    "web_search_options": "web_search",
    "web_search": "web_search",
    "search_parameters": "web_search",
    "enable_search": "web_search",
    "search_settings": "web_search",
    "enable_code_interpreter": "code_interpreter",
    "mcp_servers": "mcp",
    "connectors": "connectors",
    "data_sources": "data_sources",
    "plugins": "plugins",
}
"""Fields of servers that speak this API, by the tool that they turn on (fields.py says whose they are)."""
_ENCODER = msgspec.json.Encoder()
_CHOICE = msgspec.json.Decoder(list[dict[str, Any]])


def definitions(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """What a request says of its tools, as it came; nothing where it has none."""
    return b"".join(bytes(fields[name]) for name in _FIELDS if name in fields)


def functions(fields: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    """The names of the functions that it offers."""
    return tuple(filter(None, (_name(each) for name in _FIELDS for each in array_of(fields.get(name)))))


def without(fields: Mapping[str, msgspec.Raw], names: Set[str]) -> dict[str, msgspec.Raw]:
    """The same request without these functions. What made the model call one of them leaves it the choice."""
    left = dict(fields)
    for field in _FIELDS:
        kept = [each for each in raws_of(fields.get(field)) if _name(msgspec.json.decode(each)) not in names]
        if kept:
            left[field] = msgspec.Raw(_ENCODER.encode(kept))
        else:
            left.pop(field, None)
    if not any(field in left for field in _FIELDS):
        for field in _BESIDE:
            left.pop(field, None)
    for field in _CHOICES:
        if field in left and _names_one(msgspec.json.decode(left[field]), names):
            del left[field]
    return left


def provider_tools(request: Mapping[str, object], kinds: Iterable[str]) -> tuple[str, ...]:
    """The tools that run at the provider: those of these kinds, and what is switched on by a field."""
    switched = (tool for field, tool in _SWITCHES.items() if _is_on(request.get(field)))
    return tuple(dict.fromkeys(provider_tool("openai", each) for each in (*kinds, *switched)))


def _is_on(value: object) -> bool:
    return value is not None and value is not False and value != []


def calls_in(choices: msgspec.Raw) -> tuple[Call, ...]:
    """The functions that a whole answer calls. Never raises."""
    text = bytes(choices)
    if b'"tool_calls"' not in text and b'"function_call"' not in text:
        return ()
    try:
        said = _CHOICE.decode(text)
    except (ValueError, RecursionError):
        return ()
    messages = [each.get("message") for each in said]
    spoken = [{**each, "role": "assistant"} for each in messages if is_object(each)]
    return first_calls(call for entry in read_entries(spoken) for call in entry.calls)


def _name(tool: object) -> str:
    if not is_object(tool):
        return ""
    kind = tool.get("type", "function")
    inner = tool.get(str(kind)) if kind in {"function", "custom"} else None
    name = (inner if is_object(inner) else tool).get("name")
    return name if isinstance(name, str) else ""


def _names_one(choice: object, names: Set[str]) -> bool:
    """Whether a choice of tools names one that is gone."""
    return any(each in names for each in _named(choice))


def _named(choice: object) -> Iterator[str]:
    if is_object(choice):
        yield _name(choice)
        allowed = choice.get("allowed_tools")
        listed = allowed.get("tools") if is_object(allowed) else choice.get("tools")
        yield from map(_name, listed if is_array(listed) else ())
