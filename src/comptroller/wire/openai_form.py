"""Requests of OpenAI surfaces that may come as a form with files: their fields as text, and their files."""

from __future__ import annotations

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.body import json_name
from comptroller.wire.checks import Invalid, expected
from comptroller.wire.head import JSON, Head
from comptroller.wire.multipart import Part, form_type, is_form, read_form, write_form
from comptroller.wire.openai_surface import AskedRequest, JsonRequest, encoded, read_body

_ENCODER = msgspec.json.Encoder()


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


def rewritten(request: JsonRequest | FormRequest, model: str | None) -> bytes:
    """The request as it came, in our spelling. `model` replaces the model's name."""
    if isinstance(request, JsonRequest):
        return _ENCODER.encode(request.fields if model is None else {**request.fields, "model": encoded(model)})
    return write_form(_named(request.parts, model))


def type_of(request: JsonRequest | FormRequest) -> bytes:
    """The content-type of what `rewritten` makes, whatever the model."""
    return JSON if isinstance(request, JsonRequest) else form_type(request.parts)


def own_form(request: AskedRequest) -> JsonRequest | FormRequest:
    """A request of ours, as it was handed on."""
    if not isinstance(request, JsonRequest | FormRequest):
        raise TypeError("a request of another dialect")
    return request


def _named(parts: list[Part], model: str | None) -> list[Part]:
    if model is None:
        return parts
    return [Part("model", model.encode()) if part.name == "model" else part for part in parts]
