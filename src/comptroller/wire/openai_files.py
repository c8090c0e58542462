"""OpenAI Files as dialects: uploading one, and reading, downloading and deleting it. Lists come from our records.

OpenAI takes nothing for files themselves; what a request does with one is held where it does it.

Source: the OpenAI API reference (Files; `input_file` of Responses).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import FILE, StoredUse
from comptroller.wire.body import invalid
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.multipart import Part, form_type, write_form
from comptroller.wire.object_calls import ObjectCall, asks_nothing, file_tokens, read_upload
from comptroller.wire.openai_batches.lines import BatchFile, read_file, rewrite_file
from comptroller.wire.openai_chat.request import LimitField
from comptroller.wire.openai_objects import OpenAIContents, OpenAIObjects
from comptroller.wire.openai_surface import AskedRequest

_HINT = "Send a form with `file` and `purpose`, as the official SDKs do."
_NAME = "openai_files"
_PATH = "/v1/files"
_MOST_PURPOSE = 64
_BATCH = b"batch"


class OpenAIUpload(OpenAIObjects):
    """The dialect of POST /v1/files."""

    def __init__(self) -> None:
        super().__init__(_NAME, FILE, _PATH)

    def read_request(self, body: bytes, head: Head = PLAIN) -> ObjectCall | BatchUpload | Refusal:  # type: ignore[override]
        """A form with one file and its purpose; fields that we do not know go on as they are."""
        read = read_upload(body, head)
        if isinstance(read, Refusal):
            return read
        purpose = next((part.data for part in read.parts if part.name == "purpose"), b"")
        if not 0 < len(purpose) <= _MOST_PURPOSE or not purpose.isascii():
            return invalid("The form must say in `purpose` what the file is for.", _HINT, "purpose")
        if purpose == _BATCH:
            return _of_batch(read.parts, read.file)
        use = StoredUse(keeps=FILE, size_bytes=len(read.file.data), tokens=file_tokens(read.file))
        return ObjectCall(asks_nothing(use), _PATH, write_form(read.parts), form_type(read.parts))

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """One path for every file."""
        return _PATH

    def content_type(self, request: AskedRequest) -> bytes:
        """Of what `rewrite` returns."""
        return form_type(request.parts) if isinstance(request, BatchUpload) else super().content_type(request)

    def rewrite(
        self,
        request: AskedRequest,
        *,
        output_limit: int,
        field: str = "max_tokens",
        model: str | None = None,
    ) -> bytes:
        """As it came; of a batch every line with its own limit, and none above the model's."""
        if isinstance(request, BatchUpload):
            return _rewritten(request, output_limit, field, model)
        return super().rewrite(request, output_limit=output_limit, field=field, model=model)


class BatchUpload(msgspec.Struct, frozen=True, gc=False):
    """The upload of a file of a batch: one that was read, for its lines are rewritten before it leaves."""

    asked: Asked
    parts: tuple[Part, ...]
    file: BatchFile


def _of_batch(parts: Sequence[Part], file: Part) -> BatchUpload | Refusal:
    """Free as any upload. Its model is that of its lines: it goes to whoever serves that, if it is permitted."""
    read = read_file(file.data)
    if isinstance(read, Refusal):
        return read
    use = StoredUse(keeps=FILE, size_bytes=len(file.data))
    asked = msgspec.structs.replace(asks_nothing(use), model=read.asked.model, lines=read.asked.lines)
    return BatchUpload(asked, tuple(parts), read)


def _rewritten(request: BatchUpload, output_limit: int, field: str, model: str | None) -> bytes:
    """The same form, with the lines as they leave."""
    named: LimitField = "max_completion_tokens" if field == "max_completion_tokens" else "max_tokens"
    content = rewrite_file(request.file, output_limit=output_limit, field=named, model=model)
    return write_form(request.parts, content)


# By path, with the method before it.
FILE_CALLS: Mapping[str, OpenAIObjects] = {
    _PATH: OpenAIUpload(),
    "GET /v1/files/{name}": OpenAIObjects(_NAME, FILE, _PATH),
    "DELETE /v1/files/{name}": OpenAIObjects(_NAME, FILE, _PATH, deletes=True),
    "GET /v1/files/{name}/content": OpenAIContents(_NAME, FILE, _PATH, "/content"),
}
