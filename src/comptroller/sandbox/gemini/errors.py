"""Errors as Google says them: `{"error": {code, message, status}}`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.sandbox.errors import Refusal

_STATUSES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}


def error_body(refusal: Refusal) -> bytes:
    """The error as JSON."""
    status = _STATUSES.get(refusal.status, "INTERNAL" if refusal.status >= 500 else "INVALID_ARGUMENT")
    return msgspec.json.encode({"error": {"code": refusal.status, "message": refusal.message, "status": status}})
