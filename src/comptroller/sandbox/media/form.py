"""Requests that may be forms with files, read by Python's own parser of mail: another one than the gateway's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from typing import Any

import msgspec

from comptroller.sandbox.errors import invalid, not_found
from comptroller.sandbox.faults import Control, check_control
from comptroller.sandbox.media.prices import MEDIA, Media
from comptroller.sandbox.prices import TIERS


@dataclass(slots=True)
class Given:
    """What a request gives: values, and the bytes and names of files by their field."""

    values: dict[str, Any]
    files: dict[str, list[bytes]] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)

    def text(self, name: str, default: str) -> str:
        """A value as text."""
        value = self.values.get(name)
        return default if value is None else str(value)

    def count(self, name: str, default: int, most: int) -> int:
        """A whole number. Raises ApiError (400)."""
        text = self.text(name, str(default))
        if not text.isdigit() or not 1 <= int(text) <= most:
            raise invalid(f"Invalid '{name}': expected a whole number from 1 to {most}.", param=name)
        return int(text)

    def switch(self, name: str) -> bool:
        """A switch."""
        return self.text(name, "false").lower() == "true"

    @property
    def model(self) -> Media:
        """The model. Raises ApiError (404)."""
        model = MEDIA.get(self.text("model", ""))
        if model is None:
            raise not_found("The model does not exist or you do not have access to it.", "model_not_found")
        return model

    @property
    def control(self) -> Control:
        """The request's own wishes to the sandbox: an object, or its JSON in a field of a form."""
        asked = self.values.get("sandbox")
        try:
            control = msgspec.convert(msgspec.json.decode(asked) if isinstance(asked, str) else asked or {}, Control)
        except msgspec.DecodeError as error:
            raise invalid(f"Invalid request: {error}.", param="sandbox") from None
        check_control(control, TIERS)
        return control


def read_given(headers: Mapping[bytes, bytes], body: bytes) -> Given:
    """The values and files of a JSON object or a form. Raises ApiError."""
    kind = headers.get(b"content-type", b"")
    if not kind.startswith(b"multipart/form-data"):
        try:
            values = msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            raise invalid("We could not parse the JSON body of your request.") from None
        return Given(values)
    message = BytesParser(policy=policy.HTTP).parsebytes(b"content-type: " + kind + b"\r\n\r\n" + body)
    given = Given({})
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition")).removesuffix("[]")
        data = part.get_payload(decode=True)
        content = data if isinstance(data, bytes) else b""
        filename = part.get_filename()
        if filename is None:
            given.values[name] = content.decode()
        else:
            given.files.setdefault(name, []).append(content)
            given.names.setdefault(name, []).append(filename)
    return given


def events(*payloads: dict[str, Any]) -> bytes:
    """The whole stream of these events."""
    return b"".join(
        b"event: " + payload["type"].encode() + b"\ndata: " + msgspec.json.encode(payload) + b"\n\n"
        for payload in payloads
    )
