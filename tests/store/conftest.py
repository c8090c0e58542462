"""A store for one test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comptroller.store.store import Store
from tests.store.samples import started


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with started(tmp_path / "state") as opened:
        yield opened
