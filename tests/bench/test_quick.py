"""The bench runs and says its numbers. What they are is for docs/performance.md, not for a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN_S = 300


@pytest.mark.processes
def test_a_quick_bench_has_a_number_for_each_figure(tmp_path: Path) -> None:
    found = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.bench", "calls", "--quick", "--rounds", "1", "--json", str(found)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    document = json.loads(found.read_text())
    figures = {each["what"]: each for each in document["figures"]}
    assert {"CPU per call: comptroller, power", "saturated: comptroller, process"} <= figures.keys()
    assert all(each["median"] > 0 for each in figures.values())
    assert document["machine"]["python"]
    assert document["command"]
