"""A judge that never finds anything proves nothing: faults planted in a copy of our own code must make it fail."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import uvloop

from tests.sandbox.process import SRC
from tests.torture.run import Options, run


class Planted(NamedTuple):
    """One line of ours, what it is made into, and the judgements that must notice it."""

    module: str
    line: str
    instead: str
    noticed_by: str


FAULTS = {
    "cached tokens cost nothing": Planted(
        "core/pricing/charge.py",
        'lines.append(("cache_read", cached, _or(at.cache_read, at.input)))',
        'lines.append(("cache_read", 0, _or(at.cache_read, at.input)))',
        "recorded = billed, where not presumed",
    ),
    "what the cache keeps for an hour costs what it keeps for five minutes": Planted(
        "core/pricing/charge.py",
        'yield "cache_write_1h", for_long, _or(at.cache_write_1h, rate)',
        'yield "cache_write_1h", for_long, rate',
        "recorded = billed, where not presumed",
    ),
    "an answer without usage is voided": Planted(
        "core/budget/settlement.py",
        '("answering", False): "presumed",',
        '("answering", False): "voided",',
        "voided calls were not billed",
    ),
    "a stop is forgotten": Planted(
        "flow/decide.py",
        "stop = gate.stops.applies(caller.stop_keys)",
        "stop = None if gate.stops else gate.stops.applies(caller.stop_keys)",
        "nothing passes while it is stopped",
    ),
    "the tail is forgotten": Planted(
        "flow/presume.py",
        "amounts(bound, came + provider.tail_tokens * bound.choices)",
        "amounts(bound, came)",
        "billed <= recorded, for every call",
    ),
    "half is posted in the windows": Planted(
        "core/budget/tree.py",
        "window.posted += charged",
        "window.posted += charged // 2",
        "posted = sum of calls in scope",
    ),
}


LONGER_S = (3.5, 8.0, 20.0)  # what a storm brings to light depends on the machine's pace; most is there in the first


@pytest.mark.processes
@pytest.mark.parametrize("fault", FAULTS)
def test_the_judge_finds(fault: str, tmp_path: Path) -> None:
    source = plant(FAULTS[fault], tmp_path)
    failed: list[str] = []
    for seconds in LONGER_S:
        options = Options(seed=11, seconds=seconds, source=source, brief=True)
        result = uvloop.run(run("mixed", options, tmp_path / f"gateway-{seconds:.0f}", print))
        failed += [verdict.what for verdict in result.failed()]
        if any(what.startswith(FAULTS[fault].noticed_by) for what in failed):
            return
    pytest.fail(f"nobody noticed that {fault}; these failed: {failed}")


def plant(fault: Planted, folder: Path) -> Path:
    """A copy of our package with one line made wrong; returns the folder to import it from."""
    source = folder / "planted"
    shutil.copytree(SRC / "comptroller", source / "comptroller", ignore=shutil.ignore_patterns("__pycache__"))
    module = source / "comptroller" / fault.module
    text = module.read_text()
    assert text.count(fault.line) == 1, f"{fault.module} has changed: plant this fault in its new words"
    module.write_text(text.replace(fault.line, fault.instead))
    asked = [sys.executable, "-c", "import comptroller; print(comptroller.__file__)"]
    found = subprocess.run(asked, env={"PYTHONPATH": str(source)}, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(source)), "the copy is not what a child imports"
    return source
