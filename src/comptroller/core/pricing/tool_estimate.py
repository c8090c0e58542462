"""Tools: the upper bound of a call, and what it is billed by.

A tool costs what its server's owner quotes, else what the price book says: a fee for each call and one for each unit
of its result. One that has neither costs nothing, as most do; one that is said to spend money needs a price where a
budget in USD is drawn.

Units are counted on what its server gave, as far as the most that a result may have, which bounds them:

    unit  counts                                       most
    ----  -------------------------------------------  ----------------------------------
    kib   1,024 bytes of the result, begun ones whole  the cap in KiB, rounded up
    item  parts of its content                         as many as fit into the cap
"""

from __future__ import annotations

from comptroller.core.money import UNITS_PER_PRICE
from comptroller.core.pricing.estimate import FACTOR_ONE_BP, Estimate
from comptroller.core.pricing.rates import DEFAULT_TIER, Rates
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.refusal import Refusal
from comptroller.core.work.tool_use import ToolUse

_KIB = 1_024
_SMALLEST_ITEM_BYTES = 16  # {"type":"text"} and a comma: no part of a content is said in less
_FREE = Tariff({DEFAULT_TIER: Rates(0, 0)})


def tool_tariff(tool: ToolUse, listed: Tariff) -> Tariff:
    """What this use of a tool is billed by. `listed`: what the price book has for it."""
    if tool.quote_nanos is not None:
        return Tariff({DEFAULT_TIER: Rates(0, 0, request=tool.quote_nanos * UNITS_PER_PRICE)})
    return listed or _FREE


def tool_estimate(tool: ToolUse, listed: Tariff, factor_bp: int = FACTOR_ONE_BP, *, money: bool) -> Estimate | Refusal:
    """The most that a call of a tool can come to.

    `money`: a budget in USD is drawn, so what spends money needs a price.
    """
    if money and not listed and tool.quote_nanos is None and "spends_money" in tool.risks:
        return _unpriced(tool)
    rates = tool_tariff(tool, listed)[DEFAULT_TIER]
    return Estimate(
        input_tokens=0,
        choices=1,
        wanted_output_tokens=0,
        least_output_tokens=0,
        extra_output_tokens=0,
        input_rate=0,
        output_rate=0,
        factor_bp=factor_bp,
        fees=(rates.request or 0) + (rates.result_unit or 0) * most_units(tool),
        calls=0,
        fixed=True,
        tool_calls=1,
        result_bytes=tool.result_bytes,
    )


def most_units(tool: ToolUse) -> int:
    """The most units that its result can be billed by."""
    return _kib(tool.result_bytes) if tool.unit == "kib" else -(-tool.result_bytes // _SMALLEST_ITEM_BYTES)


def _kib(size: int) -> int:
    return -(-size // _KIB)


def _unpriced(tool: ToolUse) -> Refusal:
    return Refusal(
        code="price_unknown",
        sentence=f"The tool {tool.name!r} spends money, and the price book has no price for it.",
        hint=f'Ask whoever runs the gateway to add [[prices]] with tool = "{tool.name}" to registry.toml and run '
        "`comptroller apply`.",
    )
