"""Leaving fields out of a JSON body, for servers that refuse what they do not know."""

from __future__ import annotations

from collections.abc import Container

import msgspec

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


def without(body: bytes, names: Container[str]) -> bytes:
    """The JSON object without these fields of its first level; all else is as it was, byte for byte."""
    fields = _FIELDS.decode(body)
    kept = {name: value for name, value in fields.items() if name not in names}
    return body if len(kept) == len(fields) else _ENCODER.encode(kept)
