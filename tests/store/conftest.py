"""A store for one test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from comptroller.store.store import Store
from tests.sandbox.process import SandboxProcess
from tests.store.samples import started


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with started(tmp_path / "state") as opened:
        yield opened


@pytest.fixture(scope="package")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as running:
        yield running
