"""[tools."SERVER/TOOL"]: reading one, and building the entry that calls meet."""

from __future__ import annotations

import re
from typing import get_args

import msgspec

from comptroller.core.problem import Fault
from comptroller.core.registry import fields
from comptroller.core.registry.entries import Entry, Value, strings
from comptroller.core.registry.fields import Field
from comptroller.core.tool.entry import ASSUMED, RESULT_BYTES, RISKS, OnLarge, Pins, ToolEntry
from comptroller.core.work.tool_use import ResultUnit

_PATTERN = re.compile(r"[A-Za-z0-9*?][A-Za-z0-9._@*?-]{0,127}/[A-Za-z0-9._/@*?-]{1,200}", re.ASCII)
_LEAST_RESULT_BYTES = 1_000  # a result that is cut says so, in JSON that is still valid
_MOST_RESULT_BYTES = 1_000_000_000


def tool_pattern(raw: object) -> Value:
    """SERVER/TOOL, or a pattern with * and ?."""
    word = fields.text(raw)
    if _PATTERN.fullmatch(word) is None:
        hint = "Write it as SERVER/TOOL, such as 'files/read_text_file' or 'files/*'."
        raise Fault(f"{word!r} is not a tool.", hint)
    return word


def _risks(raw: object) -> Value:
    said = fields.names(fields.choice(*RISKS))(raw)
    return [risk for risk in RISKS if isinstance(said, list) and risk in said]


TOOL = (
    Field("risk", _risks, list(ASSUMED)),
    Field("result_bytes", fields.count(_LEAST_RESULT_BYTES, _MOST_RESULT_BYTES), RESULT_BYTES),
    Field("on_large", fields.choice(*get_args(OnLarge)), "truncate"),
    Field("pins", fields.choice(*get_args(Pins)), "first"),
    Field("unit", fields.choice(*get_args(ResultUnit)), "kib"),
)


def build_tool(key: str, entry: Entry, *, disabled: bool) -> ToolEntry:
    """The entry of a tool, or of those that its pattern matches."""
    said = {name: value for name, value in entry.items() if name != "risk"}
    return msgspec.convert({**said, "pattern": key, "risks": strings(entry, "risk"), "disabled": disabled}, ToolEntry)
