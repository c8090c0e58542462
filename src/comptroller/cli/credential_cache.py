"""A credential kept between runs of a command, in a file for its owner alone, until shortly before it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from comptroller.cli.private_file import read_private, write_private

_LEAST_LEFT = 0.2  # of its life; a helper is asked again long before the rest is over
_MOST_LEFT_S = 300


class Kept(msgspec.Struct, frozen=True):
    """A credential, and when it was got and ends by this machine's clock."""

    credential: str
    identity: str
    session: str
    got_at_s: float
    ends_at_s: float
    proof: str = ""  # the digest of what it was got for; "" where that cannot be read without asking for it

    @property
    def fresh(self) -> bool:
        """Whether it has a while to live. One of the future is of a clock that went back."""
        margin_s = min(_MOST_LEFT_S, (self.ends_at_s - self.got_at_s) * _LEAST_LEFT)
        return self.got_at_s <= time.time() < self.ends_at_s - margin_s


class CredentialCache:
    """One file for each thing that credentials are got for. One with anything wrong is as good as none."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        base = environ.get("XDG_CACHE_HOME") or ""
        self._folder = (
            (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "comptroller" / "credentials"
        )

    def get(self, *about: str) -> Kept | None:
        """The credential that was kept for this, fresh or not, if nobody else can have written or read it."""
        return read_private(self._path(about), Kept)

    def keep(self, kept: Kept, *about: str) -> None:
        """Write it, whole or not at all. Where that fails, nothing is kept."""
        with suppress(OSError):
            write_private(self._path(about), kept)

    def _path(self, about: tuple[str, ...]) -> Path:
        return self._folder / f"{sha256(msgspec.json.encode(about)).hexdigest()}.json"
