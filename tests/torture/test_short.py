"""A short torture in each mode, on every `make test`. `make torture` is the long one."""

from collections import Counter
from pathlib import Path

import pytest
import uvloop

from tests.torture.client import Told
from tests.torture.plan import Plan
from tests.torture.run import Options, run
from tests.torture.world import MODES, Mode

SECONDS = {"mixed": 6.0, "kill": 9.0, "term": 7.0, "overrun": 5.0}
MET = {"mixed": "client_gone", "kill": "crashed", "term": "drained", "overrun": "completed"}


@pytest.mark.processes
@pytest.mark.parametrize("mode", MODES)
def test_the_books_hold(mode: Mode, tmp_path: Path) -> None:

    def worth(outcomes: Counter[str], told: Told) -> bool:
        """Calls were answered, refused, and met what this mode is about."""
        answered = min(told.answered[surface] for surface in ("chat", "responses", "messages"))
        return min(outcomes["completed"], outcomes["refused"]) > 20 and answered > 10 and outcomes[MET[mode]] > 0

    options = Options(seed=7, seconds=SECONDS[mode], enough=worth)  # on a busy machine it takes longer
    result = uvloop.run(run(mode, options, tmp_path / "gateway", print))
    assert result.passed, "\n".join(f"{verdict}" for verdict in result.failed())
    assert worth(result.outcomes, result.told), (result.outcomes, result.told.answered)


def test_the_same_seed_is_the_same_plan() -> None:
    def steps(seed: int) -> list[object]:
        plan = Plan(seed, "mixed", 3, 20).steps()
        return [next(plan) for _ in range(500)]

    assert steps(1) == steps(1)
    assert steps(1) != steps(2)
