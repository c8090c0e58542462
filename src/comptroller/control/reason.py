"""Reasons: why an operator did something, for whoever asks later."""

from __future__ import annotations

from comptroller.control.problem import invalid

LONGEST_REASON = 500  # characters


def read_reason(reason: str, hint: str) -> str:
    """One line of words. `hint` says what a good reason names."""
    words = reason.strip()
    if not words:
        raise invalid("This needs a reason.", hint)
    if len(words) > LONGEST_REASON or not words.isprintable():
        raise invalid(f"A reason is one line of at most {LONGEST_REASON} printable characters.", hint)
    return words
