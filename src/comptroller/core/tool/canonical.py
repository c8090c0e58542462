"""JSON in one spelling: whoever made it, what means the same has the same bytes, and so the same digest.

The spelling is that of RFC 8785 (JCS): keys in the order of their UTF-16 code units, no white space, numbers as
ECMAScript writes them. One thing differs: a whole number that was written without a fraction or an exponent keeps all
of its digits. RFC 8785 would round those above 2^53, and two different calls would be one.
"""

from __future__ import annotations

import re
from typing import cast

import msgspec

NO_ARGUMENTS = b"{}"

_FOUR_BYTES = 0xF0  # such characters, as UTF-8, are two code units in UTF-16: only they sort elsewhere there
_LEAST_EXPONENT, _MOST_WHOLE_DIGITS = -7, 21  # ECMAScript writes what is beyond with an exponent
_REPR = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?")


def canonical(text: bytes | msgspec.Raw) -> bytes:
    """One spelling of a JSON text. What is no JSON, or nests deeper than anybody reads, stays as it is."""
    try:
        value = cast("object", _DECODER.decode(text))
        spelled = _ENCODER.encode(value)
        if max(spelled) >= _FOUR_BYTES:
            spelled = _AS_IT_STANDS.encode(_in_utf16_order(value))
    except (ValueError, RecursionError):
        return bytes(text)
    return spelled


def canonical_arguments(arguments: bytes | msgspec.Raw) -> bytes:
    """One spelling of the arguments of a tool call; none at all, and null, are an empty object.

    Their keyed digest (`gate.credentials.digest`) is the `arguments_digest` of every record, whether a tool was called
    here or a model asked for it in its answer.
    """
    spelled = canonical(arguments)
    return NO_ARGUMENTS if spelled in {b"", b"null"} else spelled


def _in_utf16_order(value: object) -> object:
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        ordered = sorted(members, key=lambda key: key.encode("utf-16-be"))
        return {key: _in_utf16_order(members[key]) for key in ordered}
    if isinstance(value, list):
        return [_in_utf16_order(each) for each in cast("list[object]", value)]
    return value


def _number(written: str) -> msgspec.Raw:
    """A number with a fraction or an exponent, as ECMAScript writes it (ECMA-262, Number::toString)."""
    number = float(written)
    found = _REPR.fullmatch(repr(number))
    if found is None:  # larger than any double
        raise ValueError(written)
    sign, whole, fraction, exponent = found[1], found[2], found[3] or "", int(found[4] or 0)
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + exponent - (len(whole + fraction) - len(digits))  # where it stands among the digits
    digits = digits.rstrip("0")
    return msgspec.Raw((sign + _written(digits, point) if digits else "0").encode())


def _written(digits: str, point: int) -> str:
    if len(digits) <= point <= _MOST_WHOLE_DIGITS:
        return digits.ljust(point, "0")
    if 0 < point <= _MOST_WHOLE_DIGITS:
        return f"{digits[:point]}.{digits[point:]}"
    if point > _LEAST_EXPONENT + 1 and point <= 0:
        return f"0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{rest}e{point - 1:+d}"


_DECODER = msgspec.json.Decoder(float_hook=_number)
_ENCODER = msgspec.json.Encoder(order="sorted")
_AS_IT_STANDS = msgspec.json.Encoder()
