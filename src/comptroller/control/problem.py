"""What an operator is told when an act cannot be done: a status, a stable code, one sentence, a way on."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.core.refusal import Refusal


class ControlProblem(Exception):
    """An expected no of the control plane. `details` are further lines, such as every fault in a document."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.details = tuple(details)


def not_found(what: str, hint: str = "") -> ControlProblem:
    return ControlProblem(404, "not_found", what, hint)


def invalid(message: str, hint: str = "", details: Sequence[str] = ()) -> ControlProblem:
    """What was asked is understood and cannot be: a lifetime of a year, a charge below zero."""
    return ControlProblem(422, "invalid", message, hint, details)


def conflict(message: str, hint: str = "") -> ControlProblem:
    """What was asked does not fit the state of things now."""
    return ControlProblem(409, "conflict", message, hint)


def refused(refusal: Refusal) -> ControlProblem:
    """A rule of the core says no."""
    return ControlProblem(409, refusal.code, refusal.sentence, refusal.hint)


def ledger_unavailable(message: str) -> ControlProblem:
    """The books cannot be written."""
    hint = "Check the disk of the state folder (`comptroller status`), then do it again."
    return ControlProblem(503, "ledger_unavailable", message, hint)
