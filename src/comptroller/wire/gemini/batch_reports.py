"""What the Gemini API says of a batch: how far it is, and what came of its requests, which stand in the report itself.

Source: the Gemini API reference (GenerateContentBatch). A request that failed is not billed, and a batch that expired
has no results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from comptroller.core.pricing.deferral import DeferredEnd, Ended, Line, Pending, Report
from comptroller.core.pricing.usage import Usage
from comptroller.wire.batch import BATCH_TIER
from comptroller.wire.batch_deferral import BatchDeferral
from comptroller.wire.gemini.answer import read_answer
from comptroller.wire.lines import NoResults

_NAME = "batches/"
_DIGITS = 9
_ENDS: Mapping[str, DeferredEnd] = {
    "SUCCEEDED": "completed",
    "FAILED": "provider_error",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
}


class BatchAnswer(msgspec.Struct, frozen=True, gc=False):
    """A batch as its provider tells it."""

    malformed: bool = False
    object_id: str | None = None
    pending: bool = False
    told: str = ""
    expires_at_ns: int | None = None
    usage: Usage | None = None
    served_model: str | None = None


class _Inlined(msgspec.Struct):
    response: msgspec.Raw = msgspec.Raw(b"null")
    error: Any = None


class _List(msgspec.Struct, rename="camel"):
    inlined_responses: list[_Inlined] | None = None


class _Output(msgspec.Struct, rename="camel"):
    inlined_responses: _List | None = None


class _Stats(msgspec.Struct, rename="camel"):
    successful_request_count: Any = None  # a whole number as a text, as all of 64 bits in Google's JSON


class _Metadata(msgspec.Struct, rename="camel"):
    state: str = ""
    output: _Output | None = None
    batch_stats: _Stats | None = None


class _Operation(msgspec.Struct):
    name: str
    metadata: _Metadata
    done: bool = False
    response: _Output | None = None


_DECODER = msgspec.json.Decoder(_Operation)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def read_batch_answer(body: bytes) -> BatchAnswer:
    """A batch that was made or read; never raises."""
    try:
        operation, told = _DECODER.decode(body), _told(body)
    except (ValueError, RecursionError):
        return BatchAnswer(malformed=True)
    named = operation.name.removeprefix(_NAME)
    # What came of it never stands in the answer that makes a batch: whoever makes one waits for its end.
    return BatchAnswer(object_id=named, pending=True, told=told)


def _told(body: bytes) -> str:
    """What lists show: all but the results."""
    said = _OBJECT.decode(body)
    said.pop("response", None)
    metadata = _OBJECT.decode(said.get("metadata", b"{}"))
    metadata.pop("output", None)
    return _ENCODER.encode({**said, "metadata": metadata}).decode("utf-8", "replace")


def read_report(body: bytes) -> Report | None:
    """How far a batch is; None for what is no batch."""
    if body.strip() == b"{}":  # a cancel is answered so
        return Pending()
    try:
        operation = _DECODER.decode(body)
    except (ValueError, RecursionError):
        return None
    end = _end(operation)
    if end is None:
        return Pending()
    lines = tuple(_lines(operation))
    if not lines and (_nothing_made(operation) or end == "expired"):
        lines = (Line("", Usage(0, 0, service_tier=BATCH_TIER)),)
    return Ended(end, lines, told=_told(body), answered=_answered(operation))


def _end(operation: _Operation) -> DeferredEnd | None:
    state = operation.metadata.state.rpartition("STATE_")[2]
    end = _ENDS.get(state)
    return "completed" if end is None and operation.done else end


def _answered(operation: _Operation) -> int:
    """How many requests the provider says it has answered."""
    stats = operation.metadata.batch_stats
    said = str(stats.successful_request_count) if stats is not None else ""
    return int(said) if said.isascii() and said.isdigit() and len(said) <= _DIGITS else 0


def _nothing_made(operation: _Operation) -> bool:
    """Whether the provider says so: every request failed, or none was reached."""
    stats, listed = operation.metadata.batch_stats, _listed(operation)
    if listed:
        return all(each.error is not None for each in listed)
    return stats is not None and stats.successful_request_count in {0, "0"}


def _listed(operation: _Operation) -> list[_Inlined]:
    for output in (operation.metadata.output, operation.response):
        if output is not None and output.inlined_responses is not None:
            return output.inlined_responses.inlined_responses or []
    return []


def _lines(operation: _Operation) -> Iterator[Line]:
    for each in _listed(operation):
        if each.error is None:
            usage = read_answer(bytes(each.response)).usage
            yield Line("", None if usage is None else msgspec.structs.replace(usage, service_tier=BATCH_TIER))


GEMINI_BATCH_DEFERRAL = BatchDeferral(
    "gemini",
    f"/v1beta/{_NAME}",
    cancel=":cancel",
    lasts_s=50 * 3600,  # it expires after 48 hours
    read_report=read_report,
    results=lambda terms: NoResults(),
)
