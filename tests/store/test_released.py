"""Every store that a released program left behind is opened by this one, and not a nano is different.

The fixtures are made by `released/make.py`, one for each schema that a release had (CONTRIBUTING). Each was copied in
the middle of its program's work: calls settled, open, refused and corrected, and events that are in no table yet.
"""

import gzip
import hashlib
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comptroller.control import budgets, calls
from comptroller.control.interfaces import CallFilter
from comptroller.core.money import format_usd
from comptroller.store.backup import read_backup, take_backup
from comptroller.store.lock import Holder
from comptroller.store.migrate import SchemaUnknownError
from comptroller.store.open import open_store
from comptroller.store.restore import prepare_restore
from tests.control.house import opened
from tests.end_to_end.caller import ask, chat, mint
from tests.harness.configuration import process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess
from tests.store.released.make import DATABASE, MIGRATIONS, forms, what_it_comes_to
from tests.store.samples import NOW_NS, open_at, rows_of

FOLDER = Path(__file__).parent / "released"
RELEASED = sorted(path.name.removesuffix(".json") for path in FOLDER.glob("*.json"))
HEAD = max(path.name[:4] for path in MIGRATIONS.glob("*.py"))
Form = dict[str, Any]
HOLDER = Holder(1, "here", "now", "nothing")


def expected(revision: str) -> dict[str, Any]:
    """What the program that wrote the store made of it."""
    return json.loads((FOLDER / f"{revision}.json").read_text())


