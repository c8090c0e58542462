"""Batches of the Gemini API as dialects: making one, and reading, cancelling and deleting it.

Google takes nothing but for what is in a batch. Lists come from our records. Source: the Gemini API reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import BATCH, Named, StoredUse
from comptroller.wire.gemini.batch_reports import BatchAnswer, read_batch_answer
from comptroller.wire.gemini.batches import BatchRequest, read_batch, rewrite_batch
from comptroller.wire.gemini.dialect import VERSIONS, AskedRequest, GeminiMethod, Version, unfit
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.object_calls import ObjectCall, asks_nothing, own_call

_PATH = "/batches"
_CREATE = "batchGenerateContent"


class GeminiBatches(GeminiMethod):
    """The dialect of models/M:batchGenerateContent."""

    name = "gemini_batches"

    def __init__(self, version: Version) -> None:
        super().__init__(version, _CREATE)

    def read_request(self, body: bytes, head: Head = PLAIN) -> BatchRequest | Refusal:
        """All lines, or why one of them cannot be."""
        return unfit(head, stream=False) or read_batch(body, head)

    def rewrite(self, request: AskedRequest, *, output_limit: int, field: str = "", model: str | None = None) -> bytes:
        """Every line with its own limit, and none above the one that was decided on."""
        if not isinstance(request, BatchRequest):
            raise TypeError("a request of another dialect")
        return rewrite_batch(request, output_limit=output_limit, model=model)

    def read_answer(self, request: AskedRequest, body: bytes) -> BatchAnswer:  # type: ignore[override]
        """See batch_reports.py."""
        return read_batch_answer(body)


class GeminiBatch(GeminiMethod):
    """Acts on one batch. None of them takes a body."""

    name = "gemini_batch"

    def __init__(self, version: Version, below: str = "", *, deletes: bool = False) -> None:
        """`below`: what follows the id in the path."""
        super().__init__(version, "")
        self._path = f"/{version}{_PATH}"
        self._below = below
        self._deletes = deletes

    def read_request(self, body: bytes, head: Head = PLAIN) -> ObjectCall | Refusal:
        """All of it is in the head; a body does not go on."""
        use = StoredUse((Named(head.named, BATCH, context=False),), deletes=self._deletes)
        return unfit(head, stream=False) or ObjectCall(asks_nothing(use), f"{self._path}/{head.named}{self._below}")

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """Of the batch that it is about: our records have its id as it stands here."""
        return own_call(request).path

    def rewrite(self, request: AskedRequest, *, output_limit: int, field: str = "", model: str | None = None) -> bytes:
        """No body."""
        return own_call(request).body

    def read_answer(self, request: AskedRequest, body: bytes) -> BatchAnswer:  # type: ignore[override]
        """How far it is; a cancel and a delete are answered with nothing."""
        return BatchAnswer() if self._deletes or self._below else read_batch_answer(body)


# By path, with the method before it.
BATCH_CALLS: Mapping[str, GeminiBatches | GeminiBatch] = {
    call: dialect
    for version in VERSIONS
    for call, dialect in (
        (f"/{version}/models/{{name}}:{_CREATE}", GeminiBatches(version)),
        (f"GET /{version}{_PATH}/{{name}}", GeminiBatch(version)),
        (f"DELETE /{version}{_PATH}/{{name}}", GeminiBatch(version, deletes=True)),
        (f"/{version}{_PATH}/{{name}}:cancel", GeminiBatch(version, ":cancel")),
    )
}
