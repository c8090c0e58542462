"""Anthropic Files as dialects: uploading one, and reading, downloading and deleting it. Lists come from our records.

Anthropic takes nothing for files themselves; what a request does with one is held where it does it.

Source: the Anthropic API reference (Files API).
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import FILE, Named, StoredUse
from comptroller.wire.anthropic_messages.dialect import QUERY_PARAMETERS, REQUEST_HEADERS, RESPONSE_HEADERS
from comptroller.wire.anthropic_messages.refusals import refusal_body, refusal_event
from comptroller.wire.anthropic_messages.stream import StreamMeter
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.multipart import form_type, write_form
from comptroller.wire.object_calls import (
    AskedRequest,
    ObjectAnswer,
    ObjectCall,
    asks_nothing,
    file_tokens,
    own_call,
    read_object_answer,
    read_upload,
)

_PATH = "/v1/files"


class AnthropicFiles:
    """Acts on one file: what stands in a path below its id is done to it. None of them takes a body."""

    name = "anthropic_files"
    family = "anthropic"
    request_headers = REQUEST_HEADERS
    default_headers = ((b"anthropic-version", b"2023-06-01"),)
    query_parameters = QUERY_PARAMETERS
    response_headers = RESPONSE_HEADERS
    request_id_header: bytes | None = b"request-id"

    def __init__(self, below: str = "", *, deletes: bool = False, raw: bool = False) -> None:
        """`below`: what follows the id. `raw`: the answer is the bytes of the file."""
        self._below = below
        self._deletes = deletes
        self._raw = raw

    def read_request(self, body: bytes, head: Head = PLAIN) -> ObjectCall | Refusal:
        """All of it is in the head; a body does not go on."""
        use = StoredUse((Named(head.named, FILE),), deletes=self._deletes)
        return ObjectCall(asks_nothing(use), f"{_PATH}/{head.named}{self._below}")

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """Of the file that it is about: our records have its id as it stands here."""
        return own_call(request).path

    def content_type(self, request: AskedRequest) -> bytes:
        """Of what `rewrite` returns."""
        return own_call(request).content_type

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_tokens", model: str | None = None
    ) -> bytes:
        """Its body, if it has one."""
        return own_call(request).body

    def read_answer(self, request: AskedRequest, body: bytes) -> ObjectAnswer:
        """What it says of the file."""
        return ObjectAnswer() if self._raw else read_object_answer(body)

    def stream_meter(self, request: AskedRequest) -> StreamMeter:
        """None of these is a stream."""
        return StreamMeter()

    def refusal_body(self, refusal: Refusal, call_id: str) -> bytes:
        """Anthropic's error shape."""
        return refusal_body(refusal, call_id)

    def refusal_event(self, refusal: Refusal, call_id: str, meter: object = None) -> bytes:
        """The same as an event."""
        return refusal_event(refusal, call_id)


class AnthropicUpload(AnthropicFiles):
    """The dialect of POST /v1/files."""

    def read_request(self, body: bytes, head: Head = PLAIN) -> ObjectCall | Refusal:
        """A form with one file; fields that we do not know go on as they are."""
        read = read_upload(body, head)
        if isinstance(read, Refusal):
            return read
        use = StoredUse(keeps=FILE, size_bytes=len(read.file.data), tokens=file_tokens(read.file))
        return ObjectCall(asks_nothing(use), _PATH, write_form(read.parts), form_type(read.parts))


# By path, with the method before it.
FILE_CALLS: Mapping[str, AnthropicFiles] = {
    _PATH: AnthropicUpload(),
    "GET /v1/files/{name}": AnthropicFiles(),
    "DELETE /v1/files/{name}": AnthropicFiles(deletes=True),
    "GET /v1/files/{name}/content": AnthropicFiles("/content", raw=True),
}
