"""Putting a restored database in the place of the present one: wholly or not at all, whenever the process dies.

    STATE/.restore.part/        being prepared; may be thrown away at any time
    STATE/.restore/             decided: from here on it will be done, by us or by the next who opens the store
    STATE/replaced-20261122T.../  what was there before: database, log, signing keys, admin credential

One rename decides. What follows are moves that can be done again from wherever they were cut off. Nothing is
deleted but the empty folder of the decision. All of it is done under the store's lock.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from comptroller.store.admin_token import FILE_NAME as ADMIN_TOKEN
from comptroller.store.backup import DATABASE, sync_folder
from comptroller.store.keyring import FILE_NAME as SIGNING_KEYS

PART = ".restore.part"
DECIDED = ".restore"

REPLACED = "replaced-"  # what the folder of a store that was replaced begins with

_ASIDE = "aside"
# The log leaves before its database: at no instant does one lie beside a database that is not its own.
_OURS = (f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal", SIGNING_KEYS, ADMIN_TOKEN, DATABASE)


def new_part(state_dir: Path) -> Path:
    """An empty folder to prepare a database in. What an earlier try left there is thrown away."""
    part = state_dir / PART
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    return part


def aside_of(state_dir: Path, moment: str) -> Path:
    """Where a store is moved that is replaced at this moment."""
    return state_dir / f"{REPLACED}{moment}"


def decide(state_dir: Path, moment: str) -> Path:
    """Take what stands in the part for the store from now on. Returns the folder that the present one is moved to."""
    part = state_dir / PART
    aside = aside_of(state_dir, moment)
    (part / _ASIDE).write_text(aside.name, encoding="ascii")
    for path in part.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(part)
    part.rename(state_dir / DECIDED)
    sync_folder(state_dir)
    return aside


def finish(state_dir: Path) -> bool:
    """Do what was decided, from wherever it was cut off. False if nothing was. Raises OSError; then do it again."""
    decided = state_dir / DECIDED
    if not decided.exists():
        return False
    prepared = decided / DATABASE
    if prepared.exists():
        aside = state_dir / (decided / _ASIDE).read_text(encoding="ascii")
        for name in _OURS:
            _move(state_dir / name, aside)
        sync_folder(state_dir)
        prepared.rename(state_dir / DATABASE)
        sync_folder(state_dir)
    shutil.rmtree(decided)
    sync_folder(state_dir)
    return True


def _move(path: Path, aside: Path) -> None:
    if not path.exists():
        return
    aside.mkdir(mode=0o700, exist_ok=True)
    path.rename(aside / path.name)
    sync_folder(aside)
