"""[[loops]]: reading one, and building the rule that calls meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast, get_args

import msgspec

from comptroller.core.budget.scope import ATTRIBUTES, Attribute
from comptroller.core.detection.loop_rule import SCOPED_BY, SIGNALS, LoopMode, LoopRule
from comptroller.core.detection.loops import WINDOW
from comptroller.core.problem import Fault
from comptroller.core.registry import fields
from comptroller.core.registry.entries import Entry, Value, scope_of
from comptroller.core.registry.fields import OFF, Field

MOST_TRIES = 1_000
MOST_SLOW_MS = 30_000
_MOST = WINDOW - 4  # so that every step of the answer is within the window


def _not_of_the_caller(raw: object) -> Value:
    raise Fault("A loop is about whoever acts, not about what serves it.", f"Known here: {', '.join(SCOPED_BY)}.")


LOOP = (
    Field("name", fields.name, mandatory=True),
    Field(
        "scope",
        (
            *(Field(each, fields.names(fields.text, ordered=False)) for each in SCOPED_BY),
            *(Field(each, _not_of_the_caller) for each in ATTRIBUTES if each not in SCOPED_BY),
        ),
        mandatory=True,
    ),
    Field("mode", fields.choice(*get_args(LoopMode)), "hard"),
    Field("same_step", fields.unless_off(2, _MOST)),
    Field("similar_step", fields.unless_off(2, _MOST)),
    Field("same_error", fields.unless_off(2, _MOST)),
    Field("error_replan", fields.unless_off(2, _MOST)),
    Field("ping_pong", fields.unless_off(2, 1_000)),
    Field("rising_cost", fields.unless_off(3, WINDOW)),
    Field("warn_only", fields.names(fields.choice(*SIGNALS), empty=True, ordered=False)),
    Field("slow_after", fields.unless_off(0, MOST_TRIES)),
    Field("slow_ms", fields.count(1, MOST_SLOW_MS)),
    Field("refuse_after", fields.unless_off(0, MOST_TRIES)),
    Field("quarantine_after", fields.unless_off(1, MOST_TRIES)),
)


def build_loop(key: str, entry: Entry) -> LoopRule:
    """The rule of an entry. What it does not say is as `LoopRule` has it."""
    scope = cast("Mapping[Attribute, list[str]]", scope_of(entry))
    said = {name: None if value == OFF and name != "mode" else value for name, value in entry.items()}
    scoped = {attribute: tuple(values) for attribute, values in scope.items()}
    return msgspec.convert({**said, "name": key, "scope": scoped}, LoopRule)
