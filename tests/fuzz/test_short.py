"""A short fuzz of the data plane's doors; `python -m tests.fuzz --seconds 600` is the long one."""

import random
from pathlib import Path

import pytest

from tests.fuzz.run import run

pytestmark = pytest.mark.processes

SECONDS = 12.0


def test_nothing_that_is_thrown_at_the_doors_breaks_them(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    result = run(tmp_path, seed, SECONDS)
    assert result.faults == [], seed
    assert [verdict for verdict in result.verdicts if not verdict.passed] == [], seed
    assert result.statuses.keys() >= {200, 400}, "it threw good ones and bad ones"
