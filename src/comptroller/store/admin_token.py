"""The bootstrap credential of the admin plane: who can read the state folder may steer the gateway."""

from __future__ import annotations

import secrets
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path

from comptroller.core.identity.credential import ADMIN_PREFIX
from comptroller.store.secret_file import SecretFileError, create_secret, make_folder, read_secret

FILE_NAME = "admin-token"

_RANDOM_BYTES = 32  # 43 characters
_LENGTH = len(ADMIN_PREFIX) + 43


class AdminToken:
    """Knows the token when it sees it; keeps only its digest."""

    def __init__(self, token: str) -> None:
        self._digest = _digest(token)

    def matches(self, presented: str) -> bool:
        """True for the token itself. Takes the same time whatever is wrong."""
        return compare_digest(_digest(presented), self._digest)


def open_admin_token(folder: Path) -> AdminToken:
    """The token of a state folder, made if there is none. Raises SecretFileError or OSError."""
    make_folder(folder)
    if not (folder / FILE_NAME).exists():
        made = ADMIN_PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        create_secret(folder / FILE_NAME, f"{made}\n".encode())
    return AdminToken(read_admin_token(folder))


def read_admin_token(folder: Path) -> str:
    """The token itself, for the command beside the gateway. Raises SecretFileError."""
    path = folder / FILE_NAME
    content = read_secret(path, 4 * _LENGTH)
    if content is None:
        raise SecretFileError(f"{path} is not there: start the gateway once, or say where its state is.")
    token = content.decode("ascii", "replace").strip()
    if not token.startswith(ADMIN_PREFIX) or len(token) != _LENGTH:
        raise SecretFileError(f"{path} does not hold an admin credential: remove it, and a start makes a new one.")
    return token


def _digest(token: str) -> bytes:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32).digest()
