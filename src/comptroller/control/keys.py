"""Signing keys: a new one from now on, and whether the old ones are still believed."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, ledger_unavailable
from comptroller.control.reason import read_reason
from comptroller.control.sessions import stop_every_session, write_ends
from comptroller.core.refusal import Refusal
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.flow.records import Change


class Rotation(msgspec.Struct, frozen=True):
    """What a rotation did."""

    key: str  # the one that signs now
    key_ids: Sequence[str]  # all that verify
    cut_calls: int = 0
    ended_sessions: int = 0


async def rotate(office: Office, reason: str, actor: str, *, distrust_old: bool) -> Rotation:
    """Sign with a new key. The old ones verify what they signed until it expires, unless they are distrusted.

    The keys are a file, so key and event cannot be one transaction: the store is tried first, and an event that
    still fails is kept until it can be written.
    """
    words = read_reason(reason, "Say why: a routine, or a leak.")
    gate, before = office.gate, office.issuer.key_ids
    try:
        await office.ledger.fold()
        key = office.issuer.rotate(gate.clock.now_ns(), distrust_old=distrust_old)
    except (LedgerUnavailableError, OSError) as error:
        raise ledger_unavailable(f"The signing keys stay as they are: {error}.") from error
    # Every session, and every call in flight, was let in by a credential of an old key.
    ended = stop_every_session(office, words, actor) if distrust_old else ()
    cut = gate.live.stop(lambda _: True, _said_in_flight(actor, words)) if distrust_old else 0
    gate.pace.look_again()
    after = office.issuer.key_ids
    event = Change(gate.clock.now_ns(), actor, "rotate", "signing_key", key, words, _ids(before), _ids(after))
    try:
        if ended:
            await write_ends(office, ended)
        await gate.journal.commit(event)
    except LedgerUnavailableError as error:
        gate.journal.append(event)
        raise ControlProblem(
            503,
            "ledger_unavailable",
            f"The key {key} signs from now on, and its record waits for the store: {error}.",
            "Mend the store; do not rotate again for this.",
        ) from error
    return Rotation(key, after, cut, len(ended))


def _said_in_flight(actor: str, reason: str) -> Refusal:
    """What the callers are told whose calls were cut."""
    return Refusal(
        code="session_ended",
        sentence=(
            f"This call was stopped in flight: {actor} has replaced the keys that sign credentials, and ended every "
            f"session: {reason.rstrip('.')}."
        ),
        hint="What it cost until then is charged. Get a new credential.",
    )


def _ids(key_ids: Sequence[str]) -> str:
    return msgspec.json.encode({"key_ids": key_ids}).decode()
