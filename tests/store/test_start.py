"""What a start reads: the same few rows, however many calls there ever were."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comptroller.app import open_house
from comptroller.settings import load_settings
from tests.control.house import opened
from tests.harness.configuration import budget, process
from tests.harness.toml import to_toml

SMALL = {
    "meta",
    "holds",
    "stops",
    "admins",
    "break_glass",
    "bounds",
    "registry_entries",
    "sqlite_master",
    "alembic_version",
}
"""Tables that may be read in full: what is open, what was ever wrong with a model, who exists."""

NO_TABLE = {"CONSTANT", "VIRTUAL"}  # a row that was said, or a list of values

BUDGETS = [
    budget("all", "100.00 USD"),
    budget("each", "5.00 USD", "hour", per="identity"),
    budget("run", "5.00 USD", per="session"),
]


async def test_a_start_looks_through_no_table_that_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery of a dead process too: every statement is asked how it would be answered."""
    state = tmp_path / "state"
    async with opened(state, budgets=BUDGETS) as house:
        await house.spend(5)
        await house.hold(7)  # and dies
    config = tmp_path / "comptroller.toml"
    config.write_text(to_toml(process("http://127.0.0.1:9", state=str(state))))
    said: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **named)
        connection.set_trace_callback(said.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    async with open_house(load_settings(config), {"SANDBOX_KEY": "none"}, listening=True) as started:
        assert started.store.recovered.count == 1
        begun = list(said)
    monkeypatch.undo()
    asked = [each for each in begun if each.lstrip().split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}]
    for table in ("holds", "journal", "balances", "sessions", "registry_entries"):
        assert any(f"FROM {table}" in each for each in asked), f"a start reads {table}"
    with closing(connect(state / "comptroller.db")) as connection:
        for statement in asked:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
            steps = [step.split() for *_, step in plan]
            scanned = {step[1] for step in steps if step[0] == "SCAN" and not NO_TABLE & {*step}}
            assert scanned <= SMALL, (statement, plan)
