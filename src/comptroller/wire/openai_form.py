"""Requests of OpenAI surfaces that may come as a form with files: their fields as text, and their files."""

from __future__ import annotations

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.body import json_name
from comptroller.wire.checks import Invalid, expected
from comptroller.wire.head import JSON, PLAIN, Head
from comptroller.wire.multipart import Part, form_type, is_form, read_form, write_form
from comptroller.wire.openai_surface import AskedRequest, JsonRequest, OpenAISurface, read_body


class FormRequest(msgspec.Struct, frozen=True, gc=False):
    """A form that was read: its bounds, and its parts as they came."""

    asked: Asked
    parts: list[Part]


class Fields(msgspec.Struct, frozen=True, gc=False):
    """The fields of a request, whichever way they came. Of a form all values are texts."""

    values: dict[str, object]
    files: tuple[Part, ...]
    text_bytes: int  # of all that is no file
    parts: list[Part] | None = None
    raw: dict[str, msgspec.Raw] = {}

    def request(self, asked: Asked) -> JsonRequest | FormRequest:
        """The request that it is, with its bounds."""
        return JsonRequest(asked, self.raw) if self.parts is None else FormRequest(asked, self.parts)

    def whole_number(self, name: str, least: int, most: int, default: int) -> int:
        """A whole number, as JSON or as text. Raises Invalid."""
        value = self.values.get(name)
        if value is None:
            return default
        if (
            self.parts is not None
            and isinstance(value, str)
            and value.isascii()
            and value.isdigit()
            and len(value) < 10
        ):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise expected(self.values, name, f"a whole number from {least} to {most}")
        return value

    def flag(self, name: str) -> bool:
        """A switch, as JSON or as text. Raises Invalid."""
        value = self.values.get(name)
        if self.parts is not None and value in ("true", "false", "True", "False"):
            return value in ("true", "True")
        if value is not None and not isinstance(value, bool):
            raise expected(self.values, name, "true or false")
        return value is True

    def text(self, name: str, most: int) -> str | None:
        """A text of at most so many characters. Raises Invalid."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise Invalid(f"`{name}` must be a text, and it is a JSON {json_name(value)}.", name)
        if value is not None and len(value) > most:
            raise Invalid(f"`{name}` has {len(value)} characters, and at most {most} are taken.", name)
        return value


def read_fields(body: bytes, head: Head) -> Fields | Refusal:
    """The fields of a JSON object or of a form."""
    if not is_form(head.content_type):
        read = read_body(body)
        return read if isinstance(read, Refusal) else Fields(read.request, (), read.size, None, read.fields)
    parts = read_form(body, head.content_type)
    if isinstance(parts, Refusal):
        return parts
    values: dict[str, object] = {}
    size = 0
    for part in parts:
        if part.filename is not None:
            continue
        try:
            text = part.data.decode()
        except UnicodeDecodeError:
            return Invalid(f"`{part.name}` is not valid UTF-8.", part.name).refusal
        size += len(part.data)
        name = part.name.removesuffix("[]")
        known = values.get(name)
        values[name] = text if not part.name.endswith("[]") else [*(known if isinstance(known, list) else ()), text]
    return Fields(values, tuple(part for part in parts if part.filename is not None), size, parts)


class FormSurface(OpenAISurface):
    """A surface whose requests come as JSON or as a form."""

    def read_request(self, body: bytes, head: Head = PLAIN) -> AskedRequest | Refusal:
        """Read and check a body; `request_invalid` names the field and what was expected there."""
        fields = read_fields(body, head)
        if isinstance(fields, Refusal):
            return fields
        try:
            return fields.request(self.asked_in(fields))
        except Invalid as wrong:
            return wrong.refusal

    def asked_in(self, fields: Fields) -> Asked:
        """What bounds the cost of a request. Raises Invalid."""
        raise NotImplementedError

    def content_type(self, request: AskedRequest) -> bytes:
        """Of what `rewrite` returns, whatever the model."""
        return form_type(request.parts) if isinstance(request, FormRequest) else JSON

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_tokens", model: str | None = None
    ) -> bytes:
        """The request as it came, in our spelling: there is no output to limit."""
        if not isinstance(request, FormRequest):
            return super().rewrite(request, output_limit=output_limit, field=field, model=model)
        return write_form(_named(request.parts, model))


def _named(parts: list[Part], model: str | None) -> list[Part]:
    if model is None:
        return parts
    return [Part("model", model.encode()) if part.name == "model" else part for part in parts]
