"""Effects: what a control did to a call short of refusing it, for its record and for whoever sent it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, get_args

import msgspec

EffectKind = Literal["routed", "trimmed", "queued", "slowed", "warned", "lifted", "shadowed"]
KINDS: tuple[EffectKind, ...] = get_args(EffectKind)

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_DETAIL_MOST = 160  # characters of a header
_HEADER_MOST = 8  # effects: more than that nobody reads off a header


class Effect(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One thing that one rule did. `shadowed`: what it would have done, in shadow mode, and did not do."""

    kind: EffectKind
    rule: str  # the name of the rate, cap, route, loop rule or grant
    detail: str = ""  # a few words; never anything out of a prompt

    def __str__(self) -> str:
        return f"{self.kind} by {self.rule}{f': {self.detail}' if self.detail else ''}"


def header_value(effects: Iterable[Effect]) -> bytes:
    """Effects as a list of a structured field (RFC 9651): the kind as a token, rule and detail as parameters of it."""
    return ", ".join(_item(each) for each, _ in zip(effects, range(_HEADER_MOST), strict=False)).encode()


def _item(effect: Effect) -> str:
    detail = f";detail={_string(effect.detail)}" if effect.detail else ""
    return f"{effect.kind};rule={_string(effect.rule)}{detail}"


def _string(text: str) -> str:
    """A string of a structured field: printable ASCII in quotes."""
    plain = _UNPRINTABLE.sub("?", text[:_DETAIL_MOST])
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
