"""A refusal in Google's own error shape, as a body and as the last event of a stream.

Source: google.rpc.Status and google.rpc.ErrorInfo (AIP-193). Measured: gemini-cli shows the text of status 402 as it
is. `FAILED_PRECONDITION` is how Google itself says that an account has to be paid for first.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.refusal import Refusal

STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_ENCODER = msgspec.json.Encoder()


def refusal_body(refusal: Refusal, call_id: str) -> bytes:
    """{"error": {code, message, status, details, comptroller}}; `comptroller` has all that the refusal says."""
    details = {name: value for name, value in msgspec.structs.asdict(refusal).items() if value is not None}
    info = {
        "@type": _ERROR_INFO,
        "reason": refusal.code.upper(),
        "domain": "comptroller",
        "metadata": {"call_id": call_id},
    }
    error = {
        "code": refusal.status,
        "message": refusal.message,
        "status": error_status(refusal.status),
        "details": [info],
        "comptroller": {**details, "call_id": call_id},
    }
    return _ENCODER.encode({"error": error})


def refusal_event(refusal: Refusal, call_id: str) -> bytes:
    """The same as one event, for a stream that was begun."""
    return b"data: " + refusal_body(refusal, call_id) + b"\r\n\r\n"


def error_status(status: int) -> str:
    """Google's word for an HTTP status; clients switch on it."""
    return STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
