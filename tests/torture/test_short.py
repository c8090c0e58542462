"""A short torture in each mode, on every `make test`. `make torture` is the long one."""

from pathlib import Path

import pytest
import uvloop

from tests.torture.plan import Plan
from tests.torture.run import Options, run
from tests.torture.world import MODES, Mode

SECONDS = {"mixed": 6.0, "kill": 9.0, "term": 7.0, "overrun": 5.0}


@pytest.mark.processes
@pytest.mark.parametrize("mode", MODES)
def test_the_books_hold(mode: Mode, tmp_path: Path) -> None:
    result = uvloop.run(run(mode, Options(seed=7, seconds=SECONDS[mode]), tmp_path / "gateway", print))
    assert result.passed, "\n".join(f"{verdict}" for verdict in result.failed())
    # It was worth something: calls were answered, refused, and met what this mode is about.
    assert result.outcomes["completed"] > 20
    assert result.outcomes["refused"] > 20
    assert min(result.told.answered[surface] for surface in ("chat", "messages")) > 10
    met = {"mixed": "client_gone", "kill": "crashed", "term": "drained", "overrun": "completed"}
    assert result.outcomes[met[mode]] > 0


def test_the_same_seed_is_the_same_plan() -> None:
    def steps(seed: int) -> list[object]:
        plan = Plan(seed, "mixed", 3, 20).steps()
        return [next(plan) for _ in range(500)]

    assert steps(1) == steps(1)
    assert steps(1) != steps(2)
