"""Service tier, speed and geography are three fields of this API; the price book has one name for all of them.

`default` is standard capacity at standard speed anywhere. Every other name is made of what differs from that,
in this order and joined by hyphens: the capacity (`priority`, `batch`), the speed (`fast`), the geography (`us`).
So a price line for fast US-only inference has `service_tier = "fast-us"`.

Sources: the Anthropic pricing page (fast mode has prices of its own, US-only inference multiplies every token
price by 1.1 from the 4.6 models on; both stack) and its API reference (the tier is read from the response).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import product

from comptroller.core.pricing.book import DEFAULT_TIER
from comptroller.wire.batch import BATCH_TIER

STANDARD = frozenset({"", "standard", "default", "global", "not_available"})  # as responses and requests say it
_OPEN = frozenset({"", "auto"})


def tier_name(capacity: str | None, speed: str | None, geography: str | None) -> str:
    """The price book's name of what a response says was used."""
    return _joined((capacity or "", speed or "", geography or ""))


def asked_tier(service_tier: str | None, speed: str | None, geography: str | None) -> str | None:
    """The tier that a request names; None where it leaves that open."""
    asked = service_tier or ""
    name = _joined(("" if asked in _OPEN or asked == "standard_only" else asked, speed or "", geography or ""))
    return None if name == DEFAULT_TIER and asked in _OPEN else name


@lru_cache(maxsize=256)
def possible_tiers(service_tier: str | None, speed: str | None, geography: str | None) -> frozenset[str]:
    """Every tier that a request may be billed in, the one it names among them.

    An open tier may be served from priority capacity. A model without fast mode may run at standard speed.
    Without `inference_geo` the geography is the workspace's own setting, which the response tells.
    """
    asked = service_tier or ""
    capacities = {"", "priority"} if asked in _OPEN else {""} if asked == "standard_only" else {"", asked}
    geographies = {"", "us"} if geography is None else {geography}
    return frozenset(_joined(each) for each in product(capacities, {"", speed or ""}, geographies))


def batch_tiers(geography: str | None) -> tuple[str, frozenset[str]]:
    """What the lines of a batch are billed in: the tier they ask for, and all that they may be given."""
    named = _joined((BATCH_TIER, geography or ""))
    return named, frozenset({named} if geography is not None else {named, _joined((BATCH_TIER, "us"))})


def _joined(parts: Iterable[str]) -> str:
    return "-".join(part for part in parts if part not in STANDARD) or DEFAULT_TIER
