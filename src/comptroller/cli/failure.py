"""What a command says when it cannot do what was asked, and the exit codes of all commands."""

from __future__ import annotations

from collections.abc import Sequence

OK = 0
FAILED = 1  # an error, or the gateway refused
DIFFERENT = 2  # `plan`: the file differs from what is installed (a wrong option or argument also ends with 2)


class CommandError(Exception):
    """Ends the command with exit code 1. `hint` names the next step; `details` are further lines."""

    def __init__(self, message: str, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)

    @property
    def lines(self) -> list[str]:
        """What a person reads on standard error."""
        return [f"error: {self.message}", *(f"  {line}" for line in self.details), *([self.hint] if self.hint else [])]
