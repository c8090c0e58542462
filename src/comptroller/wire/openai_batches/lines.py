"""The file of an OpenAI batch: one request a line, all of one endpoint and one model.

It is read when it is uploaded, for later nobody looks into it again: every line gets its output limit then, and the
record of the file keeps what bounds them.

Source: the OpenAI API reference (Batch; the format of its input file).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import StoredUse
from comptroller.wire.batch import (
    BATCH_TIER,
    MOST_LINES,
    Line,
    LineRequest,
    too_costly,
    whole_batch,
    wrong_count,
    wrong_line,
)
from comptroller.wire.body import invalid, shown
from comptroller.wire.openai_chat.dialect import OpenAIChat
from comptroller.wire.openai_completions import OpenAICompletions
from comptroller.wire.openai_embeddings import OpenAIEmbeddings
from comptroller.wire.openai_responses.dialect import OpenAIResponses

LineDialect = OpenAIChat | OpenAIResponses | OpenAICompletions | OpenAIEmbeddings
ENDPOINTS: Mapping[str, LineDialect] = {
    "/v1/chat/completions": OpenAIChat(),
    "/v1/responses": OpenAIResponses(),
    "/v1/completions": OpenAICompletions(),
    "/v1/embeddings": OpenAIEmbeddings(),
}
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_ENCODER = msgspec.json.Encoder()
_MOST_NAME = 512
_MOST_BREAKS = 2 * MOST_LINES  # empty lines count for nothing, and cost memory all the same
_STANDARD = frozenset({None, "auto", "default"})
_MEND = 'A line is {"custom_id": "...", "method": "POST", "url": "/v1/chat/completions", "body": {...}}.'


class BatchFile(msgspec.Struct, frozen=True, gc=False):
    """A file that was read."""

    endpoint: str
    asked: Asked
    lines: tuple[Line, ...]


def read_file(content: bytes) -> BatchFile | Refusal:
    """All lines, or why one of them cannot be."""
    costly = too_costly(content)
    if costly is not None:
        return costly
    if content.count(b"\n") > _MOST_BREAKS:
        return invalid(f"The file has more than {_MOST_BREAKS:,} line breaks.", "Send several smaller ones.", "file")
    # A carriage return outside of texts is a space, and some servers end a line at it: none leaves.
    raw = [line for line in content.replace(b"\r", b" ").split(b"\n") if line.strip()]
    refused = wrong_count(raw, "file")
    if refused is not None:
        return refused
    endpoint = ""
    lines: dict[str, Line] = {}
    for position, each in enumerate(raw):
        where = f"file[{position}]"
        read = _read_line(each, where)
        if isinstance(read, Refusal):
            return read
        url, line = read
        if line.name in lines:
            return invalid(f"Two lines have the `custom_id` {shown(line.name)}.", param=f"{where}.custom_id")
        if url != (endpoint or url):
            return invalid(
                f"Line {shown(line.name)} is for {url}, and the first for {endpoint}.",
                "Send a batch for each endpoint.",
                f"{where}.url",
            )
        endpoint, lines[line.name] = url, line
    every = tuple(lines.values())
    whole = whole_batch(every, "file", StoredUse())
    if isinstance(whole, Refusal):
        return whole
    bounds = tuple(msgspec.structs.replace(some, endpoint=endpoint) for some in whole.lines)
    return BatchFile(endpoint, msgspec.structs.replace(whole, lines=bounds), every)


def rewrite_file(
    file: BatchFile,
    *,
    output_limit: int,
    field: Literal["max_completion_tokens", "max_tokens"],
    model: str | None = None,
) -> bytes:
    """The file that goes upstream: every line with its own limit, and none above the one that was decided on."""
    dialect = ENDPOINTS[file.endpoint]
    return b"".join(
        _ENCODER.encode(
            {
                "custom_id": line.name,
                "method": "POST",
                "url": file.endpoint,
                "body": msgspec.Raw(
                    dialect.rewrite(line.request, output_limit=_limit(line, output_limit), field=field, model=model)
                ),
            }
        )
        + b"\n"
        for line in file.lines
    )


def _limit(line: Line, output_limit: int) -> int:
    own = line.request.asked.output_limit
    return output_limit if own is None else min(own, output_limit)


def _read_line(raw: bytes, where: str) -> tuple[str, Line] | Refusal:
    try:
        fields = _OBJECT.decode(raw)
        name, method, url = (_TEXT.decode(fields.pop(field)) for field in ("custom_id", "method", "url"))
        body = bytes(fields.pop("body"))
    except (KeyError, ValueError, RecursionError):
        return invalid(f"`{where}` is not a line of a batch.", _MEND, where)
    if fields:
        return invalid(f"`{where}` has a field {shown(next(iter(fields)))}, which no line has.", _MEND, where)
    if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
        return invalid(f"The `custom_id` {shown(name)} is none.", "It has at most 512 printable characters.", where)
    dialect = ENDPOINTS.get(url)
    if method != "POST" or dialect is None:
        refused = Refusal(
            code="unsupported",
            sentence=f"{shown(f'{method} {url}')} is not carried in batches.",
            hint=f"Lines are POSTs to one of {', '.join(ENDPOINTS)}.",
            param="url",
        )
        return wrong_line(refused, name, where)
    request = dialect.read_request(body)
    if isinstance(request, Refusal):
        return wrong_line(request, name, f"{where}.body")
    return _at_batch_rates(url, name, request, where)


def _at_batch_rates(url: str, name: str, request: LineRequest, where: str) -> tuple[str, Line] | Refusal:
    if request.asked.service_tier not in _STANDARD:
        refused = invalid("A request of a batch has no service tier.", "Leave `service_tier` out.", "service_tier")
        return wrong_line(refused, name, f"{where}.body")
    asked = msgspec.structs.replace(request.asked, service_tier=BATCH_TIER, possible_tiers=frozenset({BATCH_TIER}))
    return url, Line(name, msgspec.structs.replace(request, asked=asked))  # type: ignore[type-var]
