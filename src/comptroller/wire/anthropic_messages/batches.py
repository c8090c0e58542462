"""The body of a Message Batch: many Messages requests at half the price, answered within a day.

Each line is read as the request that it is, bounded by itself and rewritten with its own output limit. What goes
upstream is what was read here and nothing else, so no parser can find another batch in it.

Sources: the Anthropic API reference; the pricing page (batches cost half of every token price; fast mode is not
offered in them).
"""

from __future__ import annotations

import re

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import BATCH, StoredUse
from comptroller.wire.anthropic_messages.request import MessagesRequest, read_request, rewrite
from comptroller.wire.anthropic_messages.tiers import STANDARD, batch_tiers
from comptroller.wire.batch import Line, too_costly, whole_batch, wrong_count, wrong_line
from comptroller.wire.body import invalid, shown

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_ENCODER = msgspec.json.Encoder()
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")  # the API's own pattern of `custom_id`
_MEND = 'A batch is {"requests": [{"custom_id": "...", "params": {...}}, ...]}.'


class BatchRequest(msgspec.Struct, frozen=True, gc=False):
    """A batch that was read."""

    asked: Asked
    lines: tuple[Line, ...]


def read_batch(body: bytes) -> BatchRequest | Refusal:
    """Read and check the body of a batch; refusals name the line."""
    costly = too_costly(body)
    if costly is not None:
        return costly
    try:
        fields = _OBJECT.decode(body)
        raw = _ARRAY.decode(fields.pop("requests", b"[]"))
    except (ValueError, RecursionError):
        return invalid("The body is not the JSON of a batch.", _MEND)
    if fields:
        return invalid(f"A batch has no field {shown(next(iter(fields)))}.", _MEND, next(iter(fields))[:64])
    refused = wrong_count(raw, "requests")
    if refused is not None:
        return refused
    lines: dict[str, Line] = {}
    for position, each in enumerate(raw):
        where = f"requests[{position}]"
        line = _read_line(each, where)
        if isinstance(line, Refusal):
            return line
        if line.name in lines:
            return invalid(f"Two lines have the `custom_id` {shown(line.name)}.", param=f"{where}.custom_id")
        lines[line.name] = line
    asked = whole_batch(tuple(lines.values()), "requests", StoredUse(keeps=BATCH))
    return asked if isinstance(asked, Refusal) else BatchRequest(asked, tuple(lines.values()))


def rewrite_batch(request: BatchRequest, *, output_limit: int, model: str | None = None) -> bytes:
    """The body that goes upstream."""
    lines = [{"custom_id": line.name, "params": _rewritten(line, output_limit, model)} for line in request.lines]
    return _ENCODER.encode({"requests": lines})


def _rewritten(line: Line, output_limit: int, model: str | None) -> msgspec.Raw:
    request = line.request
    if not isinstance(request, MessagesRequest):
        raise TypeError("a line of another dialect")
    own = request.asked.output_limit
    limit = output_limit if own is None else min(own, output_limit)
    return msgspec.Raw(rewrite(request, output_limit=limit, model=model))


def _read_line(raw: msgspec.Raw, where: str) -> Line | Refusal:
    try:
        fields = _OBJECT.decode(raw)
        name = _TEXT.decode(fields.pop("custom_id"))
        params = fields.pop("params")
    except (KeyError, ValueError, RecursionError):
        return invalid(f"`{where}` is not a line of a batch.", _MEND, where)
    if fields:
        return invalid(f"`{where}` has a field {shown(next(iter(fields)))}, which no line has.", _MEND, where)
    if _NAME.fullmatch(name) is None:
        hint = "A `custom_id` has 1 to 64 letters, digits, hyphens and underscores."
        return invalid(f"The `custom_id` {shown(name)} is none that the API takes.", hint, f"{where}.custom_id")
    request = read_request(bytes(params))
    if isinstance(request, Refusal):
        return wrong_line(request, name, f"{where}.params")
    priced = _at_batch_rates(request)
    return wrong_line(priced, name, f"{where}.params") if isinstance(priced, Refusal) else Line(name, priced)


def _at_batch_rates(request: MessagesRequest) -> MessagesRequest | Refusal:
    speed, geography = _said(request, "speed"), _said(request, "inference_geo")
    if (speed or "") not in STANDARD:
        return invalid(f"`speed` {shown(speed or '')} is not offered in batches.", "Leave it out.", "speed")
    tier, possible = batch_tiers(geography)
    asked = msgspec.structs.replace(request.asked, service_tier=tier, possible_tiers=possible)
    return msgspec.structs.replace(request, asked=asked)


def _said(request: MessagesRequest, name: str) -> str | None:
    """A word of the request; the request was read, so it is one or null."""
    raw = request.fields.get(name)
    return None if raw is None else msgspec.json.decode(raw, type=str | None)
