"""The tables, the migrations that make them, and the structs that are their rows are one thing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.schema import CreateIndex

from comptroller.core.identity.secret import BootstrapSecret
from comptroller.core.work.session import Session
from comptroller.core.work.stop import Stop
from comptroller.core.work.stored import StoredObject
from comptroller.flow.records import Change, Finding
from comptroller.store import schema
from comptroller.store.objects import OBJECTS
from comptroller.store.rows import CallRow
from tests.store.folding import SHIPPED
from tests.store.samples import NOW_NS, open_at, rows_of


def test_the_migrations_make_the_schema(tmp_path: Path) -> None:
    open_at(tmp_path)._lock.release()
    engine = create_engine(f"sqlite:///{tmp_path / 'comptroller.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata) == []
        for table in schema.metadata.tables.values():  # what the comparison does not see: conditions
            for index in table.indexes:
                wanted = str(CreateIndex(index).compile(connection))
                made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = ?", (index.name,))
                assert made.scalar() == wanted
    engine.dispose()


def test_the_migrations_are_one_chain() -> None:
    """Two that were written side by side would each leave out what the other one does."""
    steps = ScriptDirectory(str(SHIPPED))
    assert len(steps.get_heads()) == 1
    assert len(steps.get_bases()) == 1
    chain = list(steps.walk_revisions())[::-1]
    assert [step.revision for step in chain] == [f"{number:04d}" for number in range(1, len(chain) + 1)]
    assert [step.down_revision for step in chain] == [None, *(step.revision for step in chain[:-1])]
    files = sorted(path.name for path in (SHIPPED / "versions").glob("*.py"))
    assert [Path(step.path).name for step in chain] == files, "and each file says in its name which step it is"


def test_rows_have_the_columns_of_their_table() -> None:
    assert list(CallRow.__struct_fields__) == [column.name for column in schema.calls.columns]
    assert list(Session.__struct_fields__) == [column.name for column in schema.sessions.columns]
    assert list(StoredObject.__struct_fields__) == [column.name for column in OBJECTS.columns]
    assert list(Stop.__struct_fields__) == [column.name for column in schema.stops.columns]
    assert list(BootstrapSecret.__struct_fields__) == [column.name for column in schema.secrets.columns]
    assert list(Change.__struct_fields__) == [c.name for c in schema.events.columns if c.name != "id"]
    assert list(Finding.__struct_fields__) == [c.name for c in schema.findings.columns if c.name != "id"]


def test_what_may_be_missing_in_a_row_may_be_missing_in_the_table() -> None:
    kinds = {field.name: field.type for field in msgspec.inspect.type_info(CallRow).fields}  # type: ignore[attr-defined]
    for column in schema.calls.columns:
        kind = kinds[column.name]
        may_be_none = isinstance(kind, msgspec.inspect.UnionType) and kind.includes_none
        assert bool(column.nullable) == may_be_none, column.name


def test_reading_calls_uses_an_index(tmp_path: Path) -> None:
    """Ten million calls are not looked through for one of them, for one session's, or for the newest."""
    open_at(tmp_path, now_ns=NOW_NS)._lock.release()
    questions = {
        "id = 'x'": "sqlite_autoindex_calls_1",
        "session = 'x'": "calls_session",
        "identity = 'x' ORDER BY at_ns DESC": "calls_identity_at",
        "at_ns > 5 ORDER BY at_ns DESC": "calls_at",
        f"outcome = 'x' AND {schema.UNUSUAL} ORDER BY at_ns DESC": "calls_unusual",
        f"{schema.REFUSED} ORDER BY at_ns DESC": "calls_refused",
    }
    with closing(sqlite3.connect(tmp_path / "comptroller.db")) as connection:
        for condition, index in questions.items():
            plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM calls WHERE {condition}").fetchall()
            assert index in str(plan), condition
    assert rows_of(tmp_path, "SELECT count(*) FROM calls") == [(0,)]


def test_reading_current_windows_uses_an_index(tmp_path: Path) -> None:
    """A budget for each identity and hour leaves millions of windows; a start reads those of this hour."""
    open_at(tmp_path, now_ns=NOW_NS)._lock.release()
    with closing(sqlite3.connect(tmp_path / "comptroller.db")) as connection:
        asked = "EXPLAIN QUERY PLAN SELECT * FROM balances WHERE budget IN ('a', 'b') AND start_ns >= 5"
        assert "balances_budget_start (budget=? AND start_ns>?)" in str(connection.execute(asked).fetchall())
