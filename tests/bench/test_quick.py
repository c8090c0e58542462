"""The bench runs and says its numbers. What they are is for docs/performance.md, not for a test."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN_S = 900

# One figure of every part, as docs/performance.md has them.
WANTED = {
    "calls": "CPU per call: comptroller, power",
    "latency": "added p50 above a sync: comptroller, power",
    "streams": "100 open, memory of each: comptroller, power",
    "first-byte": "added p99: comptroller, power",
    "stored": "p50, more where it is kept",
    "controls": "added CPU per call: all of them",
    "tools": "added CPU per tool call: scopes, pins, prices and budgets",
    "starvation": "held over settled, both, all the time: in slices",
    "stops": "200 streams of an identity, until the last byte, p99",
    "identities": "CPU per call, times that of 10 identities: 1,000 identities",
    "records": "start-up with 100 calls, 1,000 identities",
    "profile": "Python functions entered per call",
}


@pytest.mark.processes
def test_a_bench_has_numbers_for_every_part(tmp_path: Path) -> None:
    found = tmp_path / "figures.json"
    shutil.copy(ROOT / "docs" / "performance.md", tmp_path)
    options = ["--smoke", "--json", str(found), "--publish", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    document = json.loads(found.read_text())
    figures = {(each["part"], each["what"]): each for each in document["figures"]}
    assert WANTED.items() <= figures.keys()
    assert all(figures[key]["median"] is not None for key in WANTED.items())
    assert document["machine"]["python"]
    page = (tmp_path / "performance.md").read_text()
    assert all(f"| {what} | " in page for what in WANTED.values())
    assert document["command"] in page
