"""One sandbox for the tests of this folder; each takes servers of its own names."""

from collections.abc import Iterator

import pytest

from tests.sandbox.process import SandboxProcess


@pytest.fixture(scope="package")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process
        assert process.errors() == ""
