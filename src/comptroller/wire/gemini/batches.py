"""Gemini batches: models/M:batchGenerateContent, many requests in one body at half the price, answered within a day.

The model stands in the path, and a line may name the same once more. What goes upstream is what was read here and
nothing else. A batch of a file is refused: what stands in one that Google has, nobody has read.

Sources: the Gemini API reference (GenerateContentBatch); the google-genai SDK's types.
"""

from __future__ import annotations

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import BATCH, StoredUse
from comptroller.wire.batch import BATCH_TIER, Line, too_costly, whole_batch, wrong_count, wrong_line
from comptroller.wire.body import invalid, shown
from comptroller.wire.checks import Invalid
from comptroller.wire.gemini.names import Names
from comptroller.wire.gemini.request import GenerateRequest, named_model, read_request, rewrite
from comptroller.wire.head import Head

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_BODY, _BATCH = Names(("batch",)), Names(("displayName", "inputConfig", "priority"))
_INPUT, _LIST, _LINE = Names(("requests", "fileName")), Names(("requests",)), Names(("request", "metadata"))
_MEND = 'A batch is {"batch": {"inputConfig": {"requests": {"requests": [{"request": {...}}, ...]}}}}.'
_WHERE = "batch.inputConfig.requests.requests"


class BatchRequest(msgspec.Struct, frozen=True, gc=False):
    """A batch that was read."""

    asked: Asked
    about: dict[str, msgspec.Raw]  # the fields of the batch itself
    lines: tuple[Line, ...]
    metadata: tuple[msgspec.Raw | None, ...]  # of each line


def read_batch(body: bytes, head: Head) -> BatchRequest | Refusal:
    """Read and check the body of a batch; refusals name the line."""
    costly = too_costly(body)
    if costly is not None:
        return costly
    try:
        return _read(body, named_model(head))
    except Invalid as wrong:
        return wrong.refusal
    except (KeyError, ValueError, RecursionError):
        return invalid("The body is not the JSON of a batch.", _MEND)


def rewrite_batch(request: BatchRequest, *, output_limit: int, model: str | None = None) -> bytes:
    """The body that goes upstream: every line with its own limit, and none above the one that was decided on."""
    lines: list[dict[str, msgspec.Raw]] = []
    for line, metadata in zip(request.lines, request.metadata, strict=True):
        sent = {"request": _rewritten(line, output_limit, model)}
        lines.append(sent if metadata is None else {**sent, "metadata": metadata})
    return _ENCODER.encode({"batch": {**request.about, "inputConfig": {"requests": {"requests": lines}}}})


def _rewritten(line: Line, output_limit: int, model: str | None) -> msgspec.Raw:
    request = line.request
    if not isinstance(request, GenerateRequest):
        raise TypeError("a line of another dialect")
    own = request.asked.output_limit
    limit = output_limit if own is None else min(own, output_limit)
    return msgspec.Raw(rewrite(request, output_limit=limit, model=model))


def _read(body: bytes, model: str) -> BatchRequest | Refusal:
    about = _fields(_fields(_OBJECT.decode(body), _BODY)["batch"], _BATCH)
    given = _fields(about.pop("inputConfig"), _INPUT)
    if "requests" not in given:
        return Refusal(
            code="unsupported",
            sentence="This gateway carries Gemini batches whose requests stand in the body, and not those of a file.",
            hint="Send the requests inline.",
            param="batch.inputConfig.fileName",
        )
    raw = _ARRAY.decode(_fields(given["requests"], _LIST)["requests"])
    refused = wrong_count(raw, _WHERE)
    if refused is not None:
        return refused
    lines: list[Line] = []
    metadata: list[msgspec.Raw | None] = []
    head = Head(model)
    for position, each in enumerate(raw):
        fields = _fields(each, _LINE)
        line = _read_line(fields["request"], head, _name(fields.get("metadata"), position), f"{_WHERE}[{position}]")
        if isinstance(line, Refusal):
            return line
        lines.append(line)
        metadata.append(fields.get("metadata"))
    asked = whole_batch(lines, _WHERE, StoredUse(keeps=BATCH))
    return asked if isinstance(asked, Refusal) else BatchRequest(asked, about, tuple(lines), tuple(metadata))


def _fields(raw: msgspec.Raw | dict[str, msgspec.Raw], names: Names) -> dict[str, msgspec.Raw]:
    """The fields of an object by their usual names; raises Invalid for one that it does not have."""
    fields = names.read(raw if isinstance(raw, dict) else _OBJECT.decode(raw))
    strange = next((name for name in fields if name not in names.usual), None)
    if strange is not None:
        raise Invalid(f"A batch has no field {shown(strange)}.", strange[:64], _MEND)
    return fields


def _name(metadata: msgspec.Raw | None, position: int) -> str:
    """The key that its sender gave a line, else its place."""
    if metadata is not None:
        try:
            key = msgspec.json.decode(metadata, type=dict[str, object] | None)
        except (ValueError, RecursionError):
            key = None
        if key and isinstance(key.get("key"), str):
            return str(key["key"])
    return str(position)


def _read_line(raw: msgspec.Raw, head: Head, name: str, where: str) -> Line | Refusal:
    request = read_request(bytes(raw), head, stream=False)
    if isinstance(request, Refusal):
        return wrong_line(request, name, f"{where}.request")
    if request.asked.service_tier is not None:
        refused = invalid("A request of a batch has no service tier.", "Leave `serviceTier` out.", "serviceTier")
        return wrong_line(refused, name, f"{where}.request")
    asked = msgspec.structs.replace(request.asked, service_tier=BATCH_TIER, possible_tiers=frozenset({BATCH_TIER}))
    return Line(name, msgspec.structs.replace(request, asked=asked))
