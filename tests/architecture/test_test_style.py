"""Tests wait for what they wait for, and use real parts."""

import pytest

from tests.architecture.house import ROOT, calls, files_of_tests, imports, parse

SLEEPS = {"time.sleep", "asyncio.sleep", "anyio.sleep", "sleep"}
MOCKS = ("unittest.mock", "mock", "pytest_mock", "respx", "responses")


@pytest.mark.parametrize("path", files_of_tests())
def test_no_test_sleeps_without_saying_why(path: str) -> None:
    """A fixed sleep is too short on a slow machine and too long on a fast one: wait for an event, or poll for the fact.

    Where it must be (the pause of a poll, a fault that lasts a while), the line says `# sleep: why`.
    `sleep(0)` only yields.
    """
    text = (ROOT / path).read_text(encoding="utf-8").splitlines()
    for name, call in calls(parse(ROOT / path)):
        if name in SLEEPS and not (call.args and getattr(call.args[0], "value", None) == 0):
            lines = text[call.lineno - 1 : call.end_lineno]
            assert any("# sleep: " in line for line in lines), f"{path}:{call.lineno}: {name}() without `# sleep: why`"


@pytest.mark.parametrize("path", files_of_tests())
def test_no_test_mocks(path: str) -> None:
    """A mock agrees with whatever we believe. A real socket, a sandbox provider or a small fake does not."""
    mocks = [
        f"line {line}"
        for name, line in imports(parse(ROOT / path))
        if f"{name}.".startswith(tuple(f"{mock}." for mock in MOCKS))
    ]
    assert not mocks, f"{path} imports a mocking library: {mocks}"
