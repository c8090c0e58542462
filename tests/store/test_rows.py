"""The row of a call: the short way, for one attempt that began and ended, says what the long way says."""

import itertools
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from comptroller.core.budget.hold import Amounts, WindowKey
from comptroller.core.pricing.usage import Usage
from comptroller.flow.records import CallFacts, Held, Settled
from comptroller.store import rows
from tests.store.samples import held, settled


def filled(kind: type[Any], numbers: "itertools.count[int]", **given: Any) -> Any:
    """A struct with another value in every field, so that two fields that are exchanged are noticed."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        types = {each for each in get_args(hint) if each is not type(None)} or {hint}
        if int in types:
            values[name] = next(numbers)
        elif bool in types:
            values[name] = next(numbers) % 2 == 0
        elif name in {"end", "windows"} or isinstance(hint, type(tuple[str, ...])):
            values[name] = (f"{name}-{next(numbers)}",)
        else:
            values[name] = f"{name}-{next(numbers)}"
    return kind(**{**values, **given})


def whole() -> tuple[Held, Settled]:
    numbers = itertools.count(1)
    facts = filled(CallFacts, numbers)
    windows = (WindowKey("month#aa", "", 1), WindowKey("day#bb", "agent/a", 2))
    taken = filled(Held, numbers, facts=facts, amounts=filled(Amounts, numbers), windows=windows)
    end = filled(
        Settled, numbers, call_id=facts.call_id, end="presumed", posted=filled(Amounts, numbers), windows=windows,
        usage=filled(Usage, numbers),
    )  # fmt: skip
    return taken, end


@pytest.mark.parametrize(
    ("taken", "end"),
    [whole(), (held(1), settled(1)), (held(2), settled(2, usage=None, end="voided", posted=Amounts()))],
    ids=["everything", "plain", "nothing"],
)
def test_one_attempt_makes_the_same_row_both_ways(taken: Held, end: Settled) -> None:
    packed = rows.pack_windows(end.windows)
    row = rows.called(taken.facts, "refused")
    rows.hold(row, taken)
    rows.settle(row, end, packed)
    assert msgspec.structs.asdict(rows.ended(taken, end, packed)) == msgspec.structs.asdict(row)
