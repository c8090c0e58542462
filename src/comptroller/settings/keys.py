"""Reading keys and tokens from where the settings say they are kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from comptroller.settings.values import KeySource

_MOST_KEY_BYTES = 8 * 1024


class UnusableKey(Exception):
    """There is no key to be had; the message says why, never what was found."""


def read_key(what: str, source: KeySource, environ: Mapping[str, str], warnings: list[str]) -> bytes:
    """The key itself. Raises UnusableKey; what is worth a warning is added to `warnings`."""
    if source.kind == "env":
        found = environ.get(source.name)
        if found is None:
            raise UnusableKey(f"{source} is not set")
        return _checked(found.encode("utf-8", "surrogateescape"), source)
    path = Path(source.name)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            key = file.read(_MOST_KEY_BYTES + 1)
    except OSError as error:
        raise UnusableKey(f"{source} cannot be read ({error.strerror})") from None
    if mode & stat.S_IROTH:
        warnings.append(f"{what} is readable by everyone on this machine: chmod 600 {path}.")
    return _checked(key, source)


def _checked(key: bytes, source: KeySource) -> bytes:
    key = key.strip(b" \t\r\n")
    if not key:
        raise UnusableKey(f"{source} is empty")
    if len(key) > _MOST_KEY_BYTES:
        raise UnusableKey(f"{source} holds more than a key can be")
    if not all(0x21 <= byte <= 0x7E for byte in key):
        raise UnusableKey(f"{source} holds characters that no key has")
    return key
