"""What the gateway itself asks of a client in the middle of a call (MCP 2026-07-28, multi round-trip requests).

It is kept apart from what servers ask: `inputRequests` has one key, which is ours, and `requestState` begins with our
mark. A round that is answered goes on to its server as if nobody had asked.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.wire.mcp.message import Message
from comptroller.wire.mcp.rpc import NO_ID, result_body

MARK = "cptr-mcp1."
"""What every `requestState` of ours begins with, and nobody else's means anything here."""
KEY = "comptroller/approval"

Action = Literal["accept", "decline", "cancel"]


class _Answer(msgspec.Struct):
    action: Action


_TEXT = msgspec.json.Decoder(str)
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANSWER = msgspec.json.Decoder(_Answer)
_ENCODER = msgspec.json.Encoder()


def input_required_body(message: Message, refusal: Refusal, url: str, state: str) -> bytes:
    """The result that asks a client to open an address, and then to send the same call again."""
    asked = {"method": "elicitation/create", "params": {"mode": "url", "message": refusal.message, "url": url}}
    result = {"resultType": "input_required", "inputRequests": {KEY: asked}, "requestState": state}
    return result_body(message.id or NO_ID, result)


def own_state(message: Message) -> str | None:
    """The `requestState` of a message, where it is one of ours; not looked at any further."""
    if not message.request_state:
        return None
    try:
        state = _TEXT.decode(message.request_state)
    except ValueError:
        return None  # of a server, whatever it means
    return state if state.startswith(MARK) else None


def own_answer(message: Message) -> Action | Refusal:
    """What the client's user has said to our question. Whoever only sends the call again goes on, too."""
    if not message.input_responses:
        return "accept"
    try:
        given = _RAW.decode(message.input_responses).get(KEY)
        return "accept" if given is None else _ANSWER.decode(given).action
    except ValueError:
        return Refusal(
            code="request_invalid",
            sentence=f"`inputResponses` has no answer to {KEY!r} that can be read.",
            hint='Send {"action": "accept"} once the address was opened, or call the tool again without it.',
            param="inputResponses",
        )


def without_ours(message: Message, state: bytes = b"", responses: bytes = b"") -> Message:
    """The message as it was before we asked. `state`, `responses`: what it had then, as JSON."""
    body = _RAW.decode(message.body)
    params = _RAW.decode(message.params)
    for name, value in (("requestState", state), ("inputResponses", responses)):
        params.pop(name, None)
        if value:
            params[name] = msgspec.Raw(value)
    encoded = _ENCODER.encode(params)
    body["params"] = msgspec.Raw(encoded)
    return msgspec.structs.replace(
        message, body=_ENCODER.encode(body), params=encoded, request_state=state, input_responses=responses
    )
