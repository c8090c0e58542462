"""What OpenAI says of a batch: how far it is, and what came of its requests, which stands in files.

The file of errors has requests that failed, which are not billed. Source: the OpenAI API reference (Batch).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from comptroller.core.pricing.deferral import DeferredEnd, Ended, Line, Pending, Report
from comptroller.core.pricing.terms import Terms
from comptroller.core.pricing.usage import Usage
from comptroller.wire.batch import BATCH_TIER
from comptroller.wire.batch_deferral import BatchDeferral
from comptroller.wire.lines import LineReader
from comptroller.wire.openai_chat.answer import read_answer as read_chat
from comptroller.wire.openai_embeddings import read_input_usage
from comptroller.wire.openai_responses.answer import read_answer as read_response
from comptroller.wire.reported import Count

PATH = "/v1/batches"
_ENDS: Mapping[str, DeferredEnd] = {
    "completed": "completed",
    "failed": "provider_error",
    "expired": "expired",
    "cancelled": "cancelled",
}
_OK = range(200, 300)


class _Counts(msgspec.Struct):
    total: Count = 0
    completed: Count = 0
    failed: Count = 0


class _Batch(msgspec.Struct):
    id: str
    status: str
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: _Counts | None = None


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw = msgspec.Raw(b"null")


class _ResultLine(msgspec.Struct):
    response: _Response | None = None
    error: Any = None


class _Kind(msgspec.Struct):
    object: Any = None


_BATCH = msgspec.json.Decoder(_Batch)
_LINE = msgspec.json.Decoder(_ResultLine)
_KIND = msgspec.json.Decoder(_Kind)


def read_report(body: bytes) -> Report | None:
    """How far a batch is; None for what is no batch."""
    try:
        batch = _BATCH.decode(body)
    except (ValueError, RecursionError):
        return None
    end = _ENDS.get(batch.status)
    if end is None:
        return Pending()
    counts = batch.request_counts or _Counts()
    detail = f"{counts.completed} of {counts.total} completed, {counts.failed} failed"
    files = tuple(each for each in (batch.output_file_id, batch.error_file_id) if each is not None)
    told = body.decode("utf-8", "replace")
    if batch.output_file_id is not None:
        path = f"/v1/files/{batch.output_file_id}/content"
        return Ended(end, results=(path,), detail=detail, told=told, files=files, answered=counts.completed)
    # Without a file of results nothing was answered; that some were, and no file has them, is a doubt.
    lines = () if counts.completed else (Line("", Usage(0, 0, service_tier=BATCH_TIER)),)
    return Ended(end, lines, detail=detail, told=told, files=files)


class ResultReader(LineReader):
    """Reads a file of results, a line for each request that was billed."""

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        super().__init__()
        self._long_cache = any(each.long_cache_writes for each in terms.values())

    def read(self, line: bytes) -> Iterator[Line]:
        """Raises ValueError for what is no result."""
        response = _LINE.decode(line).response
        if response is not None and response.status_code in _OK:
            usage = _usage(bytes(response.body), self._long_cache)
            yield Line("", None if usage is None else msgspec.structs.replace(usage, service_tier=BATCH_TIER))


def _usage(body: bytes, long_cache: bool) -> Usage | None:
    """By what the answer says that it is. The tier that it names is that of an answer outside of batches."""
    match _KIND.decode(body).object:
        case "response":
            return read_response(body, long_cache).usage
        case "list":
            return read_input_usage(body).usage
        case _:
            return read_chat(body, long_cache).usage


OPENAI_BATCH_DEFERRAL = BatchDeferral(
    "openai",
    f"{PATH}/",
    cancel="/cancel",
    lasts_s=26 * 3600,  # it expires after 24 hours
    read_report=read_report,
    results=ResultReader,
)
