"""Errors, and the body that OpenAI gives them: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an error answer says; never holds a key or text that the caller sent."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def body(self) -> bytes:
        """The error as JSON, as OpenAI says it."""
        return msgspec.json.encode(
            {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}
        )


class ApiError(Exception):
    """Raised where a request cannot be served; carries the answer to give."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class ClientGone(Exception):
    """Raised when the client hung up before its request was complete."""


def invalid(message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400 for a request that is wrong in itself."""
    return ApiError(Refusal(400, message, param=param, code=code))


def not_found(message: str, code: str | None = None) -> ApiError:
    """A 404 for an unknown path or model."""
    return ApiError(Refusal(404, message, code=code))
