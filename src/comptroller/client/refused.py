"""A no of the gateway, as an exception: what it is, what is left, and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Self, cast

NO_FACTS: Mapping[str, Any] = {}


class Refused(Exception):
    """The gateway said no. docs/reference/refusals.md lists the codes.

    Our own calls raise it. Where an SDK or a framework raised its own exception, `Refused.of` reads it from there.
    """

    def __init__(
        self, code: str, message: str, hint: str = "", *, status: int | None = None, facts: Mapping[str, Any] = NO_FACTS
    ) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.code = code
        self.message = message
        self.hint = hint
        """What to do about it."""
        self.status = status
        """Of the HTTP answer; None for an error inside a stream."""
        self.limit: str | None = facts.get("limit")
        """The budget or bound that binds, such as `session.usd`."""
        self.unit: str | None = facts.get("unit")
        self.left: str | None = facts.get("remaining")
        """In `unit`: decimal USD or a whole number. None where the caller may not see it."""
        self.needed: str | None = facts.get("needed")
        self.resets_at: str | None = facts.get("resets_at")
        """RFC 3339. None: waiting does not help."""
        self.retry_after_s: int | None = facts.get("retry_after_s")
        self.call_id: str | None = facts.get("call_id")
        """What `comptroller explain` asks for."""

    @classmethod
    def of(cls, error: BaseException) -> Self | None:
        """The refusal in an exception of an SDK, or in what led to it; None if it is about something else."""
        for each in _with_causes(error):
            if isinstance(each, cls):
                return each
            answer = getattr(each, "response", None)
            status = getattr(each, "status_code", getattr(answer, "status_code", None))
            body = getattr(each, "body", getattr(each, "details", None))  # Google's SDK has another name for it
            found = cls._in_body(body, status if isinstance(status, int) else None)
            if found is not None:
                return found
        return None

    @classmethod
    def answered(cls, status: int, body: bytes) -> Self:
        """What the gateway answered to a call of our own: RFC 9457, or RFC 6749 section 5.2 below /oauth."""
        try:
            fields = _fields(json.loads(body))
        except ValueError:
            fields = NO_FACTS
        code = fields.get("code") or fields.get("error") or "no_gateway"
        message = fields.get("detail") or fields.get("error_description") or f"This is no gateway (HTTP {status})."
        return cls(str(code), str(message), str(fields.get("hint", "")), status=status)

    @classmethod
    def _in_body(cls, body: object, status: int | None) -> Self | None:
        """From the error of a model API: OpenAI's SDK hands out the inner object, the others the whole."""
        fields = _fields(body)
        facts = _fields(_fields(fields.get("error", fields)).get("comptroller"))
        if "code" not in facts:
            return None
        if status is not None and status < HTTPStatus.BAD_REQUEST:
            status = None  # of a stream that had begun well
        return cls(facts["code"], facts.get("sentence", ""), facts.get("hint", ""), status=status, facts=facts)


def _fields(value: object) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else NO_FACTS


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Itself, what it was raised from, what that was raised from: frameworks wrap what SDKs raise."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
