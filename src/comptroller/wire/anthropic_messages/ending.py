"""How a Messages stream ends at a limit of ours: in the words in which the provider says that of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

_ENCODER = msgspec.json.Encoder()
_EMPTY_MESSAGE: Mapping[str, object] = {
    "id": "msg_cut",
    "type": "message",
    "role": "assistant",
    "model": "",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 0, "output_tokens": 0},
}


def cut_short(*, begun: bool, blocks: Sequence[int], told: bool, output_tokens: int) -> bytes:
    """The end of each open block, why the message stopped unless that was `told`, and its end.

    `begun`: the head of the message was passed on.
    """
    events = [] if begun else [_event("message_start", {"message": _EMPTY_MESSAGE})]
    events += [_event("content_block_stop", {"index": index}) for index in blocks]
    if not told:
        delta = {"stop_reason": "max_tokens", "stop_sequence": None}
        events.append(_event("message_delta", {"delta": delta, "usage": {"output_tokens": output_tokens}}))
    return b"".join((*events, _event("message_stop", {})))


def _event(kind: str, fields: dict[str, object]) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _ENCODER.encode({"type": kind, **fields}) + b"\n\n"
