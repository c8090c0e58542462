"""What is presumed of a stream that ended without its report: what came and the tail, and never less than was said."""

from types import SimpleNamespace
from typing import Any

import pytest

from comptroller.core.budget.hold import Amounts
from comptroller.core.budget.settlement import settlement
from comptroller.core.pricing.estimate import Asked, Estimate
from comptroller.core.pricing.rates import Rates
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.pricing.usage import Usage
from comptroller.flow.presume import most, seen, told
from comptroller.flow.slices import amounts

IN, OUT = 3_000, 15_000  # nano-USD a token
RATES = Tariff({"default": Rates(input=IN * 10**6, output=OUT * 10**6)})
BOUND = Estimate(1_000, 1, 8_000, 1, 0, IN * 10**6, OUT * 10**6)
SLICE, WHOLE, TAIL = 4_000, 8_000, 20


def presumed(
    *, usage: Usage | None = None, input_usage: Usage | None = None, came: int = 0, metered: bool = True,
    stops: bool = True, held: int = SLICE,
) -> Amounts:  # fmt: skip
    """What stands in the books in the end."""
    asked = Asked(model="m", stream=True, text_tokens=1_000)
    request = SimpleNamespace(asked=asked)
    provider = SimpleNamespace(abort_stops_billing=stops, tail_tokens=TAIL if stops else None)
    reservation: Any = SimpleNamespace(
        hold=SimpleNamespace(amounts=amounts(BOUND, held)), estimate=BOUND, whole_output=WHOLE, rates=RATES,
        request=request, asked=asked,
        decision=SimpleNamespace(provider=provider, model=SimpleNamespace(visible_output=stops)),
    )  # fmt: skip
    meter = SimpleNamespace(usage=usage, input_usage=input_usage, seen_output_tokens=came)
    attempt: Any = SimpleNamespace(meter=meter if metered else None, lease=None, phase="answering")
    return settlement(
        "answering", most(reservation, attempt), exact=None, seen=seen(reservation, attempt),
        told=told(reservation, attempt, RATES["default"]),
    ).posted  # fmt: skip


def of(input_tokens: int, output_tokens: int) -> Amounts:
    total = input_tokens + output_tokens
    return Amounts(IN * input_tokens + OUT * output_tokens, total, 1, output_tokens)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"came": 100}, of(1_000, 100 + TAIL)),
        ({"came": 100, "stops": False, "held": WHOLE}, of(1_000, WHOLE)),
        ({"came": 9_000}, of(1_000, SLICE)),  # at most the hold: what is above it is found by another name
        ({"metered": False}, of(1_000, WHOLE)),  # one answer in place of a stream: nobody saw what was made
        ({"metered": False, "stops": False, "held": WHOLE}, of(1_000, WHOLE)),
        ({"came": 100, "input_usage": Usage(1_500, 0)}, of(1_500, 100 + TAIL)),  # above its bound
        ({"came": 9_000, "input_usage": Usage(1_500, 0)}, of(1_500, WHOLE)),
        ({"came": 100, "stops": False, "held": WHOLE, "input_usage": Usage(1_500, 0)}, of(1_500, WHOLE)),
    ],
)
def test_what_is_presumed(given: dict[str, Any], expected: Amounts) -> None:
    assert presumed(**given) == expected


def test_no_less_is_presumed_than_the_last_report_came_to() -> None:
    """A server that reports with every piece may think unseen."""
    reported = Usage(900, 3_000, reasoning_tokens=2_900)
    found = presumed(came=100, usage=reported, input_usage=reported.input_side)
    assert (found.usd, found.tokens) == (IN * 900 + OUT * 3_000, 3_900)
