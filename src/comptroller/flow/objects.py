"""Objects: who made what a provider keeps. The part of the records that calls are decided by, in memory.

It holds the youngest that are not deleted: none older than a provider keeps it, and no more than a number that fits
in memory. What is not in it is nobody's, and refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from comptroller.core.pricing.estimate import Asked, Lines, asked_of_lines
from comptroller.core.refusal import Refusal
from comptroller.core.registry.registry import Registry
from comptroller.core.work.stored import (
    CACHED_CONTENT,
    CONTAINER,
    FILE,
    ITEM,
    RESPONSE,
    WORDS,
    Earlier,
    Kind,
    Named,
    StoredObject,
    StoredUse,
    is_id,
    not_yours,
)
from comptroller.flow.attempt import Attempt
from comptroller.flow.caller import Caller
from comptroller.flow.gate import Gate
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import ObjectChanged
from comptroller.flow.reservation import Reservation

_OF_A_MODEL: frozenset[Kind] = frozenset({RESPONSE, CACHED_CONTENT})  # their tokens were counted by one
_OF_A_RESPONSE: frozenset[Kind] = frozenset({ITEM, CONTAINER})  # on record as a part of one
_MOST_TOLD = 4_096  # characters that a provider says of an object
_BOUNDS = msgspec.json.Decoder(tuple[Lines, ...])
_ENCODER = msgspec.json.Encoder()


@runtime_checkable
class Naming(Protocol):
    """What reads an answer that the provider keeps."""

    @property
    def object_id(self) -> str | None:
        """The id that it is kept under, once the provider has said it."""
        ...


@runtime_checkable
class Itemized(Protocol):
    """What reads an answer whose items have ids of their own."""

    @property
    def items(self) -> str:
        """Those ids, with spaces between them."""
        ...


@runtime_checkable
class Telling(Protocol):
    """What reads an answer that is all that there is to say of an object."""

    @property
    def told(self) -> str:
        """The answer as JSON; empty where it is not for lists."""
        ...

    @property
    def expires_at_ns(self) -> int | None: ...


def find(gate: Gate, caller: Caller, api: str, use: StoredUse) -> tuple[StoredObject, ...] | Refusal:
    """All objects that a request names, if the caller may use them and one provider has them all."""
    found: list[StoredObject] = []
    for named in use.named:
        one = _find(gate, caller, api, named)
        if one is None:
            return not_yours(named)
        found.append(one)
    return _scattered(use) if len({each.provider for each in found}) > 1 else tuple(found)


def going_on(asked: Asked, use: StoredUse, found: Sequence[StoredObject]) -> Asked:
    """What is asked, with what our records say of the objects that it names; what is named twice feeds it once."""
    if not asked.model and found:  # it is about the object alone
        return msgspec.structs.replace(asked, model=found[0].model)
    feeding = tuple(
        {
            each.id: Earlier(each.model if each.kind in _OF_A_MODEL else "", each.tokens, WORDS[each.kind])
            for named, each in zip(use.named, found, strict=True)
            if named.context
        }.values()
    )
    return msgspec.structs.replace(asked, earlier=feeding) if feeding else asked


def batch_of(registry: Registry, use: StoredUse, file: StoredObject) -> Asked | Refusal:
    """A batch of a file, as our records know what stands in that."""
    param = use.named[0].param
    if not file.bounds:
        return Refusal(
            code="unsupported",
            sentence=f"The file {file.id} was not uploaded for batches, so nobody knows what is in its lines.",
            hint="Upload it through this gateway with the purpose `batch`.",
            param=param,
        )
    bounds = _BOUNDS.decode(file.bounds)
    written, model = bounds[0], registry.model(file.model)
    if use.endpoint != written.endpoint:
        return Refusal(
            code="unsupported",
            sentence=f"The lines of the file {file.id} are for {written.endpoint}, and the batch is not.",
            hint=f"Make it with the `endpoint` {written.endpoint}.",
            param="endpoint",
        )
    if model is not None and model.sent_as(file.provider, file.model) != written.written_model:
        return Refusal(
            code="unsupported",
            sentence=f"The model {file.model!r} is another one by now than that which stands in the file {file.id}.",
            hint="Upload the file again.",
            param=param,
        )
    return msgspec.structs.replace(asked_of_lines(file.model, bounds, use), model_fixed=True)


def listed(gate: Gate, caller: Caller, kind: Kind, api: str) -> list[StoredObject]:
    """All of a kind that a caller may use, the oldest first. Nothing is asked of any provider."""
    now_ns = gate.clock.now_ns()
    mine = gate.objects.of(kind, api, caller.identity.id, caller.lineage[-1], _tenant(caller))
    return [each for each in mine if not each.is_over(now_ns)]


async def note_object(gate: Gate, attempt: Attempt) -> None:
    """Write down what the answer says of an object, before the caller learns it: whose it is, or that it is deleted.

    Until a stream has named the object, nothing. If it cannot be written, the answer goes on all the same: nobody can
    use what was made, and what was deleted is the provider's to refuse.
    """
    use, named = attempt.reservation.request.asked.stored, attempt.reading
    if use is not None and use.deletes and use.named:
        attempt.object_unsaid = False
        await _delete(gate, attempt, gate.objects.get(use.named[0].id))
    elif use is not None and use.keeps and isinstance(named, Naming) and named.object_id is not None:
        attempt.object_unsaid = False
        if is_id(named.object_id):
            made = gate.objects.add(_made(gate, attempt, use, use.keeps, named.object_id))
            attempt.kept = made if await _written(gate, attempt, made) else None


def settle_object(gate: Gate, attempt: Attempt) -> None:
    """The attempt has ended: what is kept of it has its size now, and what was said of an object is on record.

    Does not wait.
    """
    _retell(gate, attempt)
    made, tokens = attempt.kept, _tokens(attempt)
    if made is None or made.kind != RESPONSE or not made.identity:
        return
    items = attempt.reading.items if isinstance(attempt.reading, Itemized) else ""
    if (tokens, items) != (made.tokens, made.items):
        sized = msgspec.structs.replace(made, tokens=tokens, items=items)
        if gate.objects.change(sized):
            gate.journal.append(ObjectChanged(gate.clock.now_ns(), sized))


def _retell(gate: Gate, attempt: Attempt) -> None:
    """A caller asked for an object: lists show from now on what the provider said of it now."""
    use, answer = attempt.reservation.request.asked.stored, attempt.answer
    if use is None or use.keeps or use.deletes or len(use.named) != 1 or attempt.outcome != "completed":
        return
    known = gate.objects.get(use.named[0].id)
    if (
        known is not None
        and isinstance(answer, Naming)
        and isinstance(answer, Telling)
        and answer.object_id == known.id
    ):
        tell(gate, known, answer.told)


def tell(gate: Gate, known: StoredObject, told: str) -> None:
    """What a provider says of an object now. Does not wait."""
    provider = gate.providers.get(known.provider)
    if known.kind == RESPONSE or not 0 < len(told) <= _MOST_TOLD or provider is None:
        return
    said = provider.mask.thorough(told.encode()).decode()
    if said != known.told:
        retold = msgspec.structs.replace(known, told=said)
        if gate.objects.change(retold):
            gate.journal.append(ObjectChanged(gate.clock.now_ns(), retold))


def made_besides(gate: Gate, made: StoredObject, files: Iterable[str]) -> None:
    """Files that came of an object are its maker's. Does not wait."""
    for name in files:
        if is_id(name) and gate.objects.get(name) is None:
            file = msgspec.structs.replace(made, id=name, kind=FILE, created_at_ns=gate.clock.now_ns(), told="")
            gate.journal.append(ObjectChanged(gate.clock.now_ns(), gate.objects.add(file)))


