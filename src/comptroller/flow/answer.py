"""Answer: the last word to the caller, in its own dialect, and whose fault a failure was."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from comptroller.core.budget.budget import format_amount
from comptroller.core.budget.hold import HoldEnd
from comptroller.core.effect import header_value
from comptroller.core.money import format_usd
from comptroller.core.refusal import Refusal
from comptroller.flow.dialect import Dialect, Meter, OwnStatus
from comptroller.flow.door import Reply
from comptroller.flow.failover import after
from comptroller.flow.outcome import Outcome
from comptroller.flow.reservation import Reservation
from comptroller.flow.upstream import Exchange
from comptroller.wire.sound_stream import SoundStream

if TYPE_CHECKING:
    from comptroller.flow.attempt import Attempt
    from comptroller.flow.settle import Receipt

_OUR_CREDENTIAL = frozenset({401, 402, 403})
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_HEADER_MOST = 256
_WORDS_MOST = 500
_JSON = (b"content-type", b"application/json")

# Addresses and details stay in the books: callers have no use for a map of our network.
_FAILURES: Mapping[Outcome, tuple[str, str]] = {
    "provider_unreachable": ("upstream_failed", "could not be reached"),
    "provider_cut": ("upstream_failed", "broke off its answer"),
    "provider_malformed": ("upstream_failed", "sent an answer that is not valid"),
    "provider_error": ("upstream_failed", "failed in the middle of its answer"),
    "provider_timeout": ("upstream_timeout", "did not answer in time"),
}
_CONSEQUENCES: Mapping[HoldEnd | None, str] = {
    None: "It goes on there, and is charged when it has ended.",
    "posted": "What it reported as used is charged.",
    "presumed": "Nobody knows yet what it billed, so an upper bound is charged as presumed.",
    "voided": "Nothing was charged.",
}


async def refuse(
    dialect: Dialect,
    reply: Reply,
    call_id: str,
    refusal: Refusal,
    *more: tuple[bytes, bytes],
    meter: Meter | None = None,
) -> None:
    """Say a refusal in the dialect's own error shape; in the middle of a stream, as its error event.

    `more`: further headers. `meter`: has read the stream so far.
    """
    if reply.started:
        await reply.finish(dialect.refusal_event(refusal, call_id, meter))
        return
    body = dialect.refusal_body(refusal, call_id)
    headers = [_JSON, (b"content-length", str(len(body)).encode()), (b"x-comptroller-call-id", call_id.encode())]
    headers += ((b"x-comptroller-refusal", refusal.code.encode()), *more)
    if dialect.request_id_header is not None:
        headers.append((dialect.request_id_header, call_id.encode()))
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if not refusal.kind.transient:
        headers.append((b"x-should-retry", b"false"))
    status = dialect.status_of(refusal) if isinstance(dialect, OwnStatus) else refusal.status
    await reply.respond(status, headers, body)


async def answer(
    dialect: Dialect, reply: Reply, reservation: Reservation, attempt: Attempt, receipt: Receipt | None
) -> None:
    """End the reply: what the provider said, or what became of it. No receipt: the provider goes on."""
    if attempt.unheard or attempt.outcome in {"client_slow", "client_gone"}:
        reply.drop()
    elif attempt.meter is not None and attempt.outcome == "capped":
        await _cut_short(reply, attempt, attempt.meter)
    elif attempt.meter is not None and (attempt.outcome == "completed" or attempt.meter.done or attempt.meter.error):
        await reply.finish()  # the stream has already said how it ended
    elif reply.started and isinstance(attempt.meter, SoundStream):
        reply.drop()  # words at the end of sound would be played
    elif attempt.answer_body is not None and not reply.started and _is_for_the_caller(attempt.status or 0):
        await _pass_on(dialect, reply, reservation, attempt, receipt)
    else:
        refusal = failure(reservation, attempt, receipt.settlement.end if receipt is not None else None)
        await refuse(dialect, reply, reservation.call_id, refusal, meter=attempt.meter)


async def _cut_short(reply: Reply, attempt: Attempt, meter: Meter) -> None:
    """What came of the stream, and its end as at an output limit."""
    if not reply.started:
        await reply.start(200, attempt.head)
    came = attempt.exchange.unread() if attempt.exchange is not None else b""
    await reply.finish(attempt.sending + came + meter.cut_short())


def governed_headers(
    dialect: Dialect,
    reservation: Reservation,
    charge_nanos: int | None,
    model: str,
    passed: Sequence[tuple[bytes, bytes]],
) -> list[tuple[bytes, bytes]]:
    """The headers of an answer: those that the provider's answer passes on, and those that every governed one carries.

    What a caller may see of the gateway's rates stands in the place of what its provider says of its own.
    """
    rates = reservation.share.headers(dialect.family) if reservation.share is not None else ()
    if rates:
        said = {name for name, _ in rates}
        passed = [header for header in passed if header[0] not in said]
    headers = [
        *passed,
        *rates,
        (b"x-comptroller-call-id", reservation.call_id.encode()),
        (b"x-comptroller-model", _printable(model)),
    ]
    if charge_nanos is not None:
        headers.append((b"x-comptroller-charge-usd", format_usd(charge_nanos).encode()))
    if reservation.tried:
        headers.append((b"x-comptroller-attempts", str(len(reservation.tried) + 1).encode()))
    remaining = _remaining(reservation)
    if remaining is not None:
        headers.append((b"x-comptroller-remaining-usd", remaining.encode()))
    asked = reservation.request.asked.output_limit
    if reservation.output_limit < (asked if asked is not None else reservation.estimate.wanted_output_tokens):
        headers.append((b"x-comptroller-output-limit", str(reservation.output_limit).encode()))
    headers += kept_preferences(reservation.waited_s, full_hold=reservation.full_hold_asked)
    if reservation.facts.effects:
        headers.append((b"x-comptroller-effects", header_value(reservation.facts.effects)))
    return headers


def kept_preferences(waited_s: int, *, full_hold: bool = False) -> Sequence[tuple[bytes, bytes]]:
    """The header that says which preferences of the caller were kept (RFC 7240 section 3). 0: it has not waited."""
    kept = [b"hold=full"] if full_hold else []
    kept += [b"wait=%d" % waited_s] if waited_s else []
    return [(b"preference-applied", b", ".join(kept))] if kept else ()


def passed_headers(dialect: Dialect, exchange: Exchange, mask: Callable[[bytes], bytes]) -> list[tuple[bytes, bytes]]:
    """The provider's response headers that the dialect lets through, unless a value is no text or shows our key."""
    allowed = [(name, value) for name, value in exchange.headers if name in dialect.response_headers]
    values = b" ".join([value for _, value in allowed])  # one look at all of them: there is hardly ever anything
    if not _CONTROL.search(values) and mask(values) == values:
        return allowed
    return [(name, value) for name, value in allowed if not _CONTROL.search(value) and mask(value) == value]


