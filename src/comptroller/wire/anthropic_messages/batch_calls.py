"""Message Batches as dialects: making one, and reading, cancelling and deleting it and what came of it.

Anthropic takes nothing but for what is in a batch. Lists come from our records. Source: the Anthropic API reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import BATCH, Named, StoredUse
from comptroller.wire.anthropic_messages.batch_reports import BatchAnswer, read_batch_answer
from comptroller.wire.anthropic_messages.batches import BatchRequest, read_batch, rewrite_batch
from comptroller.wire.anthropic_messages.dialect import AnthropicMessages, AskedRequest
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.object_calls import ObjectCall, asks_nothing, own_call

_PATH = "/v1/messages/batches"


class AnthropicBatches(AnthropicMessages):
    """The dialect of POST /v1/messages/batches. What it shares with Messages is said there."""

    name = "anthropic_batches"

    def read_request(self, body: bytes, head: Head = PLAIN) -> BatchRequest | Refusal:  # type: ignore[override]
        """All lines, or why one of them cannot be."""
        return read_batch(body)

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """One path for every batch."""
        return _PATH

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_tokens", model: str | None = None
    ) -> bytes:
        """Every line with its own limit, and none above the one that was decided on."""
        if not isinstance(request, BatchRequest):
            raise TypeError("a request of another dialect")
        return rewrite_batch(request, output_limit=output_limit, model=model)

    def read_answer(self, request: AskedRequest, body: bytes) -> BatchAnswer:  # type: ignore[override]
        """See batch_reports.py."""
        return read_batch_answer(body)


class AnthropicBatch(AnthropicMessages):
    """Acts on one batch: what stands in a path below its id is done to it. None of them takes a body."""

    name = "anthropic_batch"

    def __init__(self, below: str = "", *, deletes: bool = False) -> None:
        """`below`: what follows the id in the path."""
        self._below = below
        self._deletes = deletes

    def read_request(self, body: bytes, head: Head = PLAIN) -> ObjectCall | Refusal:  # type: ignore[override]
        """All of it is in the head; a body does not go on."""
        use = StoredUse((Named(head.named, BATCH, context=False),), deletes=self._deletes)
        return ObjectCall(asks_nothing(use), f"{_PATH}/{head.named}{self._below}")

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """Of the batch that it is about: our records have its id as it stands here."""
        return own_call(request).path

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_tokens", model: str | None = None
    ) -> bytes:
        """No body."""
        return own_call(request).body

    def read_answer(self, request: AskedRequest, body: bytes) -> BatchAnswer:  # type: ignore[override]
        """How far it is."""
        return BatchAnswer() if self._deletes else read_batch_answer(body)


class AnthropicBatchResults(AnthropicBatch):
    """Reading what came of a batch: lines of JSON, which pass as they are."""

    def __init__(self) -> None:
        super().__init__("/results")

    def read_answer(self, request: AskedRequest, body: bytes) -> BatchAnswer:
        """Nothing is said of the batch itself."""
        return BatchAnswer()


# By path, with the method before it.
BATCH_CALLS: Mapping[str, AnthropicMessages] = {
    _PATH: AnthropicBatches(),
    f"GET {_PATH}/{{name}}": AnthropicBatch(),
    f"DELETE {_PATH}/{{name}}": AnthropicBatch(deletes=True),
    f"{_PATH}/{{name}}/cancel": AnthropicBatch("/cancel"),
    f"GET {_PATH}/{{name}}/results": AnthropicBatchResults(),
}
