"""Objects: who made what a provider keeps. The part of the records that calls are decided by, in memory.

It holds the youngest that are not deleted: none older than a provider keeps it, and no more than a number that fits
in memory. What is not in it is nobody's, and refused.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec

from comptroller.core.instant import DAY_NS
from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.core.work.stored import LASTS_DAYS, Earlier, StoredObject, StoredUse, is_id, not_yours
from comptroller.flow.attempt import Attempt
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import ObjectChanged

_RESPONSE = "response"


@runtime_checkable
class Naming(Protocol):
    """What reads an answer that the provider keeps."""

    @property
    def object_id(self) -> str | None:
        """The id that it is kept under, once the provider has said it."""
        ...


def find(gate: Gate, caller: Caller, use: StoredUse) -> StoredObject | Refusal:
    """The object that a request names, if the caller may use it."""
    if use.named is None:
        raise ValueError("the request names no object")
    found = gate.objects.get(use.named)
    if found is None or gate.clock.now_ns() - found.created_at_ns >= LASTS_DAYS * DAY_NS:
        return not_yours(use)
    return found if found.belongs_to(caller.identity.id, caller.lineage[-1], _tenant(caller)) else not_yours(use)


def going_on(asked: Asked, found: StoredObject) -> Asked:
    """What is asked, with what our records say of the object that it names."""
    if not asked.model:  # it is about the object alone
        return msgspec.structs.replace(asked, model=found.model)
    return msgspec.structs.replace(asked, earlier=Earlier(found.model, found.tokens))


async def note_object(gate: Gate, attempt: Attempt) -> None:
    """Write down what the answer says of an object, before the caller learns it: whose it is, or that it is deleted.

    Until a stream has named the object, nothing. If it cannot be written, the answer goes on all the same: nobody can
    use what was made, and what was deleted is the provider's to refuse.
    """
    use, named = attempt.reservation.request.asked.stored, attempt.reading
    if use is not None and use.deletes and use.named is not None:
        attempt.object_unsaid = False
        await _delete(gate, attempt, gate.objects.get(use.named))
    elif isinstance(named, Naming) and named.object_id is not None:
        attempt.object_unsaid = False
        if is_id(named.object_id):
            made = gate.objects.add(_made(gate, attempt, named.object_id))
            attempt.kept = made if await _written(gate, attempt, made) else None


def settle_object(gate: Gate, attempt: Attempt) -> None:
    """The attempt has ended: what is kept of it has its size now. Does not wait."""
    made, tokens = attempt.kept, _tokens(attempt)
    if made is not None and made.identity and tokens != made.tokens:
        sized = msgspec.structs.replace(made, tokens=tokens)
        if gate.objects.change(sized):
            gate.journal.append(ObjectChanged(gate.clock.now_ns(), sized))


async def _delete(gate: Gate, attempt: Attempt, found: StoredObject | None) -> None:
    if found is not None:  # else somebody else deleted it meanwhile
        deleted = msgspec.structs.replace(found, deleted_at_ns=gate.clock.now_ns())
        gate.objects.forget(deleted.id)
        await _written(gate, attempt, deleted)


async def _written(gate: Gate, attempt: Attempt, changed: StoredObject) -> bool:
    try:
        await gate.journal.commit(ObjectChanged(gate.clock.now_ns(), changed))
    except LedgerUnavailableError as error:
        gate.objects.forget(changed.id)
        call_id = attempt.reservation.call_id
        gate.warn("ledger_unavailable", {"comptroller.call.id": call_id, "message": str(error)})
        return False
    return True


def _made(gate: Gate, attempt: Attempt, object_id: str) -> StoredObject:
    reservation = attempt.reservation
    caller, decision = reservation.caller, reservation.decision
    return StoredObject(
        object_id, _RESPONSE, decision.provider.name, decision.name, caller.identity.id, caller.claims.session,
        caller.lineage[-1], _tenant(caller), reservation.call_id, gate.clock.now_ns(), _tokens(attempt),
    )  # fmt: skip


def _tokens(attempt: Attempt) -> int | None:
    """No more tokens than this are stored: the whole prompt, what was stored before it too, and the answer."""
    asked = attempt.reservation.request.asked
    if attempt.usage is None or asked.fees or asked.shortened:
        return None
    return attempt.usage.total_tokens


def _tenant(caller: Caller) -> str:
    return caller.session.tenant or ""
