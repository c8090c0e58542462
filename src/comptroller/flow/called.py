"""The tools that a model's answer calls: on record with keyed digests of their arguments, never with these."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from comptroller.core.tool.called import CalledTool
from comptroller.core.tool.canonical import canonical_arguments
from comptroller.core.work.conversation import Call
from comptroller.flow.attempt import Attempt
from comptroller.flow.caller import Caller
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


def watch_called(gate: Gate, attempt: Attempt) -> None:
    """What its answer calls from now on may be the cause of calls to tools. Nobody asks where there are no servers."""
    if gate.causes is None or attempt.reservation.asked.tool is not None:
        return
    session = attempt.reservation.caller.session
    gate.causes.begin(session.top, session.id, attempt.reservation.call_id, lambda: called_by(gate, attempt))


def note_called(gate: Gate, attempt: Attempt) -> None:
    """It is over; what it called may be the cause of calls to tools for a while."""
    if gate.causes is None or attempt.reservation.asked.tool is not None:
        return
    session = attempt.reservation.caller.session
    gate.causes.end(session.top, session.id, attempt.reservation.call_id, attempt.called)


def cause_of(gate: Gate, caller: Caller, tool: str, arguments_digest: str) -> str | None:
    """The call to a model whose answer asked for this call to a tool, as SERVER/TOOL; None: nobody knows of one."""
    if gate.causes is None:
        return None
    return gate.causes.find(caller.session.top, caller.session.id, tool, arguments_digest)


def _digest(gate: Gate, call: Call) -> str:
    """Of what it calls the tool with; '' where that was too long to be kept."""
    arguments = call.arguments
    if arguments is None:
        return ""
    text = arguments.encode() if isinstance(arguments, str) else _ENCODER.encode(arguments)
    return gate.credentials.digest(canonical_arguments(text))
