"""The official conformance suite, in the version of each era: what it says of a server, check by check."""

import json
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.mcp_peers.places import node, run, script, version

_STAMPED = re.compile(r"-\d{4}-\d\d-\d\dT.*$")


@dataclass(frozen=True)
class Suite:
    """One version of the suite. `checks`: how many a server passes that does everything."""

    name: str
    package: str
    arguments: tuple[str, ...]
    checks: int

    @property
    def version(self) -> str:
        return version(self.package)


SUITES = (
    Suite("legacy", "conformance-legacy", (), 40),
    Suite("modern", "conformance-modern", ("--spec-version", "2026-07-28", "--suite", "all"), 152),
)

Check = tuple[str, str, str]
"""Scenario, id of the check, and how it ended."""


@dataclass(frozen=True)
class Verdict:
    """What the suite says of one server."""

    checks: Counter[Check]
    said: str

    @property
    def passed(self) -> int:
        return sum(count for (_, _, status), count in self.checks.items() if status == "SUCCESS")

    @property
    def failed(self) -> list[Check]:
        return sorted(check for check in self.checks if check[2] == "FAILURE")


def judge(suite: Suite, url: str) -> Verdict:
    """Run a suite against a server."""
    with tempfile.TemporaryDirectory(prefix="comptroller-mcp-") as folder:
        command = [node(), script(suite.package), "server", "--url", url, *suite.arguments, "--output-dir", folder]
        done = run(command)
        checks = Counter(check for path in Path(folder).glob("**/checks.json") for check in _checks(path))
    return Verdict(checks, f"{done.stdout[-4000:]}{done.stderr[-2000:]}")


def _checks(path: Path) -> list[Check]:
    scenario = _STAMPED.sub("", path.parent.name)
    return [(scenario, each["id"], each["status"]) for each in json.loads(path.read_text(encoding="utf-8"))]
