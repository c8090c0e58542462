"""The store: is it whole, does this program know it, who holds it, and does it keep up?"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from comptroller.core.instant import DAY_NS, NANOS_PER_SECOND
from comptroller.doctor.check import Check, fail, ok, say_bytes, warn
from comptroller.store.checkup import Checkup, kept_stores
from comptroller.store.lock import OFFLINE, Held

_LAG_WARN_S, _LAG_FAIL_S = 30, 300
_LOG_WARN_BYTES = 512 * 1_048_576
_BACKUP = "Keep the state folder as it is, and restore a backup (`comptroller restore`)."


def check_holder(held: Held | None) -> Check:
    """Who has the store now."""
    name = "store.holder"
    if held is None:
        return ok(name, "No gateway runs on this store.")
    if held.holder is None:
        return warn(name, held.sentence, "Look again in a moment; if it stays so, see its log.")
    if held.holder.listen == OFFLINE:
        return ok(name, f"A command works on the store: process {held.holder.pid} on {held.holder.host}.")
    holder = held.holder
    return ok(
        name, f"A gateway runs: process {holder.pid} on {holder.host} since {holder.started_at}, {holder.listen}."
    )


def check_store(found: Checkup, held: Held | None, now_ns: int) -> Iterator[Check]:
    """What was found in the database."""
    yield _schema(found)
    if found.schema is None or not found.known:
        return
    if found.trouble:
        yield fail("store.read", f"It cannot be read: {found.trouble}.", _BACKUP)
        return
    yield _integrity(found)
    if found.damage:
        return
    facts = f"Epoch {found.epoch}, registry version {found.registry_version}, calls on record: {found.calls}."
    yield ok("store.epoch", facts)
    yield _lag(found, held, now_ns)
    yield _log(found)
    if held is None and found.open_holds:
        many = "1 call" if found.open_holds == 1 else f"{found.open_holds} calls"
        hint = "Start the gateway, look at `comptroller findings`, and correct them when the bill is known."
        yield warn("store.holds", f"{many} were in flight when the gateway died: the next start presumes them.", hint)


def check_leftovers(state_dir: Path) -> Check:
    """What a restore left behind that was cut off."""
    name = "store.leftovers"
    if (state_dir / ".restore").exists():
        return warn(name, "A restore was decided and cut off.", "The next start of the gateway finishes it.")
    return ok(name, "Nothing is left half done.")


def check_kept(state_dir: Path, now_ns: int) -> Check:
    """Older stores that nobody removes: those that a restore replaced, and the backups before migrations."""
    name = "store.kept"
    kept = [(path, _size(path), path.stat().st_mtime_ns) for path in kept_stores(state_dir)]
    if not kept:
        return ok(name, "No older store is kept.")
    each = ", ".join(
        f"{path.relative_to(state_dir)} ({say_bytes(size)}, {_age(now_ns - at_ns)})" for path, size, at_ns in kept
    )
    remove = shlex.join(["rm", "-r", *(str(path) for path, _, _ in kept)])
    return warn(
        name,
        f"Older stores are kept, {say_bytes(sum(size for _, size, _ in kept))} in all: {each}.",
        f"Once nobody needs a way back to them: `{remove}`. No `comptroller backup` has them: copy what shall be kept.",
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _age(age_ns: int) -> str:
    days = age_ns // DAY_NS
    if days < 1:
        return "today"
    return "1 day old" if days == 1 else f"{days} days old"


def _schema(found: Checkup) -> Check:
    name = "store.schema"
    if found.schema == found.knows:
        return ok(name, f"Schema {found.schema}, the newest that this program knows.")
    if found.schema is None:
        return ok(name, "There is no store yet: the first start makes it.")
    if found.known:
        sentence = f"Schema {found.schema} is older than {found.knows}."
        return warn(name, sentence, "The next start migrates it, after a backup: see that there is room.")
    return fail(
        name,
        f"Schema {found.schema} is unknown; this program knows up to {found.knows}.",
        "Run the Comptroller that wrote it, or `comptroller restore` a backup that this one knows.",
    )


def _integrity(found: Checkup) -> Check:
    name = "store.integrity"
    if found.damage:
        return fail(name, f"The database is damaged: {found.damage}.", _BACKUP)
    size = say_bytes(found.database_bytes)
    if not found.whole:
        return ok(
            name, f"No damage found, as far as looked in the time ({size}): `comptroller backup` looks at all of it."
        )
    return ok(name, f"The database is whole ({size}).")


def _lag(found: Checkup, held: Held | None, now_ns: int) -> Check:
    """Batches of the journal that are in no table yet."""
    name = "store.unfolded"
    if not found.unfolded_batches:
        return ok(name, "All of the journal is in the tables.")
    if held is None:
        return ok(name, f"{found.unfolded_batches} batches of the journal are folded by the next start.")
    behind_s = max(0, now_ns - found.oldest_unfolded_ns) // NANOS_PER_SECOND
    sentence = f"{found.unfolded_batches} batches of the journal are in no table yet, the oldest for {behind_s} s."
    hint = "See `ledger` in `comptroller status` for the reason: a full disk, or a table that is locked."
    if behind_s >= _LAG_FAIL_S:
        return fail(name, sentence, hint)
    return warn(name, sentence, hint) if behind_s >= _LAG_WARN_S else ok(name, sentence)


def _log(found: Checkup) -> Check:
    name, sentence = "store.log", f"The log beside the database is {say_bytes(found.log_bytes)} long."
    if found.log_bytes < _LOG_WARN_BYTES:
        return ok(name, sentence)
    return warn(name, sentence, "Something reads the database for very long: a backup, or another program. End it.")
