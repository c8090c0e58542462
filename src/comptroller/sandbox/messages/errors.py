"""Errors as Anthropic says them: `{"type": "error", "error": {type, message}, "request_id"}`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.sandbox.errors import Refusal

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def error_body(refusal: Refusal, request_id: str) -> bytes:
    """The error as JSON."""
    error = {"type": _TYPES.get(refusal.status, "invalid_request_error"), "message": refusal.message}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})
