"""Checks of a request's top-level fields: a refusal names the field and says what was expected there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard, cast

import msgspec

from comptroller.wire.body import invalid, is_array, is_object, json_name, shown

MOST_MODEL_CHARACTERS = 256
_MOST_WORD_CHARACTERS = 64


class Invalid(Exception):
    """Ends the reading of a request; carries the refusal."""

    def __init__(self, sentence: str, param: str, hint: str = "") -> None:
        super().__init__(sentence)
        self.refusal = invalid(sentence, hint, param)


def expected(request: Mapping[str, object], name: str, what: str) -> Invalid:
    """The refusal of a field that is missing or is not what it must be."""
    if name not in request:
        return Invalid(f"The request has no `{name}`: {what} was expected.", name)
    return Invalid(f"`{name}` must be {what}, and it is {_sight(request[name])}.", name)


def model_name(request: dict[str, object]) -> str:
    """The model that the request names."""
    model = request.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MOST_MODEL_CHARACTERS or not model.isprintable():
        raise expected(request, "model", f"the name of a model, at most {MOST_MODEL_CHARACTERS} printable characters")
    return model


def boolean(request: dict[str, object], name: str) -> bool:
    """A switch; left out and null are off."""
    value = request.get(name)
    if value is not None and not isinstance(value, bool):
        raise expected(request, name, "true or false")
    return value is True


def word(request: dict[str, object], name: str, example: str) -> str | None:
    """A short string; None if it is left out or null."""
    value = request.get(name)
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= _MOST_WORD_CHARACTERS):
        raise expected(request, name, f'a short string such as "{example}"')
    return value


def array(request: dict[str, object], name: str) -> list[object]:
    """An array; empty if it is left out or null."""
    value = request.get(name)
    if value is None:
        return []
    if not is_array(value):
        raise expected(request, name, "an array")
    return value


def is_whole_number(value: object, least: int) -> TypeGuard[int]:
    """Whether a decoded JSON value is a whole number from `least` on; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def whole_number(request: Mapping[str, object], name: str, least: int = 1, most: int | None = None) -> int | None:
    """A whole number in these bounds; None if it is left out or null."""
    value = request.get(name)
    if value is None:
        return None
    if not is_whole_number(value, least) or (most is not None and value > most):
        raise expected(request, name, f"a whole number from {least} " + (f"to {most}" if most is not None else "on"))
    return value


def objects(request: Mapping[str, object], name: str) -> list[dict[str, object]]:
    """A non-empty array of objects."""
    values = request.get(name)
    if not is_array(values) or not values:
        raise expected(request, name, "a non-empty array of objects")
    for position, value in enumerate(values):
        if not is_object(value):
            place = f"{name}[{position}]"
            raise Invalid(f"`{place}` must be an object, and it is a JSON {json_name(value)}.", place)
    return cast("list[dict[str, object]]", values)


def punctuation(rendered: msgspec.Raw | bytes | None) -> int:
    """Tokens that a prompt template adds where it prints JSON with spaces and line breaks: one a mark at most."""
    if rendered is None:
        return 0
    text = bytes(rendered)
    return len(text) - len(text.translate(None, b"{}[],:"))


def _sight(value: object) -> str:
    """A wrong value, shown where that helps."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9):
        return str(value)
    if is_array(value) and not value:
        return "an empty array"
    return f"a JSON {json_name(value)}"


_OF_THINKING = ("reason", "think")  # in names such as `reasoning_effort`, `include_reasoning`, `enable_thinking`
_MAY_HOLD_IT = frozenset({"chat_template_kwargs", "extra_body", "google"})
_OFF: tuple[object, ...] = (None, "none", {"type": "disabled"}, {"effort": "none"})


def hides_output(request: dict[str, object]) -> bool:
    """Whether a request itself turns thinking on, or says how it is shown: it may be billed and not seen then.

    What a model does unasked the registry knows (`visible_output`); what callers make of it nobody promised.
    """
    for name, value in request.items():
        folded = name.casefold()
        if folded in _MAY_HOLD_IT or any(each in folded for each in _OF_THINKING):
            off = value in _OFF or (value is False and folded == "enable_thinking")
            if not off:
                return True
    return False
