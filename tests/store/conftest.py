"""Stores for one test."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from comptroller.store.database import Database
from comptroller.store.migrate import migrate
from comptroller.store.store import Store
from tests.sandbox.process import SandboxProcess
from tests.store.folding import Fresh
from tests.store.samples import NOW_NS, started


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with started(tmp_path / "state") as opened:
        yield opened


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store to copy, so that each example need not migrate its own."""
    path = tmp_path_factory.mktemp("template") / "comptroller.db"
    with closing(Database(path, "process")) as database:
        migrate(database.connection, path, NOW_NS)
    return path


@pytest.fixture
def fresh(template: Path, tmp_path: Path) -> Iterator[Fresh]:
    made = Fresh(template, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="package")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as running:
        yield running
