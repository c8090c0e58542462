"""Real processes that are killed at random instants, or run out of disk: what they promised is there afterwards."""

import contextlib
import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.architecture.house import ROOT
from tests.store.samples import CHARGE, HOLD, held, rows_of, started
from tests.store.test_rollups import assert_sums_are_right

pytestmark = pytest.mark.processes
DEATHS = 6


def victim(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.store.victim", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def number_of(call_id: str) -> int:
    return int(call_id.removeprefix("call_"))


async def test_whatever_was_durable_is_there_after_kill_9(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    said: dict[str, set[int]] = {"held": set(), "settled": set()}
    epoch = 0
    for death in range(DEATHS):
        for what, number in run_until_killed(tmp_path, death, chance):
            said[what].add(int(number))
        if death % 2:
            kill_while_it_starts(tmp_path, chance)
        async with started(tmp_path) as store:
            assert store.journal.epoch > epoch
            epoch = store.journal.epoch
            states = {number_of(key): state for key, state in rows_of(tmp_path, "SELECT id, state FROM calls")}
            presumed = [number for number, state in states.items() if state == "presumed"]
            assert said["held"] <= states.keys()
            assert all(states[number] == "posted" for number in said["settled"])
            assert rows_of(tmp_path, "SELECT count(*) FROM holds") == [(0,)]
            posted = len(states) - len(presumed)
            money = posted * CHARGE.usd + len(presumed) * HOLD.usd
            assert rows_of(tmp_path, "SELECT DISTINCT usd FROM balances") == [(money,)]
            assert rows_of(tmp_path, "SELECT sum(charge_nanos) FROM calls") == [(money,)]
            with closing(sqlite3.connect(tmp_path / "comptroller.db")) as connection:
                assert_sums_are_right(connection)
    assert rows_of(tmp_path, "SELECT code FROM findings WHERE code != 'holds_presumed'") == []
    assert len(said["held"]) > 100
    assert len(said["settled"]) > 30


def run_until_killed(folder: Path, death: int, chance: random.Random) -> list[list[str]]:
    """What the victim said to be durable before it died."""
    with victim("calls", folder, death * 10**6, chance.randrange(2**32)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("epoch ")
        lines = [process.stdout.readline().split() for _ in range(chance.randrange(1, 400))]
        process.kill()
        return lines + [line.split() for line in process.stdout]


def kill_while_it_starts(folder: Path, chance: random.Random) -> None:
    """In its recovery, with luck; it must not have said anything yet that we would have to remember."""
    with victim("start", folder) as process, contextlib.suppress(subprocess.TimeoutExpired):
        try:
            process.wait(timeout=0.3 + chance.random())
        finally:
            process.kill()


async def test_a_full_disk_loses_and_doubles_nothing(tmp_path: Path) -> None:
    with victim("full", tmp_path) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    result = json.loads(output)
    assert len(result["failed"]) > 20
    assert len(result["durable"]) > 20
    assert result["lost"] == 0
    on_disk = [number_of(key) for (key,) in rows_of(tmp_path, "SELECT call_id FROM holds ORDER BY call_id")]
    assert on_disk == result["durable"]
    kept = [at_ns for (at_ns,) in rows_of(tmp_path, "SELECT at_ns FROM events ORDER BY id")]
    assert kept == [held(number).facts.at_ns for number in result["kept"]]
    async with started(tmp_path) as store:
        assert store.recovered.count == len(result["durable"])
