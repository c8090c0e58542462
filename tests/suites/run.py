"""One suite, run twice: direct against the mock server, and through a gateway whose provider the mock server is."""

import json
import os
import subprocess
from pathlib import Path

from tests.harness.gateway import free_ports
from tests.suites.mock import mock
from tests.suites.objects import make_objects
from tests.suites.outcome import Outcome, Outcomes
from tests.suites.suite import PYTHON, Suite
from tests.suites.world import IDENTITY, gateway

# Left out: tests of another HTTP library, which go through the same routes, and those that send nothing.
_CHOICE = "not aiohttp and not path_params and not webhook"


class SuiteFailed(Exception):
    """The tests could not be run; the text has what pytest said."""


def direct(suite: Suite, only: str, folder: Path) -> Outcomes:
    """How each test ends against the mock server alone."""
    port = free_ports(1)[0]
    with mock(suite, port, folder):
        return _run(suite, only, port, "no-key-of-anybody", folder)


def through(suite: Suite, only: str, limit: str, folder: Path) -> Outcomes:
    """How each test ends through the gateway under this budget."""
    port = free_ports(1)[0]
    with gateway(suite, port, limit, folder / "gateway") as front:
        credential = front.token(IDENTITY)
        make_objects(suite.dialect, front, credential, port)
        with mock(suite, port, folder):
            return _run(suite, only, front.port, credential, folder)


def _run(suite: Suite, only: str, port: int, credential: str, folder: Path) -> Outcomes:
    told = folder / "outcomes.jsonl"
    told.unlink(missing_ok=True)
    # Their settings would run on all cores; what they log and where they fail is not read here.
    command = [
        PYTHON,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-n",
        "0",
        "-p",
        "reporter",
        "-p",
        "no:logging",
        "--tb=no",
    ]
    command += ["-k", f"{_CHOICE} and ({only})" if only else _CHOICE]
    said = folder / "pytest.log"
    with said.open("wb") as out:
        done = subprocess.run(
            [*command, suite.tests.relative_to(suite.sources)],
            cwd=suite.sources,
            env=_environment(suite, port, credential, told),
            stdout=out,
            stderr=out,
            check=False,
        )
    if done.returncode not in (0, 1):  # passed, or some failed
        raise SuiteFailed(f"pytest ended with {done.returncode}:\n{said.read_text(errors='replace')[-3000:]}")
    with told.open(encoding="utf-8") as lines:
        outcomes = [Outcome(**json.loads(line)) for line in lines]
    return {each.test: each for each in outcomes}


def _environment(suite: Suite, port: int, credential: str, told: Path) -> dict[str, str]:
    path = os.pathsep.join(map(str, [*suite.on_path, Path(__file__).parent]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))}
    return kept | {
        "PYTHONPATH": path,
        "TEST_API_BASE_URL": f"http://127.0.0.1:{port}{suite.below}",
        "SUITE_CREDENTIAL": credential,
        "SUITE_OUTCOMES": str(told),
        "NO_PROXY": "127.0.0.1",
    }
