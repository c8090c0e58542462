"""OpenAI batches as dialects: uploading the file of one, making one of it, and reading and cancelling it.

OpenAI takes nothing but for what is in a batch. Lists come from our records. Source: the OpenAI API reference (Batch).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import BATCH, FILE, Named, StoredUse
from comptroller.wire.body import invalid, shown
from comptroller.wire.checks import Invalid, expected
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.object_calls import ObjectAnswer, read_object_answer
from comptroller.wire.openai_batches.reports import PATH
from comptroller.wire.openai_objects import OpenAIObjects
from comptroller.wire.openai_surface import AskedRequest, JsonRequest, OpenAISurface, own, read_body

_FIELDS = frozenset({"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"})
_ENCODER = msgspec.json.Encoder()


class BatchAnswer(ObjectAnswer, frozen=True, gc=False):
    """A batch as its provider tells it. What came of it never stands in the batch itself: its end is waited for."""

    pending: bool = True


class OpenAIBatches(OpenAISurface):
    """The dialect of POST /v1/batches. What bounds it our records know of its file."""

    name = "openai_batches"
    path = PATH

    def read_request(self, body: bytes, head: Head = PLAIN) -> JsonRequest | Refusal:
        """The file that it is of; `request_invalid` names the field that is wrong."""
        read = read_body(body)
        if isinstance(read, Refusal):
            return read
        strange = next((name for name in read.request if name not in _FIELDS), None)
        if strange is not None:
            return invalid(f"A batch has no field {shown(strange)}.", "Leave it out.", strange[:64])
        try:
            named = _text(read.request, "input_file_id")
            endpoint = _text(read.request, "endpoint")
        except Invalid as wrong:
            return wrong.refusal
        use = StoredUse((Named(named, FILE, "input_file_id", context=False),), keeps=BATCH, endpoint=endpoint)
        return JsonRequest(Asked(model="", stream=False, text_tokens=0, stored=use, deferred=True), read.fields)

    def rewrite(
        self,
        request: AskedRequest,
        *,
        output_limit: int,
        field: str = "max_tokens",
        model: str | None = None,
    ) -> bytes:
        """As it came: the limits and the model stand in the file already."""
        return _ENCODER.encode(own(request).fields)

    def read_answer(self, request: AskedRequest, body: bytes) -> BatchAnswer:
        """The batch that was made."""
        return _read_batch(body)


class OpenAIBatch(OpenAIObjects):
    """Acts on one batch."""

    def read_answer(self, request: AskedRequest, body: bytes) -> BatchAnswer:
        """How far it is."""
        return _read_batch(body)


def _read_batch(body: bytes) -> BatchAnswer:
    said = read_object_answer(body)
    # `expires_at` of a batch is when it is given up; it is still there after that.
    return BatchAnswer(object_id=said.object_id, told=said.told, malformed=said.malformed)


def _text(request: Mapping[str, object], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise expected(dict(request), name, "a text")
    return value


# By path, with the method before it.
BATCH_CALLS: Mapping[str, OpenAIBatches | OpenAIBatch] = {
    PATH: OpenAIBatches(),
    f"GET {PATH}/{{name}}": OpenAIBatch("openai_batch", BATCH, PATH),
    f"{PATH}/{{name}}/cancel": OpenAIBatch("openai_batch", BATCH, PATH, "/cancel"),
}
