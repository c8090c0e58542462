"""One sandbox process for the tests that leave its settings alone; each finds an empty bill."""

from collections.abc import Iterator

import pytest

from tests.sandbox.process import SandboxProcess


@pytest.fixture(scope="package")
def sandbox_process() -> Iterator[SandboxProcess]:
    with SandboxProcess() as process:
        yield process
        # Whatever clients did, nothing went wrong inside.
        assert process.errors() == ""


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    sandbox_process.clear_faults()
    sandbox_process.clear_cache()
    sandbox_process.reset_bill()
    return sandbox_process
