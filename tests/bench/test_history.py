"""The long past of a bench: its calls are whole calls, with windows and sessions."""

import time
from pathlib import Path

from comptroller.control import registry
from tests.bench.history import CALLS_A_SESSION, write_history
from tests.bench.world import BUDGETS, registry_table
from tests.harness.toml import to_toml
from tests.store.samples import CHARGE, rows_of, started

CALLS = 3_000


async def test_a_past_has_its_calls_in_every_table(tmp_path: Path) -> None:
    text = to_toml(registry_table(20))
    async with started(tmp_path) as store:
        state = await store.registry()
        agreed = registry.plan_document(state, registry.read(text, {"bench"}))
        await store.install(registry.installation(state, agreed, text, "test", time.time_ns()))
    write_history(tmp_path, CALLS, lambda line: None)
    assert rows_of(tmp_path, "SELECT count(*), count(DISTINCT id) FROM calls WHERE state = 'posted'") == [
        (CALLS, CALLS)
    ]
    posted = dict(
        rows_of(tmp_path, "SELECT substr(budget, 1, instr(budget, '#') - 1), sum(usd) FROM balances GROUP BY 1")
    )
    assert posted == {each["name"]: CALLS * CHARGE.usd for each in BUDGETS}
    ((opened,),) = rows_of(tmp_path, "SELECT count(*) FROM sessions")
    assert CALLS / CALLS_A_SESSION <= opened <= CALLS
    assert rows_of(tmp_path, "SELECT count(*) FROM calls WHERE session NOT IN (SELECT id FROM sessions)") == [(0,)]
