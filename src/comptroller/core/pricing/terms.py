"""Terms: what a call is billed by. Taken with its hold, so that it is billed by them whenever its end is seen."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.pricing.charge import charge_nanos, unpriced
from comptroller.core.pricing.rates import DEFAULT_TIER, Rates, tier_name
from comptroller.core.pricing.usage import Usage


class Terms(msgspec.Struct, frozen=True, gc=False):
    """The rates of a model by service tier, and what was asked that decides between them."""

    rates: Mapping[str, Rates]  # empty: no price is known
    service_tier: str | None = None  # as asked
    variant: str | None = None  # as `Asked.variant`
    images_sent: bool = False  # there may be some in the input
    sound: bool = False  # audio was heard
    long_cache_writes: bool = False  # it may write to a cache that is kept for an hour or longer

    def billed(self, usage: Usage | None) -> tuple[str, Rates | None]:
        """The service tier that was billed, and its rates: as the response says, else as was asked.

        A provider that names no tier may have ignored the one that was asked for: then the dearer counts.
        """
        if self.variant is not None:
            tier = self.variant if self.variant in self.rates else DEFAULT_TIER
            return tier, self.rates.get(tier)
        said = usage.service_tier if usage is not None else None
        asked = self.service_tier if self.service_tier not in {None, "auto"} else None
        tier = tier_name(said or asked or DEFAULT_TIER)
        rates = self.rates.get(tier)
        if tier != DEFAULT_TIER and usage is not None and said is None:
            default = self.rates.get(DEFAULT_TIER)
            if default is not None and (rates is None or charge_nanos(usage, default) > charge_nanos(usage, rates)):
                return DEFAULT_TIER, default
        return tier, rates

    def price(self, usage: Usage) -> int | None:
        """What exactly this usage costs, in nano-USD; None where the price of any of it is not known."""
        _, rates = self.billed(usage)
        return None if rates is None or self.unpriced(usage, rates) else charge_nanos(usage, rates)

    def unpriced(self, usage: Usage, rates: Rates) -> tuple[str, ...]:
        """What of the usage has no price, in words."""
        return unpriced(usage, rates, images_sent=self.images_sent, sound=self.sound)
