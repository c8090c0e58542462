"""Forward: one try upstream, its answer passed on as it comes, every byte of it seen by the meter."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from comptroller.core.budget.settlement import phase_of_status
from comptroller.flow.answer import governed_headers, passed_headers
from comptroller.flow.attempt import Attempt
from comptroller.flow.caller import Caller
from comptroller.flow.deferred import note_deferral
from comptroller.flow.dialect import Dialect, Meter, Readdressed, Sparing
from comptroller.flow.door import CallerRequest
from comptroller.flow.gate import Gate, Provider
from comptroller.flow.incoming import AT_ONCE_BYTES, beside
from comptroller.flow.lease import NEVER, Lease
from comptroller.flow.objects import note_object
from comptroller.flow.outcome import Outcome
from comptroller.flow.signal import note_head
from comptroller.flow.upstream import Exchange, FailureKind, UpstreamFailure, UpstreamRequest
from comptroller.wire.head import JSON
from comptroller.wire.omit import without
from comptroller.wire.sound_stream import SoundStream

_ERROR_BODY_BYTES = 1024 * 1024
_PLAIN_PARAMETER = re.compile(rb"([a-z_]{1,32}(?:\[\]|%5B%5D)?)=[A-Za-z0-9._~-]{0,128}")

_ENDS: Mapping[FailureKind, Outcome] = {
    "forbidden_address": "provider_unreachable",
    "connect": "provider_unreachable",
    "first_byte_timeout": "provider_timeout",
    "idle_timeout": "provider_timeout",
    "total_timeout": "provider_timeout",
    "cut": "provider_cut",
    "protocol": "provider_malformed",
    "too_large": "provider_malformed",
}


async def forward(gate: Gate, attempt: Attempt, request: CallerRequest) -> None:
    """Carry the attempt out. How it ended is in `attempt`; only faults of ours are raised."""
    body = await _body(attempt)
    if body is None:
        return attempt.end_by_cut()
    exchange = attempt.exchange = gate.upstream.open(
        _upstream_request(gate, attempt, request, body),
        buffer_limit_bytes=gate.limits.stream_buffer_bytes,
        on_overflow=attempt.caller_slow,
    )
    try:
        with attempt.line:
            await _exchange(gate, attempt, exchange)
            return None
        attempt.end_by_cut()
        if attempt.line.reason == "capped":
            exchange.abort()  # from here on nothing more is billed; what came is still to be sent
        elif attempt.line.reason == "client_slow":
            await _read_on(gate, attempt, exchange)
    except TimeoutError:
        return None  # read on for long enough; how it ended stands
    except UpstreamFailure as failure:
        if attempt.meter is not None and attempt.meter.done:
            _completed(attempt)  # what failed came after the end mark
        else:
            attempt.end(_ENDS[failure.kind], failure.detail)
    return None


async def _body(attempt: Attempt) -> bytes | None:
    """What goes upstream, made beside the event loop where that takes long; None: it was cut meanwhile."""
    if attempt.reservation.facts.body_bytes <= AT_ONCE_BYTES:
        return _rewritten(attempt)
    with attempt.line:
        return await asyncio.to_thread(_rewritten, attempt)
    return None


def _rewritten(attempt: Attempt) -> bytes:
    reservation, dialect = attempt.reservation, attempt.dialect
    provider, model = reservation.decision.provider, reservation.decision.model
    body = dialect.rewrite(
        reservation.request,
        output_limit=reservation.output_limit,
        field=model.output_limit_field or provider.output_limit_field,
        model=reservation.other_model,
    )
    if provider.omit_fields and dialect.content_type(reservation.request) == JSON:
        body = without(body, provider.omit_fields)
    return body


def credential_for(gate: Gate, caller: Caller, provider: Provider, family: str) -> tuple[bytes, bytes] | None:
    """The header that a provider knows us by: its key, or a token that says for whom we come. None: it wants none."""
    if provider.token_audience is None or gate.server_tokens is None:
        return provider.credentials.get(family)
    now_ns = gate.clock.expiry_ns()
    return gate.server_tokens.header(caller, provider.token_audience, gate.clock.new_id("srv"), now_ns)


def _upstream_request(gate: Gate, attempt: Attempt, request: CallerRequest, body: bytes) -> UpstreamRequest:
    reservation, dialect = attempt.reservation, attempt.dialect
    provider = reservation.decision.provider
    passed = passed_request_headers(dialect, request)
    passed.append((b"content-type", dialect.content_type(reservation.request)))
    passed.append((b"accept-encoding", b"identity"))
    passed.append((b"x-client-request-id", reservation.attempt_id.encode()))
    credential = credential_for(gate, reservation.caller, provider, dialect.family)
    if credential is not None:
        passed.append(credential)
    path = dialect.upstream_path(reservation.request, reservation.other_model) + _passed_query(dialect, request.query)
    path = provider.path(dialect.family, path, reservation.decision.sent_as)
    return UpstreamRequest(provider.origin, path, passed, body, provider.timeouts, request.method)


def passed_request_headers(dialect: Dialect, request: CallerRequest) -> list[tuple[bytes, bytes]]:
    """The caller's headers that go on, in a list of one's own."""
    allowed = dialect.request_headers
    passed = [header for header in request.headers if header[0] in allowed]
    if dialect.default_headers:
        said = {name for name, _ in passed}
        passed += [header for header in dialect.default_headers if header[0] not in said]
    return passed


def _passed_query(dialect: Dialect, query: bytes) -> str:
    """The parameters that the dialect lets through, as they came; one that is not plainly written is left out."""
    if not query or not dialect.query_parameters:
        return ""
    plain = filter(None, map(_PLAIN_PARAMETER.fullmatch, query.split(b"&")))
    passed = b"&".join(match[0] for match in plain if match[1] in dialect.query_parameters)
    return "?" + passed.decode("ascii") if passed else ""


async def _exchange(gate: Gate, attempt: Attempt, exchange: Exchange) -> None:
    await exchange.start()
    attempt.first_byte_ns = gate.clock.now_ns() - attempt.reservation.taken_at_ns
    attempt.status = exchange.status
    attempt.reached(phase_of_status(exchange.status))
    if attempt.phase == "answering":
        note_head(gate, attempt)
    else:
        error = await exchange.read(_ERROR_BODY_BYTES)
        attempt.answer_body = attempt.dialect.error_passed(error) if isinstance(attempt.dialect, Sparing) else error
        attempt.end("provider_refused" if attempt.phase == "refused" else "provider_error", f"HTTP {exchange.status}")
        return
    said = dict(exchange.headers)
    if said.get(b"content-encoding", b"").strip().lower() not in {b"", b"identity"}:
        attempt.end("provider_malformed", "the answer is compressed although that was not asked for")
    elif (kind := said.get(b"content-type", b"").strip().lower()).startswith(b"text/event-stream"):
        await _stream(gate, attempt, exchange, attempt.dialect.stream_meter(attempt.reservation.request))
    elif kind.startswith(b"audio/") and attempt.reservation.request.asked.sound_back:
        used = attempt.dialect.read_answer(attempt.reservation.request, b"").usage
        await _stream(gate, attempt, exchange, SoundStream(used))
    else:
        await _whole(gate, attempt, exchange)


async def _whole(gate: Gate, attempt: Attempt, exchange: Exchange) -> None:
    body = await exchange.read(gate.limits.answer_bytes)
    attempt.answer = await beside(body, attempt.dialect.read_answer, attempt.reservation.request, body)
    if attempt.answer.malformed:
        attempt.end("provider_malformed", "the answer is not valid JSON of its dialect")
        return
    if attempt.object_unsaid:
        await _note(gate, attempt)
    said = attempt.answer.passed if isinstance(attempt.answer, Readdressed) else None
    attempt.answer_body = body if said is None else said
    _completed(attempt)


async def _stream(gate: Gate, attempt: Attempt, exchange: Exchange, meter: Meter) -> None:
    reply, reservation = attempt.reply, attempt.reservation
    attempt.meter = meter
    mask = reservation.decision.provider.mask
    masked = mask.stream()
    passed = passed_headers(attempt.dialect, exchange, mask.plain)
    attempt.head = governed_headers(attempt.dialect, reservation, None, reservation.decision.name, passed)
    lease = attempt.lease = Lease(gate, reservation, attempt.line) if reservation.leased else None

    def came(chunk: bytes) -> bytes:
        """Metered in the moment in which it comes, however slowly the caller reads."""
        passed = masked.feed(meter.feed(chunk), thorough=meter.error)
        if lease is not None and lease.due < NEVER and meter.seen_output_tokens > lease.due:
            lease.look(meter)
        return passed

    exchange.tap(came)
    if attempt.line.reason is not None:
        await asyncio.sleep(0)  # what came before has used up the hold: it ends here
    if not (attempt.unheard or reply.started):
        await reply.start(200, attempt.head)
    await _pass_on(gate, attempt, exchange)
    rest = masked.feed(meter.finish(), thorough=meter.error) + masked.rest()
    if rest and meter.done and not attempt.unheard:  # half an event would garble the error that follows it
        await reply.send(rest)
    if meter.error:
        attempt.end("provider_error", "the provider sent an error in the middle of its stream")
    elif meter.malformed:
        attempt.end("provider_malformed", "a data line of the stream is not valid JSON of its dialect")
    elif not meter.done:
        attempt.end("provider_cut", "the stream ended without its end mark")
    else:
        _completed(attempt)


async def _pass_on(gate: Gate, attempt: Attempt, exchange: Exchange) -> None:
    async for passed in exchange.chunks():
        if attempt.object_unsaid:
            await _note(gate, attempt)
        if not attempt.unheard:
            attempt.sending = passed
            await attempt.reply.send(passed)
            attempt.sending = b""
        if attempt.over:
            break  # its caller hangs up now, and is not to be taken for one who gave up


async def _note(gate: Gate, attempt: Attempt) -> None:
    """What the provider keeps of the answer, and whether it goes on with it: on disk before the caller knows."""
    await note_object(gate, attempt)
    if attempt.reservation.request.asked.deferred:
        await note_deferral(gate, attempt)


async def _read_on(gate: Gate, attempt: Attempt, exchange: Exchange) -> None:
    """After a slow caller was cut off: learn the usage, where stopping would not stop the bill."""
    meter = attempt.meter
    if meter is None or attempt.reservation.decision.provider.abort_stops_billing:
        return
    attempt.unheard = True
    attempt.line.renew()  # a drain or a stop still ends it
    with attempt.line:
        async with asyncio.timeout(gate.limits.finish_after_hangup_s):
            async for _ in exchange.chunks():
                pass  # it was metered when it came


def _completed(attempt: Attempt) -> None:
    attempt.end("client_gone" if attempt.unheard else "completed")
