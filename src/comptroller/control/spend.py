"""Spend: who spent how much on what, over any stretch of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import msgspec

from comptroller.control.interfaces import Spend, SpendDimension, SpendFilter
from comptroller.control.office import Office
from comptroller.control.problem import invalid
from comptroller.core.instant import format_instant
from comptroller.core.money import format_usd

DIMENSIONS: Sequence[SpendDimension] = get_args(SpendDimension)


class SpendRow(msgspec.Struct, frozen=True):
    """Money in decimal strings of USD. A call counts for the owner that it had when it was made, and for who paid."""

    key: str | None  # null: calls that have none
    calls: int  # that have ended, free ones too
    refused: int
    input_tokens: int
    output_tokens: int
    charge_usd: str  # exact charges
    presumed_usd: str  # posted beside them: upper bounds, because nobody knows what was billed
    posted_usd: str  # both together: what budgets count
    overruns: int
    posted_calls: int  # as budgets in calls count them: attempts that went upstream; of a free call none
    posted_tool_calls: int = 0  # the same of calls to tools
    posted_result_bytes: int = 0  # of their results


class SpendAnswer(msgspec.Struct, frozen=True):
    """The rows with the most spend first, and the stretch of time whose sums they are."""

    by: SpendDimension
    since: str  # not after the one that was asked for
    until: str  # not before it
    rows: Sequence[SpendRow]
    total: SpendRow
    left_out: int  # rows beyond the limit, which are in the total


async def show_spend(
    office: Office,
    by: SpendDimension,
    since_ns: int,
    until_ns: int | None,
    limit: int,
    only: Mapping[SpendDimension, str],
) -> SpendAnswer:
    """What was spent in a stretch of time; until now, unless it is said."""
    await office.catch_up()
    end_ns = office.gate.clock.now_ns() if until_ns is None else until_ns
    if since_ns >= end_ns:
        raise invalid(
            f"The time ends ({format_instant(end_ns)}) before it begins ({format_instant(since_ns)}).",
            "Give a --since that is earlier than --until, or than now.",
        )
    wanted = SpendFilter(by=by, since_ns=since_ns, until_ns=end_ns, only=only, limit=limit)
    report = await office.ledger.spend(wanted)
    return SpendAnswer(
        by=by,
        since=format_instant(report.since_ns),
        until=format_instant(report.until_ns),
        rows=[_row(line) for line in report.lines],
        total=_row(report.total),
        left_out=report.left_out,
    )


def _row(line: Spend) -> SpendRow:
    return SpendRow(
        key=line.key,
        calls=line.calls,
        refused=line.refused,
        input_tokens=line.input_tokens,
        output_tokens=line.output_tokens,
        charge_usd=format_usd(line.charge_nanos),
        presumed_usd=format_usd(line.presumed_nanos),
        posted_usd=format_usd(line.charge_nanos + line.presumed_nanos),
        overruns=line.overruns,
        posted_calls=line.posted_calls,
        posted_tool_calls=line.posted_tool_calls,
        posted_result_bytes=line.posted_result_bytes,
    )
