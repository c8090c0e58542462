"""Numbers and names as a provider reports them: what could not be true, or could not stand in a record, is nothing."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

# Above this a number is a fault: no call comes near, and money of it still fits 64 bits.
MOST_TOKENS = 10**9

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]

_MOST_NAME_CHARACTERS = 256


def read_name(value: Any) -> str | None:
    """A model's or tier's name as a provider says it; None for what could not stand in a record or header."""
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_NAME_CHARACTERS or not value.isprintable():
        return None
    return value
