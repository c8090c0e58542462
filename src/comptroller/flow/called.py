"""The tools that a model's answer calls: on record with keyed digests of their arguments, never with these."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from comptroller.core.tool.called import CalledTool
from comptroller.core.tool.canonical import canonical_arguments
from comptroller.core.work.conversation import Call
from comptroller.flow.attempt import Attempt
from comptroller.flow.gate import Gate
from comptroller.wire.reported import read_name

_ENCODER = msgspec.json.Encoder()


@runtime_checkable
class Calling(Protocol):
    """What read an answer, of a dialect whose models may call tools."""

    @property
    def called(self) -> tuple[Call, ...]: ...


def called_by(gate: Gate, attempt: Attempt) -> tuple[CalledTool, ...]:
    """The tools that the answer calls, as far as it has come."""
    reading = attempt.reading
    if reading is None or not isinstance(reading, Calling):
        return ()
    calls = reading.called
    if not calls:
        return ()
    mask = attempt.reservation.decision.provider.mask
    return tuple(CalledTool(mask.name(read_name(each.name)) or "", _digest(gate, each)) for each in calls)


def _digest(gate: Gate, call: Call) -> str:
    """Of what it calls the tool with; '' where that was too long to be kept."""
    arguments = call.arguments
    if arguments is None:
        return ""
    text = arguments.encode() if isinstance(arguments, str) else _ENCODER.encode(arguments)
    return gate.credentials.digest(canonical_arguments(text))
