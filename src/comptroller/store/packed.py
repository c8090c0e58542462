"""What a column of a call keeps as JSON: the other identities of its chain, and what controls did to it."""

from __future__ import annotations

import msgspec

from comptroller.core.effect import Effect
from comptroller.flow.records import Registered

_above = msgspec.json.Decoder(tuple[Registered, ...])
_effects = msgspec.json.Decoder(tuple[Effect, ...])


def pack_effects(effects: tuple[Effect, ...]) -> str | None:
    return msgspec.json.encode(effects).decode() if effects else None


def unpack_effects(packed: str | None) -> tuple[Effect, ...]:
    return () if packed is None else _effects.decode(packed)


def pack_above(above: tuple[Registered, ...]) -> str | None:
    return msgspec.json.encode(above).decode() if above else None


def unpack_above(packed: str | None) -> tuple[Registered, ...]:
    return _above.decode(packed) if packed else ()