def _printable(text: str) -> bytes:
    """A name from outside as a header value."""
    return _CONTROL.sub(b"?", text.encode("ascii", "replace")[:_HEADER_MOST])


async def _pass_on(
    dialect: Dialect, reply: Reply, reservation: Reservation, attempt: Attempt, receipt: Receipt | None
) -> None:
    body, exchange = attempt.answer_body or b"", attempt.exchange
    # Errors are looked through thoroughly, and answers without usage too: some providers send errors with a 200.
    key = reservation.decision.provider.mask
    mask = key.plain if receipt is not None and receipt.usage is not None else key.thorough
    body = mask(body)
    served = attempt.served_model or reservation.decision.name
    passed = passed_headers(dialect, exchange, mask) if exchange is not None else []
    charge_nanos = None
    if receipt is not None:
        charge_nanos = receipt.settlement.posted.usd + sum(each.charge_nanos for each in reservation.tried)
    headers = governed_headers(dialect, reservation, charge_nanos, served, passed)
    headers.append((b"content-length", str(len(body)).encode()))
    if attempt.phase != "answering":
        headers.append((b"x-comptroller-error-source", b"provider"))
    await reply.respond(attempt.status or 502, headers, body)


def _remaining(reservation: Reservation) -> str | None:
    """What is left in the tightest budget in USD that the caller may see."""
    draw = reservation.hold.draw
    tightest = draw.tightest_shown
    return None if tightest is None else format_amount(max(0, draw.left(tightest)), "usd")


