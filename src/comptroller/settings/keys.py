"""Reading keys and tokens from where the settings say they are kept."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

import msgspec

from comptroller.settings.values import KeySource

_MOST_KEY_BYTES = 8 * 1024
_MOST_VARIABLE_BYTES = 64 * 1024  # a service account in JSON fits; the system takes 128 KiB


class UnusableKey(Exception):
    """There is no key to be had; the message says why, never what was found."""


def read_key(what: str, source: KeySource, environ: Mapping[str, str], warnings: list[str]) -> bytes:
    """The key itself. Raises UnusableKey; what is worth a warning is added to `warnings`."""
    key = _read(what, source, environ, warnings, _MOST_KEY_BYTES).strip(b" \t\r\n")
    if not key:
        raise UnusableKey(f"{source} is empty")
    if not all(0x21 <= byte <= 0x7E for byte in key):
        raise UnusableKey(f"{source} holds characters that no key has")
    return key


def read_variable(what: str, source: KeySource, environ: Mapping[str, str], warnings: list[str]) -> bytes:
    """What a variable of a server holds: a key, or any other text, without line ends behind it. Raises UnusableKey."""
    value = _read(what, source, environ, warnings, _MOST_VARIABLE_BYTES).rstrip(b"\r\n")
    if b"\0" in value:
        raise UnusableKey(f"{source} holds characters that no variable may")
    return value


def variables_of(settings: object) -> frozenset[str]:
    """The environment variables that settings name: each holds a secret."""
    return frozenset(source.name for source in _sources(settings) if source.kind == "env")


def files_of(settings: object) -> frozenset[str]:
    """The files that settings name as places of secrets."""
    return frozenset(source.name for source in _sources(settings) if source.kind == "file")


def _sources(settings: object) -> Iterator[KeySource]:
    """Wherever they stand."""
    if isinstance(settings, KeySource):
        yield settings
        return
    parts: Iterable[object] = ()
    if isinstance(settings, msgspec.Struct):
        parts = (getattr(settings, name) for name in settings.__struct_fields__)
    elif isinstance(settings, Mapping):
        parts = cast("Mapping[object, object]", settings).values()
    elif isinstance(settings, tuple):
        parts = cast("tuple[object, ...]", settings)
    for part in parts:
        yield from _sources(part)


def _read(what: str, source: KeySource, environ: Mapping[str, str], warnings: list[str], most_bytes: int) -> bytes:
    if source.kind == "env":
        found = environ.get(source.name)
        if found is None:
            raise UnusableKey(f"{source} is not set")
        text = found.encode("utf-8", "surrogateescape")
    else:
        text = _read_file(what, source, warnings, most_bytes)
    if len(text.strip()) > most_bytes:
        raise UnusableKey(f"{source} holds more than a key can be")
    return text


def _read_file(what: str, source: KeySource, warnings: list[str], most_bytes: int) -> bytes:
    path = Path(source.name)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            found = file.read(most_bytes + 1)
    except OSError as error:
        raise UnusableKey(f"{source} cannot be read ({error.strerror})") from None
    if mode & stat.S_IROTH:
        warnings.append(f"{what} is readable by everyone on this machine: chmod 600 {path}.")
    return found
