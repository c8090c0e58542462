"""The story of a call to a tool, where it is another than that of a call to a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from comptroller.control.call_record import CallRecord
from comptroller.control.price_lines import PriceLine
from comptroller.core.budget.hold import Amounts
from comptroller.core.money import format_usd

_DIGEST_SHOWN = 12
_MILLION = 1_000_000


def asked_tool(record: CallRecord) -> Iterator[str]:
    """What was asked of which tool."""
    facts = record.facts
    digest = f" (their keyed digest begins {facts.arguments_digest[:_DIGEST_SHOWN]})" if facts.arguments_digest else ""
    yield f"It called the tool {facts.tool} with arguments that are not kept{digest}, in {facts.body_bytes} bytes."
    if facts.cause is not None:
        yield f"The answer of the call {facts.cause} to a model asked for it."


def tool_allowed(record: CallRecord) -> str:
    facts = record.facts
    return f"Version {facts.registry_version} of the registry has the tool, and its server is {facts.provider}."


def held_for_tool(amounts: Amounts) -> str:
    """What a hold is in. The store keeps its amount alone: every such call holds one call, and all of its result."""
    return f"{format_usd(amounts.usd)} USD, 1 tool call and the most bytes that its result may have"


def lines_of_tool(lines: Sequence[PriceLine]) -> str:
    """Prices of tools are for one: of a call, of a unit of its result."""
    said = [f"{line.tokens} {line.meter} at {_each(line.usd_per_million)} USD" for line in lines]
    return f" ({' and '.join(said)} each)" if said else ""


def result(record: CallRecord) -> Iterator[str]:
    """What came back."""
    if record.usage is not None:
        size = record.usage.result_bytes
        yield f"Its result had {size} byte{'' if size == 1 else 's'}, as it was handed on."


def _each(usd_per_million: str) -> str:
    return f"{(Decimal(usd_per_million) / _MILLION).normalize():f}"
