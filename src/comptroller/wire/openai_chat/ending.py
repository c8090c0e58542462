"""How a chat completions stream ends at a limit of ours: in the words in which the provider says that of its own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.core.pricing.usage import Usage
from comptroller.wire.event_stream import event_data

_DONE = b"data: [DONE]\n\n"
_ENCODER = msgspec.json.Encoder()
_HEAD = ("id", "object", "created", "model", "system_fingerprint", "service_tier")  # what every chunk repeats
_NOTHING_CAME = {"id": "chatcmpl-cut", "object": "chat.completion.chunk", "created": 0, "model": ""}


def cut_short(last: bytes, *, started: bool, choices: Sequence[int], usage: Usage | None) -> bytes:
    """An end for each of the open `choices`, the usage where it is given, and the end mark.

    `last`: any event of the stream, raw; its head is taken over.
    """
    head = _head(last)
    nothing_more: dict[str, object] = {"delta": {} if started else {"role": "assistant", "content": ""}}
    if head.get("object") == "text_completion":  # of Completions, whose choices have their text beside them
        nothing_more = {"text": ""}
    chunks: list[dict[str, object]] = [
        {"choices": [{"index": index, **nothing_more, "logprobs": None, "finish_reason": "length"}]}
        for index in choices
    ]
    if usage is not None:
        counts = {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.total_tokens,
        }
        chunks.append({"choices": [], "usage": counts})
    return b"".join(b"data: " + _ENCODER.encode({**head, **chunk}) + b"\n\n" for chunk in chunks) + _DONE


def _head(event: bytes) -> dict[str, object]:
    try:
        chunk = msgspec.json.decode(event_data(event) or b"")
    except (ValueError, RecursionError):
        return dict(_NOTHING_CAME)
    if not isinstance(chunk, dict):
        return dict(_NOTHING_CAME)
    said = {name: chunk[name] for name in _HEAD if name in chunk}  # pyright: ignore[reportUnknownVariableType]
    return {**_NOTHING_CAME, **said}
