"""Overruns: what is done about a (provider, model, dialect) whose upper bound was wrong.

The truth is recorded. From then on its holds are raised by the factor that would have covered the worst
overrun; after repeats within a day it is quarantined until a person resumes it. No wider budget is frozen.
"""

from __future__ import annotations

import msgspec

from comptroller.core.budget.hold import Amounts
from comptroller.core.instant import NANOS_PER_SECOND
from comptroller.core.pricing.estimate import FACTOR_ONE_BP

QUARANTINE_AFTER = 3
REPEATED_WITHIN_NS = 24 * 3600 * NANOS_PER_SECOND  # a mishap a year apart is no repeat
FACTOR_MOST_BP = 100 * FACTOR_ONE_BP


class Bound(msgspec.Struct, frozen=True, gc=False):
    """The standing of one (provider, model, dialect)."""

    provider: str
    model: str
    dialect: str
    overruns: int = 0  # of late: each within REPEATED_WITHIN_NS of the one before
    factor_bp: int = FACTOR_ONE_BP
    quarantined: bool = False
    last_overrun_ns: int = 0

    @property
    def name(self) -> str:
        return f"{self.provider}/{self.model}/{self.dialect}"

    def after_overrun(self, held: Amounts, billed: Amounts, held_factor_bp: int, at_ns: int) -> Bound:
        """The standing after one more call was billed above its hold, which was taken at `held_factor_bp`."""
        worst = max(_ratio_bp(billed.usd, held.usd), _ratio_bp(billed.tokens, held.tokens))
        factor = -(-held_factor_bp * worst // FACTOR_ONE_BP)
        overruns = self.overruns + 1 if at_ns - self.last_overrun_ns < REPEATED_WITHIN_NS else 1
        return msgspec.structs.replace(
            self,
            overruns=overruns,
            factor_bp=min(max(self.factor_bp, factor), FACTOR_MOST_BP),
            quarantined=self.quarantined or overruns >= QUARANTINE_AFTER,
            last_overrun_ns=max(self.last_overrun_ns, at_ns),
        )

    def after_running_ahead(self, at_ns: int) -> Bound:
        """The standing after a stream was billed above its slices and within its bound: that stays as it is."""
        return msgspec.structs.replace(
            self, overruns=max(1, self.overruns), last_overrun_ns=max(self.last_overrun_ns, at_ns)
        )

    def resumed(self) -> Bound:
        """The standing after a person has looked: open again, the raised factor kept."""
        return msgspec.structs.replace(self, overruns=0, quarantined=False)


def _ratio_bp(billed: int, held: int) -> int:
    return -(-billed * FACTOR_ONE_BP // held) if held > 0 else FACTOR_ONE_BP
