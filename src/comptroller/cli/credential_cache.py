"""A credential kept between runs of a command, in a file for its owner alone, until shortly before it ends."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

_LONGEST_BYTES = 16 * 1024
_LEAST_LEFT = 0.2  # of its life; a helper is asked again long before the rest is over
_MOST_LEFT_S = 300


class Kept(msgspec.Struct, frozen=True):
    """A credential, and when it was got and ends by this machine's clock."""

    credential: str
    identity: str
    session: str
    got_at_s: float
    ends_at_s: float

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
        try:
            descriptor = os.open(self._path(about), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
                found = os.fstat(file.fileno())
                private = found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077
                content = file.read(_LONGEST_BYTES) if private else b""
            return msgspec.json.decode(content, type=Kept)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def keep(self, kept: Kept, *about: str) -> None:
        """Write it, whole or not at all. Where that fails, nothing is kept."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._folder)  # 0600
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123 - of a descriptor
                    file.write(msgspec.json.encode(kept))
                Path(name).replace(self._path(about))
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise

    def _path(self, about: tuple[str, ...]) -> Path:
        return self._folder / f"{sha256(msgspec.json.encode(about)).hexdigest()}.json"
