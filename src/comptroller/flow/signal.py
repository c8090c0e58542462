"""What an attempt says of its provider: read off how it ended, once it is settled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime

from comptroller.core.instant import NANOS_PER_SECOND, format_instant, from_datetime
from comptroller.core.routing.breaker import Sign
from comptroller.core.routing.health import Health, Signal
from comptroller.flow.attempt import Attempt
from comptroller.flow.circuits import EVERY_MODEL
from comptroller.flow.failover import MENDABLE_STATUSES
from comptroller.flow.gate import Gate

_CREDENTIAL = frozenset({401, 402, 403})
TOO_MANY = 429

SIGNS: Mapping[Signal, Sign] = {
    "answered": "answered",
    "failed": "failed",
    "told to wait": "failed",
    "credential refused": "failed",
    "nothing": "nothing",
}
"""What each signal means to a circuit."""


def note_begin(gate: Gate, attempt: Attempt) -> None:
    """An attempt begins: perhaps it finds out for all others whether its provider is well again."""
    decision, now_ns = attempt.reservation.decision, gate.clock.expiry_ns()
    gate.health.begun(decision.provider.name, now_ns)
    attempt.probe = gate.circuits.begun(decision.provider.name, _model(attempt), now_ns)


def note_head(gate: Gate, attempt: Attempt) -> None:
    """The head of an answer has come: whoever begins to answer is in use, however long the answer takes."""
    decision = attempt.reservation.decision
    gate.health.heard(decision.provider.name)
    gate.circuits.heard(decision.provider.name, _model(attempt))


def note_end(gate: Gate, attempt: Attempt) -> None:
    """Count what became of an attempt for its provider, and say so if that changes where calls go."""
    provider = attempt.reservation.decision.provider.name
    if attempt.outcome == "completed" and gate.health.well(provider) and not gate.circuits:
        return  # as nearly always
    now_ns = gate.clock.expiry_ns()
    wait_ns = said_wait(attempt, now_ns)
    signal = signal_of(attempt.outcome, attempt.status, said_wait=wait_ns is not None)
    _note_health(gate, attempt, signal, wait_ns or 0, now_ns)
    _note_circuit(gate, attempt, signal, wait_ns or 0, now_ns)


def said_wait(attempt: Attempt, now_ns: int) -> int | None:
    """How long the provider of an attempt asked us to wait, in nanoseconds; None where it did not say."""
    if attempt.exchange is None or attempt.status is None:
        return None
    return said_wait_ns(attempt.exchange.headers, now_ns)


def _note_circuit(gate: Gate, attempt: Attempt, signal: Signal, wait_ns: int, now_ns: int) -> None:
    decision = attempt.reservation.decision
    provider = decision.provider
    changed = gate.circuits.ended(
        provider.name,
        _model(attempt),
        SIGNS[signal],
        now_ns,
        wait_ns,
        too_many=attempt.status == TOO_MANY,
        probe=attempt.probe,
        most=provider.breaker_failures,
    )
    if changed is None:
        return
    before, after = changed
    said = {"comptroller.provider": provider.name, "gen_ai.request.model": decision.name}
    if after.times > before.times:
        failed = f"failed {after.failures} times in a row, last {_met(attempt)}"
        gate.warn("circuit_open", {**said, "message": failed, "until": format_instant(after.until_ns)})
    elif before.times and not after.times:
        gate.warn("circuit_closed", said)


def _model(attempt: Attempt) -> str:
    """Whose circuit an attempt concerns beside its provider's. Free calls have limits of their own at providers.

    They meet no rate here: whoever counts tokens in a loop would shut the model for everybody else.
    """
    reservation = attempt.reservation
    return EVERY_MODEL if reservation.estimate.free else reservation.decision.name


def _note_health(gate: Gate, attempt: Attempt, signal: Signal, wait_ns: int, now_ns: int) -> None:
    provider = attempt.reservation.decision.provider.name
    before, after = gate.health.ended(provider, signal, now_ns, wait_ns)
    if after.state == "aside" and after.until_ns > before.until_ns:
        said = {
            "comptroller.provider": provider,
            "message": _why(after, attempt),
            "until": format_instant(after.until_ns),
        }
        gate.warn("provider_aside", said)
    elif before.times and not after.times:
        gate.warn("provider_back", {"comptroller.provider": provider})


def _why(health: Health, attempt: Attempt) -> str:
    """Why it is put aside, and what was met last: `failed 3 times in a row, last provider_error (HTTP 500)`."""
    times = f" {health.failures} times in a row" if health.why == "failed" and health.failures > 1 else ""
    return f"{health.why}{times}, last {_met(attempt)}"


def _met(attempt: Attempt) -> str:
    met = attempt.detail or ("" if attempt.status is None else f"HTTP {attempt.status}")
    return f"{attempt.outcome}{f' ({met})' if met else ''}"


def signal_of(outcome: str, status: int | None, *, said_wait: bool) -> Signal:
    """What an end like this says of the provider. `said_wait`: it named a time to wait."""
    if not (outcome.startswith("provider_") or outcome == "completed"):
        return "nothing" if status is None else "answered"
    if status is None:
        return "failed"
    if status in _CREDENTIAL:
        return "credential refused"
    if status in MENDABLE_STATUSES:
        return "told to wait" if said_wait else "failed"
    broken = 200 <= status < 300 and outcome != "completed"
    return "failed" if broken or status < 200 or 300 <= status < 400 or status >= 600 else "answered"


def said_wait_ns(headers: Sequence[tuple[bytes, bytes]], now_ns: int) -> int | None:
    """How long the provider asks us to wait: seconds or a date (RFC 9110, 10.2.3); None where it does not say.

    OpenAI says it in `retry-after-ms`, too, and its SDKs look there first.
    """
    said = dict(headers)
    if b"retry-after-ms" in said:
        return _ns(said[b"retry-after-ms"], NANOS_PER_SECOND // 1_000)
    return _ns(said[b"retry-after"], NANOS_PER_SECOND, now_ns) if b"retry-after" in said else None


def _ns(value: bytes, unit_ns: int, now_ns: int | None = None) -> int | None:
    """A number of units, or a date if there is an instant to count it from."""
    text = value.decode("latin-1").strip()
    try:
        units = float(text)
    except ValueError:
        return None if now_ns is None else _until_ns(text, now_ns)
    return int(units * unit_ns) if math.isfinite(units) and units >= 0 else None


def _until_ns(date: str, now_ns: int) -> int | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0, from_datetime(moment) - now_ns) if moment.tzinfo is not None else None
