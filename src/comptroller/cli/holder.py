"""What can go wrong when a command opens the store or starts a gateway, in words."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from comptroller.cli.failure import CommandError

OFFLINE = "nothing (offline command)"  # what app.py writes for a command that opened the store itself


@contextmanager
def said_plainly(before: str = "") -> Generator[None]:
    """Turn what opening a gateway's parts raises into a CommandError. `before` is put in front of its sentence."""
    from comptroller.control.problem import ControlProblem
    from comptroller.flow.journal import LedgerUnavailableError
    from comptroller.gateway.certificates import CertificateError
    from comptroller.settings import SettingsError
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
    except (StoreHeldError, SchemaUnknownError, StoreDamagedError, SecretFileError, LedgerUnavailableError) as error:
        raise CommandError(f"{before}{error}") from error
    except CertificateError as error:
        hint = "The certificate and its key stand under tls_cert and tls_key in comptroller.toml."
        raise CommandError(f"{before}{error}", hint) from error
    except OSError as error:
        raise CommandError(f"{before}{error}") from error


def holder_of(config: Path) -> str | None:
    """Who owns the store of this configuration now, as a sentence; None if nobody does."""
    return _held(config)[0]


def is_served(config: Path) -> bool:
    """Whether a gateway that listens owns the store: not nobody, nor a command, nor a gateway that is just starting."""
    import msgspec

    from comptroller.store.lock import Holder

    sentence, content = _held(config)
    if sentence is None:
        return False
    try:
        return msgspec.json.decode(content, type=Holder).listen != OFFLINE
    except msgspec.MsgspecError:
        return False


def _held(config: Path) -> tuple[str | None, bytes]:
    """Who owns the store, as a sentence, and the name it wrote into the lock."""
    import os

    from comptroller.cli.target import read_settings
    from comptroller.store.lock import Holder, StoreHeldError, StoreLock
    from comptroller.store.open import LOCK

    path = read_settings(config).state / LOCK
    try:
        if not path.exists():
            return None, b""
        StoreLock.acquire(path, Holder(os.getpid(), "this command", "now", OFFLINE)).release()
    except StoreHeldError as error:
        return str(error), path.read_bytes()
    except OSError as error:
        return str(error), b""
    return None, b""
