"""A batch: many requests in one, each with a name, a model and an output limit of its own, each billed by itself.

What is not clear about one line refuses all of them, by its name: nobody wants to find out after a day which of ten
thousand lines was never asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from comptroller.core.pricing.estimate import Asked, Lines, asked_of_lines, of_line, shortened
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import StoredUse
from comptroller.wire.body import invalid

BATCH_TIER = "batch"  # what the price book calls the prices of batches
MOST_LINES = 10_000
MOST_KINDS = 200  # of lines: each is weighed by itself, and those of a file are kept on its record
MOST_MARKS = 2_000_000  # braces, brackets and commas of a whole batch, in texts too: what reading it costs


class LineRequest(Protocol):
    """One request of a batch, as the dialect of its kind reads it."""

    @property
    def asked(self) -> Asked: ...


class Line(msgspec.Struct, frozen=True, gc=False):
    """One request of a batch."""

    name: str  # that its result goes by
    request: LineRequest


def too_costly(body: bytes) -> Refusal | None:
    """Refuses a batch that has more values than are worth the reading, before it is parsed."""
    if len(body) <= MOST_MARKS or body.count(b"{") + body.count(b"[") + body.count(b",") <= MOST_MARKS:
        return None
    return invalid(f"The batch has more than {MOST_MARKS:,} braces, brackets and commas.", "Send several smaller ones.")


def wrong_count(lines: Sequence[object], param: str) -> Refusal | None:
    """Refuses an empty batch, and one with more lines than the gateway takes at once."""
    if not lines:
        return invalid("The batch has no lines.", param=param)
    if len(lines) <= MOST_LINES:
        return None
    return invalid(
        f"The batch has {len(lines):,} lines, and this gateway takes {MOST_LINES:,} at once.",
        "Send several smaller ones.",
        param,
    )


def wrong_line(refusal: Refusal, name: str, param: str) -> Refusal:
    """The refusal of one line as that of its batch. `param`: where the line stands."""
    place = param if refusal.param is None else f"{param}.{refusal.param}"
    return msgspec.structs.replace(of_line(refusal, name), param=place)


def whole_batch(lines: Sequence[Line], param: str, use: StoredUse) -> Asked | Refusal:
    """What bounds all lines together. `use`: what the batch has to do with what is stored at its provider.

    `unsupported`: lines of several models. A batch is one call in the books, and a call has one model: budgets,
    policies and reports of the one would otherwise be drawn on by the other.
    """
    model = lines[0].request.asked.model
    for position, line in enumerate(lines):
        asked = line.request.asked
        if asked.model != model:
            return Refusal(
                code="unsupported",
                sentence=f"Line {shortened(line.name)} asks for {asked.model!r}, and the first line for {model!r}.",
                hint="Send a batch for each model.",
                param=f"{param}[{position}]",
            )
        if asked.stream:
            return invalid(
                f"Line {shortened(line.name)} asks for a stream, and results of a batch come whole.",
                "Leave `stream` out.",
                f"{param}[{position}]",
            )
        if asked.deferred:
            return invalid(
                f"Line {shortened(line.name)} asks to go on in the background, as all of a batch does.",
                "Leave `background` out.",
                f"{param}[{position}]",
            )
        if asked.stored is not None and asked.stored.named:
            return Refusal(
                code="unsupported",
                sentence=f"Line {shortened(line.name)} uses something that is stored at the provider.",
                hint="Lines of a batch carry all that they need: send the whole conversation.",
                param=f"{param}[{position}]",
            )
    gathered = _gathered(lines, by_limit=True)
    if len(gathered) > MOST_KINDS:
        gathered = _gathered(lines, by_limit=False)
    if len(gathered) > MOST_KINDS:
        return invalid(
            f"The lines of the batch are of more than {MOST_KINDS} kinds, by their images, choices and tools.",
            "Send lines that are alike together, in several batches.",
            param,
        )
    return asked_of_lines(model, gathered, use)


def _gathered(lines: Iterable[Line], *, by_limit: bool) -> tuple[Lines, ...]:
    """Lines that are alike, together: a batch of thousands is mostly a few kinds, weighed one by one they take long.

    `by_limit`: those of other output limits are of another kind; else all of a kind count with their largest.
    """
    found: dict[Asked, list[Line]] = {}
    for line in lines:
        asked = line.request.asked
        size = asked.text_tokens.bit_length()  # longer prompts may be dearer: a long one stands apart from short ones
        limit = asked.output_limit if by_limit else None
        kind = msgspec.structs.replace(asked, text_tokens=size, output_limit=limit, prompt=None, stored=None)
        found.setdefault(kind, []).append(line)
    return tuple(_alike(kind, some) for kind, some in found.items())


def _alike(kind: Asked, lines: list[Line]) -> Lines:
    every = [line.request.asked for line in lines]
    limits = [asked.output_limit for asked in every if asked.output_limit is not None]
    largest = msgspec.structs.replace(
        kind,
        text_tokens=max(asked.text_tokens for asked in every),
        output_limit=max(limits) if len(limits) == len(every) else None,
    )
    return Lines(largest, len(lines), sum(asked.text_tokens for asked in every), lines[0].name)
