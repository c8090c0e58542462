"""A refusal in Anthropic's own error shape, as a body and as the last event of a stream.

Measured: status 402 with type `billing_error` is shown to the person as it is by every client we know.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.refusal import Refusal

TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_ENCODER = msgspec.json.Encoder()


def refusal_body(refusal: Refusal, call_id: str) -> bytes:
    """{type, error: {type, message, comptroller}, request_id}; `comptroller` has all that the refusal says."""
    details = {name: value for name, value in msgspec.structs.asdict(refusal).items() if value is not None}
    error = {
        "type": error_type(refusal.status),
        "message": refusal.message,
        "comptroller": {**details, "call_id": call_id},
    }
    return _ENCODER.encode({"type": "error", "error": error, "request_id": call_id})


def refusal_event(refusal: Refusal, call_id: str) -> bytes:
    """The same as one event, for a stream that was begun: the anthropic SDK raises it with our text."""
    return b"event: error\ndata: " + refusal_body(refusal, call_id) + b"\n\n"


def error_type(status: int) -> str:
    """The API's own type of an HTTP status; clients switch on it."""
    return TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