@pytest.fixture(params=RELEASED)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def state(revision: str, tmp_path: Path) -> Path:
    """A state folder with the store as that program left it."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.executescript(gzip.decompress((FOLDER / f"{revision}.sql.gz").read_bytes()).decode())
    return folder


def test_there_is_a_store_of_the_first_release() -> None:
    assert RELEASED[0] == "0002"


async def test_it_comes_to_what_its_own_program_made_of_it(state: Path, revision: str) -> None:
    assert rows_of(state, "SELECT version_num FROM alembic_version") == [(revision,)]
    before = rows_of(state, "SELECT count(*) FROM journal")
    assert before != [(0,)], "something is left to fold"
    assert rows_of(state, "SELECT count(*) FROM holds") != [(0,)], "something is left to presume"
    kept = expected(revision)
    found = json.loads(json.dumps(await what_it_comes_to(state)))
    assert {name: kept[name] for name in found} == found
    assert rows_of(state, "SELECT version_num FROM alembic_version") == [(HEAD,)]


async def test_it_is_backed_up_first_if_it_must_be_migrated(state: Path, revision: str) -> None:
    store = open_at(state)
    await store.close(0)
    if revision == HEAD:
        assert store.backup is None
        return
    assert store.backup is not None
    assert read_backup(store.backup).manifest.schema == revision
    assert rows_of(store.backup, "SELECT count(*) FROM holds") != [(0,)], "as it was"


async def test_the_office_works_on_it(state: Path, revision: str) -> None:
    """Registry, policies and budgets are in force, and windows go on from where they were."""
    kept = expected(revision)
    async with opened(state) as house:
        gate = house.gate
        in_force = {key for kind, key, disabled in kept["entries"] if kind == "budget" and not disabled}
        assert {budget.name for budget in gate.registry.budgets} == in_force
        assert [policy.id for policy in gate.registry.policies.policies] == ["all-may-call"]
        assert len(await calls.list_calls(house.office, CallFilter())) == len(kept["calls"])
        (posted,) = [usd for budget, _, _, usd, _, _ in kept["balances"] if budget.startswith("all#")]
        await house.spend(7)
        (row,) = [row for row in await budgets.list_budgets(house.office) if row.name == "all"]
        assert row.posted == format_usd(posted + 7)


async def test_a_backup_of_it_is_restored(state: Path, revision: str) -> None:
    """Into an empty folder, with what was open in it presumed."""
    kept = expected(revision)
    made = take_backup(state / DATABASE, state.parent / "backups", NOW_NS)
    elsewhere = state.parent / "elsewhere"
    with prepare_restore(elsewhere, made, now_ns=time.time_ns(), holder=HOLDER) as restoring:
        restoring.complete("accept", "a drill")
    found = json.loads(json.dumps(await what_it_comes_to(elsewhere)))
    same = ("balances", "calls", "bounds", "entries")
    assert {name: kept[name] for name in same} == {name: found[name] for name in same}
    assert read_backup(made.path) == made, "and the backup is as it was"


@pytest.mark.processes
def test_a_gateway_serves_on_it(state: Path, revision: str, sandbox: SandboxProcess) -> None:
    with GatewayProcess(state.parent, process(sandbox.url), registry()) as gateway:
        said = ask(gateway, mint(gateway)["credential"], chat(max_tokens=5))
        assert said.status == 200, said.body
        (row,) = [row for row in gateway.calls() if row["id"] == said.call_id]
        (posted,) = [usd for budget, _, _, usd, _, _ in expected(revision)["balances"] if budget.startswith("all#")]
        (window,) = [row for row in gateway.budgets() if row["name"] == "all"]
        charge = int(float(row["charge_usd"]) * 1e9 + 0.5)
        assert window["posted"] == format_usd(posted + charge)
        assert "Traceback" not in gateway.log()


def test_its_migrations_stay_as_they_were_released(revision: str) -> None:
    """Stores exist that went through them: a change of the tables is a migration of its own."""
    for name, digest in expected(revision)["migrations"].items():
        now = hashlib.sha256((MIGRATIONS / name).read_bytes()).hexdigest()
        assert now == digest, f"{name} was released: leave it, and write a new one"


def test_its_events_can_still_be_read(revision: str) -> None:
    """A journal holds events in the form of their structs: fields are added at the end, with a default."""
    now = forms()
    for name, was in expected(revision)["forms"].items():
        assert name in now, f"stores hold {name}"
        assert unreadable(was, now[name]) == [], f"{name}, as stores of {revision} hold it"


def unreadable(was: Form, now: Form) -> list[str]:
    """Why what was written in one form cannot be read in another."""
    old, new = dict(was["fields"]), dict(now["fields"])
    faults: list[str] = []
    if (now["tag"], now["array"]) != (was["tag"], was["array"]):
        faults.append("its tag or its kind is another")
    if was["array"] and list(new)[: len(old)] != list(old):
        faults.append("its order is another")
    faults += [f"{field} is gone" for field in old if field not in new]
    faults += [f"{field} needs a default" for field, needed in new.items() if needed and not old.get(field, False)]
    return faults


FORM: Form = {"tag": "x", "array": True, "fields": [["a", True], ["b", False]]}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, []),
        ({"fields": [["a", True], ["b", False], ["c", False]]}, []),
        ({"fields": [["a", False], ["b", False]]}, []),
        ({"fields": [["a", True], ["b", False], ["c", True]]}, ["c needs a default"]),
        ({"fields": [["a", True], ["b", True]]}, ["b needs a default"]),
        ({"fields": [["a", True]]}, ["its order is another", "b is gone"]),
        ({"fields": [["b", False], ["a", True]]}, ["its order is another"]),
        ({"tag": "y"}, ["its tag or its kind is another"]),
        ({"array": False}, ["its tag or its kind is another"]),
    ],
)
def test_what_could_not_be_read_is_found(change: Form, fault: list[str]) -> None:
    assert unreadable(FORM, {**FORM, **change}) == fault


def test_a_newer_store_is_refused_by_an_older_program(state: Path) -> None:
    """Naming both, and left as it is."""
    with closing(sqlite3.connect(state / DATABASE)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(SchemaUnknownError, match=rf"has schema 9999; this program knows up to {HEAD}"):
        open_store(state, durability="process", now_ns=NOW_NS, holder=HOLDER)
    assert rows_of(state, "SELECT version_num FROM alembic_version") == [("9999",)]
