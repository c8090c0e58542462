"""Limits of retries in a registry: the fields of their entries, and what is built of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from comptroller.core.budget.budget import Mode
from comptroller.core.budget.retry_budget import SHIPPED, RetryRule
from comptroller.core.budget.scope import Attribute
from comptroller.core.problem import Fault
from comptroller.core.registry.entries import Entry, scope_of
from comptroller.core.registry.fields import Field, count

_SHARE = re.compile(r"(\d{1,3})(?:\.(\d{1,2}))?%", re.ASCII)
_WHOLE_BP = 10_000


def _share(raw: object) -> str:
    """`10%`, of at most two decimals."""
    share_bp = _share_bp(raw)
    return f"{share_bp // 100}{f'.{share_bp % 100:02}'.rstrip('0').rstrip('.')}%"


def _share_bp(raw: object) -> int:
    """A share in basis points. Raises Fault."""
    match = _SHARE.fullmatch(raw) if isinstance(raw, str) else None
    share_bp = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match is not None else _WHOLE_BP + 1
    if share_bp > _WHOLE_BP:
        raise Fault(f"{raw!r} is not a share.", "Write a text from '0%' to '100%', such as '10%' or '2.5%'.")
    return share_bp


RETRY = (
    Field("share", _share, "10%"),
    Field("per_minute", count(0, 1_000_000), SHIPPED.per_minute),
)
"""Beside what every limit on a scope has."""


def build_retry(key: str, entry: Entry) -> RetryRule:
    """The rule of an entry. Raises Fault for an entry that was not read from a file."""
    scope = cast("Mapping[Attribute, list[str]]", scope_of(entry))
    return RetryRule(
        name=key,
        scope={attribute: tuple(values) for attribute, values in scope.items()},
        share_bp=_share_bp(entry["share"]),
        per_minute=cast("int", entry["per_minute"]),
        per=cast("Attribute", entry["per"]),
        mode=cast("Mode", entry["mode"]),
    )
