"""Masking: a text without what changes each time although nothing else does, so that a step can be known again.

Three masks, each wider than the one before. Which of them is safe depends on whose words they are: in a tool's
result an id is noise, in a user's message it may be the whole question, and short numbers (a page, an amount, how
far a job has come) are what a step is about more often than not.
"""

from __future__ import annotations

import re

LONGEST = 8_192  # characters; a longer text is compared as it is, and costs no search

_TIMES = (
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?Z|[+-]\d\d:?\d\d)?)?"  # ISO 8601, and a date alone
    r"|\b\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?\b"  # a time of day
    r"|\b1[6-9]\d{8}(?:\d{3}){0,3}\b"  # since the epoch: seconds to nanoseconds, in 2020 to 2033
)
_IDS = (
    r"|\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b"  # RFC 9562
    r"|\b(?=[A-Fa-f]*\d)(?:0x)?[0-9A-Fa-f]{8,}\b"  # digests, addresses, trace ids
    r"|\b[A-Za-z]{1,12}_(?=[A-Za-z]*\d)[0-9A-Za-z]{12,}\b"  # req_..., call_..., toolu_...
)
_TIME = re.compile(_TIMES, re.ASCII)
_ID = re.compile(_TIMES + _IDS, re.ASCII)
_NUMBER = re.compile(_TIMES + _IDS + r"|\d+", re.ASCII)
_DIGIT = re.compile(r"[0-9]")


def without_times(text: str) -> str:
    """Dates and times of day are all alike."""
    return _masked(_TIME, text)


def without_ids(text: str) -> str:
    """So are UUIDs, long hexadecimal numbers and ids with a prefix."""
    return _masked(_ID, text)


def without_numbers(text: str) -> str:
    """So is every number."""
    return _masked(_NUMBER, text)


def _masked(pattern: re.Pattern[str], text: str) -> str:
    if len(text) > LONGEST or _DIGIT.search(text) is None:
        return text
    # Word by word, and only those that may hold a digit: searching all of a text for all of this is ten times dearer.
    return " ".join([word if word.isalpha() else pattern.sub("#", word) for word in text.split()])
