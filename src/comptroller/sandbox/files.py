"""OpenAI Files as a surface: kept by key, and whoever has the key has them all. Nothing is billed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

import msgspec

from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.errors import Refusal, invalid, not_found
from comptroller.sandbox.faults import Control
from comptroller.sandbox.media.form import read_given
from comptroller.sandbox.messages.surface import MessagesSurface, check_version
from comptroller.sandbox.single import Job, Made
from comptroller.sandbox.wire import Headers

_PATH = "/files"
_ACTS = {"": {"GET": "read", "DELETE": "delete"}, "content": {"GET": "download"}}


@dataclass(frozen=True, slots=True)
class File:
    """One file."""

    id: str
    name: str
    purpose: str
    content: bytes
    made_at: int
    expires_at: int | None = None

    def shown_as_anthropic(self) -> dict[str, object]:
        """As Anthropic tells of it."""
        made_at = datetime.fromtimestamp(self.made_at, UTC).isoformat()
        return {
            "id": self.id, "type": "file", "filename": self.name, "mime_type": "text/plain",
            "size_bytes": len(self.content), "created_at": made_at, "downloadable": True,
        }  # fmt: skip

    def shown(self) -> dict[str, object]:
        """As OpenAI tells of it."""
        return {
            "id": self.id, "object": "file", "bytes": len(self.content), "created_at": self.made_at,
            "expires_at": self.expires_at, "filename": self.name, "purpose": self.purpose,
            "status": "processed", "status_details": None,
        }  # fmt: skip


class Files:
    """The youngest files of every key."""

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._files: dict[tuple[str, str], File] = {}

    def keep(self, key: str, file: File) -> File:
        """Keep it; the oldest makes room."""
        self._files[key, file.id] = file
        if len(self._files) > self._most:
            del self._files[next(iter(self._files))]
        return file

    def find(self, key: str, name: str) -> File | None:
        """The file of this id, for this key."""
        return self._files.get((key, name))

    def forget(self, key: str, name: str) -> None:
        """Delete it."""
        self._files.pop((key, name), None)

    def of(self, key: str) -> list[File]:
        """All files of a key, the youngest first."""
        return [file for (whose, _), file in self._files.items() if whose == key][::-1]

    def names(self) -> list[str]:
        """The ids of all files, the oldest first."""
        return [name for _, name in self._files]


def file_acts(path: str) -> dict[str, tuple[str, str]]:
    """By method, what is done to which file on a path; nothing if it is a path of something else."""
    if path == _PATH:
        return {"POST": ("upload", ""), "GET": ("list", "")}
    if not path.startswith(f"{_PATH}/"):
        return {}
    name, _, below = path.removeprefix(f"{_PATH}/").partition("/")
    return {method: (act, name) for method, act in _ACTS.get(below, {}).items()}


class FilesSurface(OpenAISpoken):
    """One act on files."""

    name = "files"

    prefix = "file-"

    def __init__(self, files: Files, act: str, name: str) -> None:
        self._files = files
        self._act = act
        self._id = name

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Raises ApiError (404 for what this key has not uploaded, 400 for what is no file)."""
        key = self.key(headers) or ""
        if self._act == "upload":
            file, control = _uploaded(headers, body, self.prefix)
            return Job("", control, lambda _: _made(self._shown(self._files.keep(key, file))))
        if self._act == "list":
            page = {"object": "list", "data": [self._shown(file) for file in self._files.of(key)], "has_more": False}
            return Job("", Control(), lambda _: _made(page))
        found = self._files.find(key, self._id)
        if found is None:
            raise not_found(f"No such File object: {self._id}")
        if self._act == "delete":
            self._files.forget(key, self._id)
            return Job("", Control(), lambda _: _made(self._deleted()))
        if self._act == "download":
            raw = Made(found.content, found.content, content_type=b"application/octet-stream")
            return Job("", Control(), lambda _: raw)
        return Job("", Control(), lambda _: _made(self._shown(found)))

    def _shown(self, file: File) -> dict[str, object]:
        return file.shown()

    def _deleted(self) -> dict[str, object]:
        return {"id": self._id, "object": "file", "deleted": True}


class AnthropicFilesSurface(FilesSurface):
    """The same in Anthropic's words."""

    name = "anthropic_files"
    no_key = MessagesSurface.no_key
    wrong_key = MessagesSurface.wrong_key
    prefix = "file_"

    def key(self, headers: Mapping[bytes, bytes]) -> str | None:
        """See messages/surface.py."""
        return MessagesSurface().key(headers)

    def error(self, refusal: Refusal) -> tuple[Headers, bytes]:
        """As Anthropic says it."""
        return MessagesSurface().error(refusal)

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """The API's version must be said."""
        check_version(headers)
        return super().read(headers, body)

    def _shown(self, file: File) -> dict[str, object]:
        return file.shown_as_anthropic()

    def _deleted(self) -> dict[str, object]:
        return {"id": self._id, "type": "file_deleted"}


def _uploaded(headers: Mapping[bytes, bytes], body: bytes, prefix: str) -> tuple[File, Control]:
    given = read_given(headers, body)
    (content,), (name,) = given.files.get("file", [b""]), given.names.get("file", [""])
    if not name:
        raise invalid("'file' is a required property", param="file")
    now = int(time.time())
    file = File(f"{prefix}{uuid4().hex}", name, given.text("purpose", ""), content, now)
    if not file.purpose and prefix == FilesSurface.prefix:
        raise invalid("'purpose' is a required property", param="purpose")
    seconds = given.values.get("expires_after[seconds]")
    return (replace(file, expires_at=now + int(seconds)) if seconds else file), given.control


def _made(value: object) -> Made:
    body = msgspec.json.encode(value)
    return Made(body, body)
