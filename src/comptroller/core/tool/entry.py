"""Tools as the registry knows them: what a call of one can do, and how its results and its definition are kept."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from comptroller.core.work.tool_use import ResultUnit

Risk = Literal["read", "write", "destructive", "spends_money", "open_world"]
RISKS: tuple[Risk, ...] = get_args(Risk)

ASSUMED: tuple[Risk, ...] = tuple(risk for risk in RISKS if risk != "read")
"""What a tool is taken to do where its entry does not say. What its server says of it (annotations) is not asked."""

RESULT_BYTES = 262_144
"""The most bytes of JSON in one result where its entry does not say: about 65,000 tokens of the next prompt."""

OnLarge = Literal["truncate", "refuse"]
Pins = Literal["first", "approved"]


class ToolEntry(msgspec.Struct, frozen=True):
    """One [tools."PATTERN"] entry. Tools are named SERVER/TOOL; what no entry matches is refused."""

    pattern: str  # a full name, or a pattern with * and ?
    risks: tuple[str, ...] = ASSUMED  # in the order of RISKS
    result_bytes: int = RESULT_BYTES
    on_large: OnLarge = "truncate"
    pins: Pins = "first"  # "approved": a person accepts every definition
    disabled: bool = False
    unit: ResultUnit = "kib"  # that results are billed by, where a price is for that
