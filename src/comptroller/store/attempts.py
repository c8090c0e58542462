"""The attempts of a call that had several, each with its own charge: a list in the row of the call.

Nearly every call has one attempt, and its row says all about it: no list is kept. From the second attempt on the list
has all of them in their order, and the call's own columns have the facts of the last and the sums over all.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.core.budget.hold import HoldEnd


class Attempt(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One settled attempt. Fields are added at the end, with a default."""

    provider: str | None
    model: str | None
    model_class: str | None
    end: HoldEnd
    outcome: str
    detail: str
    status: int | None
    held_nanos: int
    charge_nanos: int  # corrections included
    charge_tokens: int
    charge_calls: int
    settled_at_ns: int
    first_byte_ns: int | None
    duration_ns: int | None
    windows: bytes  # that it was settled in, packed
    corrected: int = 0
    charge_tool_calls: int = 0
    charge_result_bytes: int = 0

    @property
    def taken_at_ns(self) -> int:
        """When its hold was taken, which says in which windows: another attempt may have been in earlier ones."""
        return self.settled_at_ns - (self.duration_ns or 0)

    @property
    def presumed(self) -> bool:
        """True while the charge is a bound that nobody has confirmed."""
        return self.end == "presumed" and not self.corrected


_attempts = msgspec.msgpack.Decoder(tuple[Attempt, ...])


def pack(attempts: Sequence[Attempt]) -> bytes:
    return msgspec.msgpack.encode(attempts)


def unpack(packed: bytes | None) -> tuple[Attempt, ...]:
    """All attempts of a call in their order; none where the call has a single one."""
    return () if packed is None else _attempts.decode(packed)


def end_of(attempts: Sequence[Attempt]) -> HoldEnd:
    """How a call ended, money-wise: presumed if any part of it is a bound, voided only if all of it is."""
    ends = {each.end for each in attempts}
    return "presumed" if "presumed" in ends else "posted" if "posted" in ends else "voided"


def corrected(attempts: Sequence[Attempt], number: int | None, delta_nanos: int) -> Sequence[Attempt]:
    """The attempts once the charge of one of them is another. `number` counts from 1; None: the last."""
    at = len(attempts) - 1 if number is None or number > len(attempts) else number - 1
    one = attempts[at]
    changed = msgspec.structs.replace(one, charge_nanos=one.charge_nanos + delta_nanos, corrected=one.corrected + 1)
    return (*attempts[:at], changed, *attempts[at + 1 :])
