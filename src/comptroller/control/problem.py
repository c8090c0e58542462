"""What an operator is told when an act cannot be done: a status, a stable code, one sentence, a way on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec

from comptroller.core.refusal import Refusal

NO_HEADERS: Mapping[str, str] = {}


class ProblemBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as every route says it: problem details (RFC 9457), with a stable code and a way on."""

    title: str  # what the status means
    status: int
    detail: str  # one sentence
    code: str
    hint: str = ""  # what to do
    errors: Sequence[str] = ()  # further lines, such as every fault in a document


class ControlProblem(Exception):
    """An expected no of the control plane. `details` are further lines, such as every fault in a document."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str = "",
        details: Sequence[str] = (),
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.details = tuple(details)
        self.headers = headers

    @property
    def body(self) -> ProblemBody:
        """What leaves. There is no `type`: the code tells one problem from another."""
        return ProblemBody(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.message,
            code=self.code,
            hint=self.hint,
            errors=self.details,
        )


def not_found(what: str, hint: str = "") -> ControlProblem:
    return ControlProblem(404, "not_found", what, hint)


def invalid(message: str, hint: str = "", details: Sequence[str] = ()) -> ControlProblem:
    """What was asked is understood and cannot be: a lifetime of a year, a charge below zero."""
    return ControlProblem(422, "invalid", message, hint, details)


def conflict(message: str, hint: str = "") -> ControlProblem:
    """What was asked does not fit the state of things now."""
    return ControlProblem(409, "conflict", message, hint)


def over(session_id: str) -> ControlProblem:
    """A session that has ended or expired: nothing can be done about it any more."""
    return ControlProblem(409, "session_ended", f"The session {session_id} is over, and stays so.", "Open a new one.")


def refused(refusal: Refusal) -> ControlProblem:
    """A rule of the core says no."""
    return ControlProblem(409, refusal.code, refusal.sentence, refusal.hint)


def ledger_unavailable(message: str) -> ControlProblem:
    """The books cannot be written."""
    hint = "Check the disk of the state folder (`comptroller status`), then do it again."
    return ControlProblem(503, "ledger_unavailable", message, hint)
