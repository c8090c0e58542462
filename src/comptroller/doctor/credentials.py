"""The secrets of the state folder: the keys that sign credentials, and the admin credential. None is ever shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.doctor.check import Check, fail, ok, warn
from comptroller.store.admin_token import FILE_NAME as ADMIN_TOKEN
from comptroller.store.admin_token import read_admin_token
from comptroller.store.keyring import newest_key_made_ns
from comptroller.store.secret_file import SecretFileError

_ROTATE_AFTER_DAYS = 90
_NS_PER_DAY = 86_400 * NANOS_PER_SECOND


def check_credentials(state_dir: Path, now_ns: int, *, bootstrap_ended: bool) -> Iterator[Check]:
    yield _signing_keys(state_dir, now_ns)
    yield _bootstrap(state_dir, ended=bootstrap_ended)


def _signing_keys(state_dir: Path, now_ns: int) -> Check:
    name = "credentials.signing_keys"
    try:
        made_ns = newest_key_made_ns(state_dir)
    except SecretFileError as error:
        return fail(name, str(error), "Without it no credential is good: put it right, or remove it for new keys.")
    if made_ns is None:
        return ok(name, "There are none yet: the next start makes them.")
    days = max(0, now_ns - made_ns) // _NS_PER_DAY
    sentence = f"The key that signs is {'1 day' if days == 1 else f'{days} days'} old."
    if days < _ROTATE_AFTER_DAYS:
        return ok(name, sentence)
    return warn(name, sentence, 'Rotate it: `comptroller keys rotate --reason "routine"`. Nobody notices.')


def _bootstrap(state_dir: Path, *, ended: bool) -> Check:
    name = "credentials.admin"
    if not (state_dir / ADMIN_TOKEN).exists():
        return ok(name, "There is no bootstrap credential: the next start makes one.")
    try:
        read_admin_token(state_dir)
    except SecretFileError as error:
        return fail(name, str(error), "Put it right, and restart the gateway.")
    if ended:
        return ok(name, "The bootstrap credential ended with the first named admin of role admin: it opens nothing.")
    return ok(name, "The bootstrap credential opens everything on this machine: no admin of role admin has a name yet.")
