"""The tools that a model's answer calls, as the row of its call keeps them."""

from __future__ import annotations

import msgspec

from comptroller.core.tool.called import CalledTool

_called = msgspec.json.Decoder(tuple[CalledTool, ...])


def pack_called(called: tuple[CalledTool, ...]) -> str | None:
    return msgspec.json.encode(called).decode() if called else None


def unpack_called(packed: str | None) -> tuple[CalledTool, ...]:
    return () if packed is None else _called.decode(packed)
