"""The credential in a query: `?key=`, as Google's API takes one. It is read and goes nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

_KEY = b"key"


def has_key(query: bytes) -> bool:
    """Whether there is one."""
    return bool(query) and bool(keys_in(query))


def keys_in(query: bytes) -> Sequence[bytes]:
    """Every value of the parameter `key`, decoded; empty ones are none."""
    parts = (part.partition(b"=") for part in query.split(b"&"))
    return [value for name, _, raw in parts if unquote_to_bytes(name) == _KEY and (value := unquote_to_bytes(raw))]
