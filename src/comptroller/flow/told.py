"""Told: the bound of a stream whose provider has said what its input was."""

from __future__ import annotations

import msgspec

from comptroller.core.money import UNITS_PER_PRICE
from comptroller.core.pricing.charge import charge_nanos, unpriced
from comptroller.core.pricing.estimate import Estimate
from comptroller.core.pricing.prefix import is_believed
from comptroller.core.pricing.rates import tier_name
from comptroller.core.pricing.usage import Usage
from comptroller.flow.reservation import Reservation


def with_told(reservation: Reservation, told: Usage) -> Estimate | None:
    """The bound with this input in place of its own; None where that cannot be priced, or is no report at all."""
    rates, asked = reservation.rates, reservation.request.asked
    if told.input_tokens <= 0 or not is_believed(told.input_tokens, asked.text_tokens):
        return None
    named = rates.get(tier_name(told.service_tier)) if told.service_tier is not None else None
    possible = [named] if named is not None else list(rates.values())
    if any(unpriced(told, each, images_sent=reservation.asked.may_hold_images) for each in possible):
        return None
    cost = max((charge_nanos(told, each) for each in possible), default=0)
    bound = reservation.estimate
    spent = cost * UNITS_PER_PRICE
    if told.input_tokens <= bound.input_tokens:  # no rate that the request can lead to is above the bound's
        spent = min(spent, told.input_tokens * bound.input_rate)
    return msgspec.structs.replace(bound, input_tokens=told.input_tokens, input_rate=0, fees=bound.fees + spent)
