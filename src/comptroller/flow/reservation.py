"""What a taken hold is called in the story, and all that is needed to carry the call out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.budget.hold import HoldEnd, WindowKey
from comptroller.core.budget.scope import Facts
from comptroller.core.budget.tree import Hold
from comptroller.core.pricing.book import Rates
from comptroller.core.pricing.estimate import Asked, Estimate
from comptroller.core.pricing.terms import Terms
from comptroller.flow.caller import Caller
from comptroller.flow.decide import Decision
from comptroller.flow.dialect import DialectRequest
from comptroller.flow.outcome import Outcome
from comptroller.flow.pace import Share
from comptroller.flow.records import CallFacts


class Tried(msgspec.Struct, frozen=True, gc=False):
    """An attempt that came to nothing and was followed by another: where, how it ended, and what it cost."""

    provider: str
    outcome: Outcome
    status: int | None
    end: HoldEnd
    charge_nanos: int
    taken_at_ns: int


class Reservation(msgspec.Struct, frozen=True, gc=False):
    """One attempt's hold with the facts it was taken on."""

    call_id: str
    attempt_id: str
    facts: CallFacts
    scope_facts: Facts
    caller: Caller
    decision: Decision
    request: DialectRequest
    asked: Asked  # as it was weighed: with what our records say of the objects that it names
    rates: Mapping[str, Rates]
    estimate: Estimate
    output_limit: int
    hold: Hold
    shadowed: tuple[str, ...]
    taken_at_ns: int
    bounded: bool  # False: nothing bounds what this may cost, and no budget asked for a bound
    tried: tuple[Tried, ...] = ()  # earlier attempts of the same call
    whole_output: int = 0  # tokens that the output limit comes to, over all choices
    held_output: int = 0  # those of them that the hold was taken for
    tail_tokens: int | None = None  # of a stream that may hold in slices
    leased: bool = False  # a stream whose hold can change while it goes on
    spared_tokens: int = 0  # of its input, whose bound is lower because a part of the prompt was metered before
    input_taken: int = 0  # tokens of input that are counted for its session, until it is known what was billed
    full_hold_asked: bool = False  # the caller wants all of it held, whatever it may be
    asked_rates: Mapping[str, Rates] | None = None  # of the model that it would have gone to, had no rule led it away
    share: Share | None = None  # what it took of the rates; None: it met none
    waited_s: int = 0  # for so long the caller would have waited for an approval, and it did wait

    @property
    def other_model(self) -> str | None:
        """What the provider is asked for, where that is another name than the caller's."""
        name = self.decision.sent_as
        return None if name == self.request.asked.model else name

    @property
    def terms(self) -> Terms:
        """What it is billed by."""
        asked = self.asked
        return Terms(
            self.rates,
            asked.service_tier,
            asked.variant,
            asked.may_hold_images,
            asked.sound,
            asked.long_cache_writes,
        )

    @property
    def terms_instead(self) -> Terms | None:
        """What it would be billed by on the model that it would have gone to; None: that is the one it went to."""
        return None if self.asked_rates is None else msgspec.structs.replace(self.terms, rates=self.asked_rates)

    @property
    def drawn(self) -> tuple[WindowKey, ...]:
        """The rows of the ledger that the hold is drawn on; a registry change may add some."""
        return self.hold.draw.keys
