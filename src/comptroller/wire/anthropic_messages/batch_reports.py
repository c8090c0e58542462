"""What Anthropic says of a batch: how far it is, and what came of its requests.

Source: the Anthropic API reference. Requests that errored, were cancelled or expired are not billed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from comptroller.core.pricing.deferral import DeferredEnd, Ended, Line, Pending, Report
from comptroller.core.pricing.terms import Terms
from comptroller.core.pricing.usage import Usage
from comptroller.wire.anthropic_messages.answer import read_answer
from comptroller.wire.batch import BATCH_TIER
from comptroller.wire.batch_deferral import BatchDeferral
from comptroller.wire.lines import LineReader
from comptroller.wire.reported import Count

_PATH = "/v1/messages/batches"
_ENCODER = msgspec.json.Encoder()


class BatchAnswer(msgspec.Struct, frozen=True, gc=False):
    """A batch as its provider tells it."""

    malformed: bool = False
    object_id: str | None = None
    pending: bool = False
    told: str = ""
    expires_at_ns: int | None = None
    passed: bytes | None = None  # what the caller gets of it
    usage: Usage | None = None
    served_model: str | None = None


class _Counts(msgspec.Struct):
    processing: Count = 0
    succeeded: Count = 0
    errored: Count = 0
    canceled: Count = 0
    expired: Count = 0


class _Batch(msgspec.Struct):
    id: str
    processing_status: str
    request_counts: _Counts
    results_url: Any = None
    expires_at: str | None = None


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"null")


class _ResultLine(msgspec.Struct):
    custom_id: str
    result: _Result


_BATCH = msgspec.json.Decoder(_Batch)
_LINE = msgspec.json.Decoder(_ResultLine)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_batch_answer(body: bytes) -> BatchAnswer:
    """A batch that was made, read or cancelled; never raises."""
    try:
        batch = _BATCH.decode(body)
        passed = _with_own_results(body, batch)
    except (ValueError, RecursionError):
        return BatchAnswer(malformed=True)
    return BatchAnswer(
        object_id=batch.id,
        pending=True,  # what came of it never stands in the batch itself
        told=passed.decode("utf-8", "replace"),
        passed=passed,
    )


def _with_own_results(body: bytes, batch: _Batch) -> bytes:
    """The same, with the results at this gateway.

    The provider gives a whole address of its own, and an SDK would take the caller's credential of this gateway there.
    """
    if batch.results_url is None:
        return body
    return _ENCODER.encode(_OBJECT.decode(body) | {"results_url": results_path(batch.id)})


def results_path(batch_id: str) -> str:
    """Where the results of a batch are: an address without a host is at the host that said it."""
    return f"{_PATH}/{batch_id}/results"


def read_report(body: bytes) -> Report | None:
    """How far a batch is; None for what is no batch."""
    try:
        batch = _BATCH.decode(body)
    except (ValueError, RecursionError):
        return None
    if batch.processing_status != "ended":
        return Pending()
    counts = batch.request_counts
    said = (
        (counts.succeeded, "succeeded"), (counts.errored, "errored"), (counts.canceled, "canceled"),
        (counts.expired, "expired"),
    )  # fmt: skip
    end: DeferredEnd = "cancelled" if counts.canceled else "expired" if counts.expired else "completed"
    detail = ", ".join(f"{count} {what}" for count, what in said if count)
    told = _with_own_results(body, batch).decode("utf-8", "replace")
    if not counts.succeeded:
        return Ended(end, (Line("", Usage(0, 0, service_tier=BATCH_TIER)),), detail=detail, told=told)
    return Ended(end, results=(results_path(batch.id),), detail=detail, told=told, answered=counts.succeeded)


class ResultReader(LineReader):
    """Reads the results of a batch, a line for each request that was billed."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        super().__init__()
        self._hour_cache = any(each.long_cache_writes for each in terms.values())

    def read(self, line: bytes) -> Iterator[Line]:
        """Raises ValueError for what is no result."""
        result = _LINE.decode(line).result
        if result.type == "succeeded":
            yield Line("", _at_batch_rates(read_answer(bytes(result.message), self._hour_cache).usage))


def _at_batch_rates(usage: Usage | None) -> Usage | None:
    """A report that names no tier is of a batch all the same."""
    if usage is None or usage.service_tier is not None:
        return usage
    return msgspec.structs.replace(usage, service_tier=BATCH_TIER)


MESSAGE_BATCH_DEFERRAL = BatchDeferral(
    "anthropic",
    f"{_PATH}/",
    cancel="/cancel",
    lasts_s=26 * 3600,  # it expires after 24 hours
    read_report=read_report,
    results=ResultReader,
    headers=((b"anthropic-version", b"2023-06-01"),),
)
