"""Faults on demand: their names, their options, and the seeded dice that throw them at random."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import replace
from typing import Annotated

import msgspec

from comptroller.sandbox.errors import Refusal, invalid

Count = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=10_000_000)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]

REFUSALS = {
    "bad_request": Refusal(400, "The request was refused on demand (sandbox fault).", code="sandbox_fault"),
    "unauthorized": Refusal(401, "Incorrect API key provided (sandbox fault).", code="invalid_api_key"),
    "payment_required": Refusal(
        402, "You exceeded your current quota (sandbox fault).", type="insufficient_quota", code="insufficient_quota"
    ),
    "forbidden": Refusal(
        403, "Your project may not use this model (sandbox fault).", type="request_forbidden", code="model_forbidden"
    ),
    "rate_limited": Refusal(
        429, "Rate limit reached for requests (sandbox fault).", type="requests", code="rate_limit_exceeded"
    ),
    "server_error": Refusal(
        500, "The server had an error while processing your request (sandbox fault).", type="server_error"
    ),
    "overloaded": Refusal(
        529, "The engine is currently overloaded (sandbox fault).", type="server_error", code="overloaded"
    ),
}
"""Faults that refuse before anything is generated; none of them is billed."""

FAULTS = frozenset(REFUSALS) | {
    "server_error_billed",
    "slow_first_byte",
    "hang",
    "cut",
    "cut_before_headers",
    "cut_after_usage",
    "error_in_stream",
    "overloaded_in_stream",
    "unknown_event",
    "not_streamed",
    "no_usage",
    "usage_zero",
    "usage_twice",
    "overrun",
    "malformed_json",
    "not_http",
}

_DEFAULT_AFTER_TOKENS = {
    "cut": 3,
    "error_in_stream": 3,
    "overloaded_in_stream": 3,
    "unknown_event": 1,
    "malformed_json": 1,
    "cut_before_headers": 0,
}


class FaultOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Options of a fault; each is read only by the faults that docs/sandbox.md names."""

    after_tokens: Count | None = None
    delay_s: Seconds = 5.0
    by: Count | None = None
    input_factor: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 1.0
    retry_after_s: Count | None = None
    reset: bool = False

    @property
    def beyond_limit(self) -> int:
        """Output tokens that `overrun` makes over the limit: ten, unless it was asked to raise the input alone."""
        if self.by is None:
            return 0 if self.input_factor > 1 else 10
        return self.by

    def stop_after(self, fault: str) -> int | None:
        """Visible tokens before this fault strikes; None is never, or before any answer for `hang`."""
        return self.after_tokens if self.after_tokens is not None else _DEFAULT_AFTER_TOKENS.get(fault)


class Control(FaultOptions, kw_only=True, forbid_unknown_fields=True):
    """The `sandbox` field of a request body: how this one answer is made."""

    fault: str | None = None
    output_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    tool_call: bool = False
    served_tier: str | None = None
    ahead: Count | None = None
    tokens_per_s: Rate | None = None
    tokens_per_chunk: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    first_byte_delay_s: Seconds | None = None
    abort_stops: bool | None = None


def check_control(control: Control, tiers: Collection[str]) -> None:
    """Refuse names that are not known. Raises ApiError (400)."""
    if control.fault is not None and control.fault not in FAULTS:
        raise invalid(f"Unknown fault; known are {', '.join(sorted(FAULTS))}.", param="sandbox.fault")
    if control.served_tier is not None and control.served_tier not in tiers:
        raise invalid(f"Unknown tier; known are {', '.join(tiers)}.", param="sandbox.served_tier")


class FaultRule(FaultOptions, kw_only=True, forbid_unknown_fields=True):
    """A fault that strikes a share of all requests."""

    fault: str
    probability: Probability = 1.0


class FaultPlan(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /sandbox/faults`."""

    faults: list[FaultRule]
    seed: int = 0


class FaultBook:
    """The random faults in force. One draw a request, so the same seed and order give the same faults."""

    def __init__(self) -> None:
        self.plan = FaultPlan([])
        self._dice = random.Random(0)

    def install(self, plan: FaultPlan) -> None:
        """Replace the faults in force. Raises ValueError for unknown names or a sum of more than 1."""
        unknown = sorted({rule.fault for rule in plan.faults} - FAULTS)
        if unknown:
            raise ValueError(f"unknown fault; known are {', '.join(sorted(FAULTS))}")
        # One draw decides, so the shares must fit beside each other (with room for 0.1 + 0.2).
        if sum(rule.probability for rule in plan.faults) > 1.000001:
            raise ValueError("the probabilities add up to more than 1")
        self.plan = plan
        self._dice = random.Random(plan.seed)

    def clear(self) -> None:
        """Let no random fault strike."""
        self.install(FaultPlan([]))

    def draw(self) -> FaultRule | None:
        """Throw the dice for one request."""
        if not self.plan.faults:
            return None
        left = self._dice.random()
        for rule in self.plan.faults:
            left -= rule.probability
            if left < 0:
                return rule
        return None


def refusal_of(fault: str, options: FaultOptions) -> Refusal | None:
    """The answer of a fault that refuses outright, else None."""
    refusal = REFUSALS.get(fault)
    if refusal is None:
        return None
    wait_s = options.retry_after_s
    if wait_s is None and fault == "rate_limited":
        wait_s = 1
    if wait_s is None:
        return refusal
    return replace(refusal, headers=((b"retry-after", str(wait_s).encode()),))
