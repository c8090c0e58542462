"""How instants, durations and amounts are read and written on the command line."""

from __future__ import annotations

import re
import sys
import time
from datetime import UTC, datetime

import typer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PROGRESS_EVERY_S = 2.0
_DURATION = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)


def read_duration(text: str) -> int:
    """Seconds, from `90s`, `30m`, `8h`, `7d`, `2w`, or several of them: `1h30m`."""
    compact = text.replace(" ", "")
    found = _DURATION.findall(compact)
    if not found or "".join(number + unit for number, unit in found) != compact:
        raise typer.BadParameter(f"{text!r} is not a duration; write 90s, 30m, 8h, 7d or 1h30m.")
    return sum(int(number) * _UNITS[unit] for number, unit in found)


def read_instant(text: str) -> datetime:
    """An instant (2026-11-22T06:00:00Z), or how long ago (1h)."""
    if _DURATION.match(text):
        seconds = read_duration(text)
        return datetime.fromtimestamp(max(0.0, time.time() - seconds), UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is neither a duration (1h) nor an instant (2026-11-22T06:00).") from error
    return found.astimezone(UTC)  # without a zone it is local time


def say_instant(text: str | None) -> str:
    """An instant of the API in local time, such as `2026-11-22 06:12:03`."""
    return "" if text is None else _parse(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def say_relative(text: str | None) -> str:
    """How far an instant is from now: `in 3 h 12 min`, `5 min ago`."""
    if text is None:
        return ""
    seconds = (_parse(text) - datetime.now(UTC)).total_seconds()
    return f"in {say_seconds(int(seconds))}" if seconds >= 0 else f"{say_seconds(int(-seconds))} ago"


def say_seconds(seconds: int) -> str:
    """A duration in its two largest units: `45 s`, `12 min`, `3 h 12 min`, `2 d 4 h`."""
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def say_count(number: int | None) -> str:
    return "" if number is None else str(number)


def printable(text: str) -> str:
    """The text without anything that steers a terminal: names of models come from callers, details from providers."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def note(text: str) -> None:
    """A remark for the person who reads along; never part of the output."""
    sys.stderr.write(f"{printable(text)}\n")


def write(text: str) -> None:
    """One line of output."""
    sys.stdout.write(f"{printable(text)}\n")


class Progress:
    """How far long work is, on standard error: one line now and then, and none where it is done in a moment."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next_at = time.monotonic() + _PROGRESS_EVERY_S

    def __call__(self, doing: str, done: int, of_all: int) -> None:
        """`done` of `of_all`, of whatever is counted."""
        if time.monotonic() >= self._next_at:
            self._next_at = time.monotonic() + _PROGRESS_EVERY_S
            note(f"{self._what}: {doing}, {100 * done // max(1, of_all)} %")


def write_json(body: bytes) -> None:
    """The gateway's JSON, indented."""
    import msgspec

    sys.stdout.write(msgspec.json.format(body, indent=2).decode() + "\n")


def _parse(text: str) -> datetime:
    return datetime.fromisoformat(text)