def _find(gate: Gate, caller: Caller, api: str, named: Named) -> StoredObject | None:
    part = named.kind in _OF_A_RESPONSE
    found = gate.objects.with_item(named.id) if part else gate.objects.get(named.id)
    if found is None or found.kind != (RESPONSE if part else named.kind):
        return None
    if found.api != api or found.is_over(gate.clock.now_ns()):
        return None
    return found if found.belongs_to(caller.identity.id, caller.lineage[-1], _tenant(caller)) else None


def _scattered(use: StoredUse) -> Refusal:
    return Refusal(
        code="provider_unavailable",
        sentence="The request names objects that different providers have, and goes to one.",
        hint="Make them all at one provider: `x-comptroller-provider` names it when they are made.",
        param=use.named[0].param,
    )


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


def _made(gate: Gate, attempt: Attempt, use: StoredUse, kind: Kind, object_id: str) -> StoredObject:
    reservation, reading = attempt.reservation, attempt.reading
    caller, decision = reservation.caller, reservation.decision
    told = ""
    if isinstance(reading, Telling) and len(reading.told) <= _MOST_TOLD:
        told = decision.provider.mask.thorough(reading.told.encode()).decode()
    return StoredObject(
        object_id, kind, decision.provider.name, decision.name, caller.identity.id, caller.claims.session,
        caller.lineage[-1], _tenant(caller), reservation.call_id, gate.clock.now_ns(),
        _tokens(attempt) if kind == RESPONSE else use.tokens,
        api=attempt.dialect.family,
        size_bytes=use.size_bytes,
        expires_at_ns=reading.expires_at_ns if isinstance(reading, Telling) else None,
        told=told,
        bounds=_written_bounds(reservation) if kind == FILE else "",
    )  # fmt: skip


def _written_bounds(reservation: Reservation) -> str:
    """What bounds the lines of a file, with the output limit that now stands in them at the most."""
    limit, sent_as = reservation.output_limit, reservation.decision.sent_as
    lines = [
        msgspec.structs.replace(some, written_limit=limit, written_model=sent_as)
        for some in reservation.request.asked.lines
    ]
    return _ENCODER.encode(lines).decode() if lines else ""


def _tokens(attempt: Attempt) -> int | None:
    """No more tokens than this are stored: the whole prompt, what was stored before it too, and the answer."""
    asked = attempt.reservation.request.asked
    if attempt.usage is None or asked.fees or asked.shortened:
        return None
    return attempt.usage.total_tokens


def _tenant(caller: Caller) -> str:
    return caller.session.tenant or ""
