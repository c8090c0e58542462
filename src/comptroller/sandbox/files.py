"""OpenAI Files as a surface: kept by key, and whoever has the key has them all. Nothing is billed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

import msgspec

from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.errors import invalid, not_found
from comptroller.sandbox.faults import Control
from comptroller.sandbox.media.form import read_given
from comptroller.sandbox.single import Job, Made

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

    def __init__(self, files: Files, act: str, name: str) -> None:
        self._files = files
        self._act = act
        self._id = name

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Job:
        """Raises ApiError (404 for what this key has not uploaded, 400 for what is no file)."""
        key = self.key(headers) or ""
        if self._act == "upload":
            file, control = _uploaded(headers, body)
            return Job("", control, lambda _: _made(self._files.keep(key, file).shown()))
        if self._act == "list":
            page = {"object": "list", "data": [file.shown() for file in self._files.of(key)], "has_more": False}
            return Job("", Control(), lambda _: _made(page))
        found = self._files.find(key, self._id)
        if found is None:
            raise not_found(f"No such File object: {self._id}")
        if self._act == "delete":
            self._files.forget(key, self._id)
            return Job("", Control(), lambda _: _made({"id": self._id, "object": "file", "deleted": True}))
        if self._act == "download":
            raw = Made(found.content, found.content, content_type=b"application/octet-stream")
            return Job("", Control(), lambda _: raw)
        return Job("", Control(), lambda _: _made(found.shown()))


def _uploaded(headers: Mapping[bytes, bytes], body: bytes) -> tuple[File, Control]:
    given = read_given(headers, body)
    (content,), (name,) = given.files.get("file", [b""]), given.names.get("file", [""])
    if not name:
        raise invalid("'file' is a required property", param="file")
    now = int(time.time())
    file = File(f"file-{uuid4().hex}", name, given.text("purpose", ""), content, now)
    if not file.purpose:
        raise invalid("'purpose' is a required property", param="purpose")
    seconds = given.values.get("expires_after[seconds]")
    return (replace(file, expires_at=now + int(seconds)) if seconds else file), given.control


def _made(value: object) -> Made:
    body = msgspec.json.encode(value)
    return Made(body, body)
