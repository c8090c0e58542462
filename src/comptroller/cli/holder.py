"""What can go wrong when a command opens the store or starts a gateway, in words."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from comptroller.cli.failure import CommandError

if TYPE_CHECKING:
    from comptroller.store.lock import Held


@contextmanager
def said_plainly(before: str = "") -> Generator[None]:
    """Turn what opening a gateway's parts raises into a CommandError. `before` is put in front of its sentence."""
    from comptroller.control.problem import ControlProblem
    from comptroller.flow.journal import LedgerUnavailableError
    from comptroller.gateway.certificates import CertificateError
    from comptroller.settings import SettingsError
    from comptroller.store.backup import BackupError
    from comptroller.store.folder import StoreDamagedError
    from comptroller.store.lock import StoreHeldError
    from comptroller.store.migrate import SchemaUnknownError
    from comptroller.store.secret_file import SecretFileError

    try:
        yield
    except ControlProblem as problem:
        raise CommandError(before + problem.message, problem.hint, problem.details) from problem
    except SettingsError as error:
        first, *details = str(error).splitlines()
        raise CommandError(first, "", [line.strip() for line in details]) from error
    except (BackupError, LedgerUnavailableError) as error:
        raise CommandError(f"{before}{error}") from error
    except (StoreHeldError, SchemaUnknownError, StoreDamagedError, SecretFileError) as error:
        raise CommandError(f"{before}{error}") from error
    except CertificateError as error:
        hint = "The certificate and its key stand under tls_cert and tls_key in comptroller.toml."
        raise CommandError(f"{before}{error}", hint) from error
    except OSError as error:
        raise CommandError(f"{before}{error}") from error


@contextmanager
def alone_with(state: Path) -> Generator[bool]:
    """Keep others out of a store that nobody holds; False where somebody does, who is left alone."""
    import os
    import socket
    import time

    from comptroller.core.instant import format_instant
    from comptroller.store.lock import LOCK, OFFLINE, Holder, StoreHeldError, StoreLock

    try:
        holder = Holder(os.getpid(), socket.gethostname(), format_instant(time.time_ns()), OFFLINE)
        lock = StoreLock.acquire(state / LOCK, holder)
    except StoreHeldError:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def holder_of(config: Path) -> str | None:
    """Who owns the store of this configuration now, as a sentence; None if nobody does."""
    try:
        held = _held(config)
    except OSError as error:
        return str(error)
    return None if held is None else held.sentence


def is_served(config: Path) -> bool:
    """Whether a gateway that listens owns the store: not nobody, nor a command, nor a gateway that is just starting."""
    from comptroller.store.lock import OFFLINE

    try:
        held = _held(config)
    except OSError:
        return False
    return held is not None and held.holder is not None and held.holder.listen != OFFLINE


def _held(config: Path) -> Held | None:
    from comptroller.cli.target import read_settings
    from comptroller.store.lock import LOCK, held_now

    return held_now(read_settings(config).state / LOCK)
