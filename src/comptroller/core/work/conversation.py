"""A conversation as the rules see it: what each of its messages is to the others, whatever dialect it was sent in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

Part = Literal["system", "user", "model", "tool", "unknown"]
"""Who speaks: `tool` brings results of tools, whatever else stands beside them; `unknown`: nobody here can tell."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """A tool that the model called."""

    id: str  # that its result names; '' where there is none
    name: str
    arguments: object = ""  # decoded JSON, or the text of it


class Result(msgspec.Struct, frozen=True, gc=False):
    """What came of a call."""

    call: str  # its id
    bytes: int  # as the model gets it
    texts: tuple[str, ...] = ()
    failed: bool | None = None  # as the dialect says it; None: only its text could tell


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One message, item or content."""

    part: Part
    texts: tuple[str, ...] = ()  # of a user's
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()
    images: int = 0
    kept: bool = False  # without it others mean something else: it is never left out, nor is its turn
    starts: bool = False  # the model began anew with it: what it says needs nothing that it said before
    reference: bool = False  # what it is stands at the provider: it may be the call of any result


def last_of(entries: Sequence[Entry]) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """What the model said last before somebody spoke to it, and what it was then told. Either may be empty."""
    end = len(entries)
    while end and entries[end - 1].part == "model":  # the beginning of an answer, to be gone on with
        end -= 1
    begin = end
    while begin and entries[begin - 1].part != "model":
        begin -= 1
    before = begin
    while before and entries[before - 1].part == "model":
        before -= 1
    return entries[before:begin], entries[begin:end]
