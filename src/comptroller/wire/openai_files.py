"""OpenAI Files as dialects: uploading one, and reading, downloading and deleting it. Lists come from our records.

OpenAI takes nothing for files themselves; what a request does with one is held where it does it.

Source: the OpenAI API reference (Files; `input_file` of Responses).
"""

from __future__ import annotations

from collections.abc import Mapping

from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import FILE, StoredUse
from comptroller.wire.body import invalid
from comptroller.wire.head import PLAIN, Head
from comptroller.wire.multipart import form_type, write_form
from comptroller.wire.object_calls import ObjectCall, asks_nothing, file_tokens, read_upload
from comptroller.wire.openai_objects import OpenAIContents, OpenAIObjects

_HINT = "Send a form with `file` and `purpose`, as the official SDKs do."
_NAME = "openai_files"
_PATH = "/v1/files"
_MOST_PURPOSE = 64


class OpenAIUpload(OpenAIObjects):
    """The dialect of POST /v1/files."""

    def __init__(self) -> None:
        super().__init__(_NAME, FILE, _PATH)

    def read_request(self, body: bytes, head: Head = PLAIN) -> ObjectCall | Refusal:
        """A form with one file and its purpose; fields that we do not know go on as they are."""
        read = read_upload(body, head)
        if isinstance(read, Refusal):
            return read
        purpose = next((part.data for part in read.parts if part.name == "purpose"), b"")
        if not 0 < len(purpose) <= _MOST_PURPOSE or not purpose.isascii():
            return invalid("The form must say in `purpose` what the file is for.", _HINT, "purpose")
        use = StoredUse(keeps=FILE, size_bytes=len(read.file.data), tokens=file_tokens(read.file))
        return ObjectCall(asks_nothing(use), _PATH, write_form(read.parts), form_type(read.parts))


# By path, with the method before it.
FILE_CALLS: Mapping[str, OpenAIObjects] = {
    _PATH: OpenAIUpload(),
    "GET /v1/files/{name}": OpenAIObjects(_NAME, FILE, _PATH),
    "DELETE /v1/files/{name}": OpenAIObjects(_NAME, FILE, _PATH, deletes=True),
    "GET /v1/files/{name}/content": OpenAIContents(_NAME, FILE, _PATH, "/content"),
}