def failure(reservation: Reservation, attempt: Attempt, end: HoldEnd | None) -> Refusal:
    """What a call that gave the caller no answer is called, and whose fault its last attempt was."""
    return after(_failure(reservation, attempt, end), reservation.tried)


def _failure(reservation: Reservation, attempt: Attempt, end: HoldEnd | None) -> Refusal:
    provider, again = _who(reservation), _again(reservation, end)
    if attempt.status in _OUR_CREDENTIAL and attempt.outcome == "provider_refused":
        return Refusal(
            code="provider_credential_rejected",
            sentence=f"{provider} refused the gateway's own credential (HTTP {attempt.status}).",
            hint="Nothing was charged. Ask whoever runs the gateway to check its key and its account.",
        )
    if 300 <= (attempt.status or 0) < 400:
        return Refusal(
            code="upstream_failed",
            sentence=f"{provider} sent us to another address (HTTP {attempt.status}); we do not follow.",
            hint=f"Ask whoever runs the gateway to check its base_url. {_CONSEQUENCES[end]}",
        )
    if attempt.outcome == "provider_error" and (attempt.status or 0) >= 600:
        return Refusal(
            code="upstream_failed",
            sentence=f"{provider} answered with HTTP {attempt.status}, which means nothing.",
            hint=f"{_CONSEQUENCES[end]} {again}",
        )
    if attempt.outcome in _FAILURES:
        code, happened = _FAILURES[attempt.outcome]
        sentence = f"{provider} {happened}."
        return Refusal(code=code, sentence=sentence, hint=f"{_CONSEQUENCES[end]} {again}")
    if attempt.outcome == "stopped" and attempt.line.said is not None:
        return attempt.line.said
    if attempt.answer_body is not None:  # the reply was begun as a stream before it was decided
        return _no_stream(reservation, attempt, attempt.answer_body, end)
    return _own_failure(reservation, attempt.outcome)


def _who(reservation: Reservation) -> str:
    tool = reservation.request.asked.tool
    return f"The provider {reservation.decision.provider.name}" if tool is None else f"The server {tool.server}"


def _again(reservation: Reservation, end: HoldEnd | None) -> str:
    """Whether to send it once more: a tool may have done something that it would do twice."""
    if reservation.request.asked.tool is None or end == "voided":
        return "You can send the call again."
    return "It may have run: look before you call it again."


def _no_stream(reservation: Reservation, attempt: Attempt, body: bytes, end: HoldEnd | None) -> Refusal:
    provider = reservation.decision.provider
    words = provider.mask.thorough(body)[:_WORDS_MOST].decode("utf-8", "replace")
    return Refusal(
        code="upstream_failed",
        sentence=f"{_who(reservation)} answered with HTTP {attempt.status} and no stream: {words}",
        hint=_CONSEQUENCES[end],
    )


def _own_failure(reservation: Reservation, outcome: Outcome) -> Refusal:
    if outcome == "ledger_unavailable":
        return Refusal(
            code="ledger_unavailable",
            sentence="The gateway cannot write its journal, so it sent nothing to the provider.",
            hint="Nothing was charged. Try again shortly; whoever runs the gateway should check its disk.",
            retry_after_s=5,
        )
    if outcome == "stopped":
        return Refusal(
            code="session_ended",
            sentence=(
                f"This call was stopped in flight: its session {reservation.facts.session} was ended, "
                f"or {reservation.facts.identity} may not act any more."
            ),
            hint=f"The next call says which. {reservation.caller.session.way_on}",
        )
    if outcome == "drained":
        return Refusal(
            code="draining",
            sentence="The gateway shut down before this call was finished.",
            hint="What it may have cost is charged; send the call again in a few seconds.",
            retry_after_s=5,
        )
    return Refusal(
        code="internal_error",
        sentence="The gateway failed on this call and stopped it.",
        hint=f"Give {reservation.call_id} to whoever runs the gateway.",
    )


def _is_for_the_caller(status: int) -> bool:
    """True for answers and errors; not for what concerns our own account, sends us elsewhere, or has no meaning."""
    return status not in _OUR_CREDENTIAL and (200 <= status < 300 or 400 <= status < 600)
