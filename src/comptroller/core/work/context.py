"""Caps on the context: how much a request may carry, and what is said to one that carries more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.core.work.outline import Outline

Measure = Literal[
    "input_tokens", "bytes", "messages", "tools", "tool_result_bytes", "images", "growth_tokens", "session_tokens"
]
MEASURES: tuple[Measure, ...] = get_args(Measure)
TRIMMABLE: frozenset[Measure] = frozenset({"input_tokens", "bytes", "messages", "tool_result_bytes", "images"})
"""What leaving out messages, or shortening the results of tools, can mend."""
OUTLINED: frozenset[Measure] = frozenset({"messages", "tools", "tool_result_bytes"})
"""What only the outline of a request says."""

Action = Literal["refuse", "trim"]

_WORDS: dict[Measure, str] = {
    "input_tokens": "input tokens",
    "bytes": "bytes",
    "messages": "messages",
    "tools": "tool definitions",
    "tool_result_bytes": "bytes in one tool result",
    "images": "images",
    "growth_tokens": "input tokens more than the largest request of its session before",
    "session_tokens": "input tokens in all requests of its session together",
}
_CUT: dict[Measure, str] = {
    "input_tokens": "Cut at least {over} tokens{more}: the oldest messages, or long results of tools{widest}.",
    "bytes": "Cut at least {over} bytes: the oldest messages, or long results of tools{widest}.",
    "messages": "Leave out at least {over} of the oldest, each tool call with its result.",
    "tools": "Offer at most {most} tools: leave out at least {over}.",
    "tool_result_bytes": "Shorten every result to {most} bytes{widest}.",
    "images": "Leave out at least {over} images.",
    "growth_tokens": "Add at least {over} tokens less in one turn{widest}.",
    "session_tokens": "Start a new session, and give it a summary of what this one has come to.",
}
_TO_TOKENS = frozenset[Measure]({"input_tokens", "growth_tokens", "session_tokens"})


class Carried(msgspec.Struct, frozen=True, gc=False):
    """How much a request carries. Tokens are an estimate: see core/pricing/input_counts.py.

    `tokens`: of its input; None: nobody knows, for the `unknown` parts. `growth`: how many more those are than the most
    that its session has sent at once; None: it is the first. `session`: with all inputs of its session so far.
    """

    tokens: int | None
    growth: int | None
    session: int | None
    bytes: int | None
    images: int
    unknown: tuple[str, ...] = ()
    outline: Outline | None = None  # None: nobody has asked for it

    def of(self, measure: Measure) -> int | None:
        """How much of what a cap is about. None: nothing that could be too much, or nobody knows (`knows`)."""
        match measure:
            case "input_tokens":
                return self.tokens
            case "growth_tokens":
                return self.growth
            case "session_tokens":
                return self.session
            case "bytes":
                return self.bytes
            case "images":
                return self.images
            case _:
                return None if self.outline is None else _outlined(self.outline, measure)

    def knows(self, measure: Measure) -> bool:
        """Whether the number is known at all."""
        return self.tokens is not None or measure not in {"input_tokens", "session_tokens"}


class Limits(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The numbers of a cap. None: it does not limit that."""

    input_tokens: int | None = None
    bytes: int | None = None
    messages: int | None = None
    tools: int | None = None
    tool_result_bytes: int | None = None  # of the largest
    images: int | None = None
    growth_tokens: int | None = None  # from one request of a session to the next larger one
    session_tokens: int | None = None  # of all inputs of a session

    def of(self, measure: Measure) -> int | None:
        """The number of one measure."""
        most: int | None = getattr(self, measure)
        return most


class Excess(msgspec.Struct, frozen=True, gc=False):
    """One thing that a request carries too much of. `has` None: nobody knows how much."""

    measure: Measure
    has: int | None
    most: int

    @property
    def over(self) -> str:
        """As an effect says it: a few words."""
        has = "unknown" if self.has is None else str(self.has)
        return f"{has} {self.measure} of {self.most}"


def excesses(limits: Limits, carried: Carried) -> Iterator[Excess]:
    """All that it carries too much of, in the order of MEASURES."""
    for measure in MEASURES:
        most = limits.of(measure)
        if most is None:
            continue
        has = carried.of(measure)
        if has is None and not carried.knows(measure):
            yield Excess(measure, None, most)
        elif has is not None and has > most:
            yield Excess(measure, has, most)


def needs_outline(limits: Limits) -> bool:
    """Whether only an outline tells what it limits."""
    return any(limits.of(measure) is not None for measure in OUTLINED)


def refused(name: str, excess: Excess, carried: Carried, besides: str = "") -> Refusal:
    """The refusal of a request that carries too much. `besides`: why it was not trimmed, as a sentence."""
    words = _WORDS[excess.measure]
    size = "input that nothing bounds" if excess.has is None else f"{_about(excess)}{excess.has:,} {words}"
    allowed = f"{excess.most:,}" if excess.has is not None else f"{excess.most:,} {words}"
    return Refusal(
        code="context_too_large",
        sentence=f"The request has {size}, and the context cap {name} allows {allowed}.{besides and f' {besides}'}",
        hint=_cut(excess, carried),
        limit=name,
        unit="tokens" if excess.measure in _TO_TOKENS else excess.measure,
        remaining=str(excess.most),
        needed=None if excess.has is None else str(excess.has),
    )


def _about(excess: Excess) -> str:
    return "about " if excess.measure in _TO_TOKENS else ""


def _cut(excess: Excess, carried: Carried) -> str:
    """What exactly to leave out."""
    if excess.has is None:
        return f"Leave out what is not in the body: {', '.join(carried.unknown[:3])}."
    over = excess.has - excess.most
    more = _share(over, carried) if excess.measure == "input_tokens" else ""
    return _CUT[excess.measure].format(over=f"{over:,}", most=f"{excess.most:,}", more=more, widest=_widest(carried))


def _share(over: int, carried: Carried) -> str:
    """How many messages that is, if all were as long as another."""
    count = 0 if carried.outline is None else carried.outline.messages
    if not carried.tokens or count < 2:
        return ""
    return f", about the oldest {min(count - 1, -(-over * count // carried.tokens)):,} of {count:,} messages"


def _widest(carried: Carried) -> str:
    outline = carried.outline
    if outline is None or not outline.largest_tool_result_bytes:
        return ""
    of = f" of {outline.largest_tool}" if outline.largest_tool else ""
    return f"; the largest{of} has {outline.largest_tool_result_bytes:,} bytes"


def _outlined(outline: Outline, measure: Measure) -> int:
    match measure:
        case "messages":
            return outline.messages
        case "tools":
            return outline.tools
        case _:
            return outline.largest_tool_result_bytes


def said(found: Sequence[Excess]) -> str:
    """What was too much, as an effect says it."""
    return "; ".join(each.over for each in found)
