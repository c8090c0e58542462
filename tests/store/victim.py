"""A process that writes to a store and says on its output what is durable, until it is killed or its disk is full.

python -m tests.store.victim calls FOLDER FIRST SEED   says `held N` and `settled N` after each commit, for ever
python -m tests.store.victim start FOLDER              opens the store and lets it go
python -m tests.store.victim full FOLDER               fills its disk again and again; says what it found out
"""

import asyncio
import json
import os
import random
import resource
import sys
from itertools import count
from pathlib import Path

import uvloop

from comptroller.flow.journal import LedgerUnavailableError
from comptroller.store.store import Store
from tests.store.samples import change, held, open_at, settled, until

CALLERS = 16
TURNS = 12


async def make_calls(folder: Path, first: int, seed: int) -> None:
    chance = random.Random(seed)
    store = open_at(folder, chance.choice(["power", "process"]))
    say(f"epoch {store.journal.epoch if store.start() else 0} presumed {store.recovered.count}")
    numbers = count(first)
    await asyncio.gather(
        *(make_call_after_call(store, numbers, chance) for _ in range(CALLERS)), fold_often(store, chance)
    )


async def make_call_after_call(store: Store, numbers: "count[int]", chance: random.Random) -> None:
    journal = store.journal
    for number in numbers:
        await journal.commit(held(number, epoch=journal.epoch))
        say(f"held {number}")
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() / 100)  # sleep: the call is under way
        if chance.random() < 0.5:
            await journal.commit(settled(number))
            say(f"settled {number}")
        else:
            journal.append(settled(number))


async def fold_often(store: Store, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(chance.random() / 20)  # sleep: folds at no particular moment
        await store.fold()


async def fill_the_disk(folder: Path) -> None:
    """Lets the log grow only a little further, several times, and counts what the journal promised meanwhile."""
    store = open_at(folder, "power")
    journal = store.start()
    numbers = count()
    durable: list[int] = []
    failed: list[int] = []
    kept: list[int] = []
    for turn in range(TURNS):
        let_files_grow_to((folder / "comptroller.db-wal").stat().st_size + turn * 1_500)
        while journal.healthy:
            batch = [(number, journal.commit(held(number))) for number in (next(numbers) for _ in range(5))]
            for _ in range(5):
                kept.append(next(numbers))
                journal.append(change(kept[-1]))
            for number, future in batch:
                try:
                    await future
                    durable.append(number)
                except LedgerUnavailableError:
                    failed.append(number)
        for _ in range(3):
            kept.append(next(numbers))
            journal.append(change(kept[-1]))
        let_files_grow_to(resource.RLIM_INFINITY)
        await until(lambda: journal.healthy)
        if turn % 3 == 0:
            await store.fold()
    lost = await store.close(timeout_s=20)
    say(json.dumps({"durable": durable, "failed": failed, "kept": kept, "lost": lost}))


def let_files_grow_to(size: int) -> None:
    """Beyond it, writing fails with EFBIG, in the middle of a write if need be."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def say(line: str) -> None:
    """One write, so that a line is there or not, whenever the process dies."""
    os.write(1, f"{line}\n".encode())


async def main() -> None:
    what, folder, *rest = sys.argv[1:]
    if what == "start":
        await open_at(Path(folder), "power").close(0)
    elif what == "calls":
        await make_calls(Path(folder), int(rest[0]), int(rest[1]))
    else:
        await fill_the_disk(Path(folder))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
