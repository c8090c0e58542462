"""A refusal in OpenAI's own error shape, as a body and as the last event of a stream.

`type` is what clients switch on. Measured: an unknown `code` with status 402 is shown to the person as it is
by every client we know, and "insufficient_quota" is not: some replace our text by one of their own.
"""

from __future__ import annotations

import msgspec

from comptroller.core.refusal import Refusal

_TYPES = {401: "authentication_error", 402: "billing_error", 403: "permission_error", 429: "rate_limit_error"}
_ENCODER = msgspec.json.Encoder()


def refusal_body(refusal: Refusal, call_id: str) -> bytes:
    """{"error": {message, type, param, code, comptroller}}; `comptroller` has all that the refusal says."""
    details = {name: value for name, value in msgspec.structs.asdict(refusal).items() if value is not None}
    error = {
        "message": refusal.message,
        "type": _type(refusal.status),
        "param": refusal.param,
        "code": refusal.code,
        "comptroller": {**details, "call_id": call_id},
    }
    return _ENCODER.encode({"error": error})


def refusal_event(refusal: Refusal, call_id: str) -> bytes:
    """The same as one event, for a stream that was begun: the openai SDK raises it as APIError with our text."""
    return b"data: " + refusal_body(refusal, call_id) + b"\n\n"


def _type(status: int) -> str:
    return _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
