"""What libraries and the event loop have to say, as lines of our log.

Never a traceback: the message of an exception could hold a value, and a value a secret.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from comptroller.flow.fault import fault_facts
from comptroller.telemetry.log import Log


class LibraryLines(logging.Handler):
    """Warnings and errors of every library: the first line of the message, and of an exception its kind and place."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        error = record.exc_info[1] if record.exc_info else None
        fields = {"log.logger": record.name, "message": _first_line(message), **(fault_facts(error) if error else {})}
        self._log.say("library", fields, "error" if record.levelno >= logging.ERROR else "warning")


@contextmanager
def libraries_heard(log: Log) -> Generator[None]:
    """While the block runs, what libraries log and what goes wrong beside any request becomes lines of ours."""
    handler, root, loop = LibraryLines(log), logging.getLogger(), asyncio.get_running_loop()

    def fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        message = _first_line(str(context.get("message", "")))
        log.say("loop_fault", {"message": message, **(fault_facts(error) if error else {})})

    root.addHandler(handler)
    loop.set_exception_handler(fault)
    try:
        yield
    finally:
        loop.set_exception_handler(None)
        root.removeHandler(handler)


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0]
