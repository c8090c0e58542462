"""One span for each call, refused ones too, in the trace of its caller. Needs the extra `otel`.

A span is made when its call has ended, with the instants of its record: nothing is kept while a call runs. Its ids go
to no provider: `traceparent` is not among the headers that pass, because a provider is a stranger without use for them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode

from comptroller.core.refusal import Refusal
from comptroller.flow.attempt import Attempt
from comptroller.flow.door import CallerRequest
from comptroller.flow.fault import fault_facts
from comptroller.flow.records import CallFacts, Settled
from comptroller.flow.reservation import Reservation
from comptroller.flow.upstream import Upstream
from comptroller.telemetry.attributes import SCHEMA_URL, Value, of_ended, of_refused, of_settled, operation
from comptroller.telemetry.collector import Collector
from comptroller.telemetry.log import Log
from comptroller.telemetry.span_exporter import CollectorExporter
from comptroller.telemetry.trace_context import trace_context

_CLOSE_MOST_S = 5.0
_STRANGER = "refuse"  # what was done with a request that nobody knows to be a call


class Spans:
    """Implements flow.observer.Observer."""

    def __init__(
        self, upstream: Upstream, collector: Collector, log: Log, version: str, now_ns: Callable[[], int]
    ) -> None:
        self._exporter = CollectorExporter(upstream, collector, self._lost)
        resource = Resource({"service.name": "comptroller", "service.version": version, "process.pid": os.getpid()})
        self._provider = TracerProvider(
            resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("comptroller", version, schema_url=SCHEMA_URL)
        self._log = log
        self._now_ns = now_ns

    def settled(self, request: CallerRequest, attempt: Attempt, settled: Settled) -> None:
        told = of_settled(request, attempt, settled)
        name = f"{operation(attempt.dialect.name)} {attempt.reservation.decision.name}"
        self._make(name, request, SpanKind.CLIENT, told, request.received_ns, settled.at_ns)

    def ended(self, facts: CallFacts, entry: str, settled: Settled) -> None:
        """A span that begins with the call: whose trace it was in nobody knows any more."""
        name = f"{operation(facts.dialect)} {facts.model}"
        self._make(name, None, SpanKind.CLIENT, of_ended(facts, settled), facts.at_ns, settled.at_ns)

    def failed_over(self, attempt: Attempt, another: Reservation) -> None:
        """Each attempt has a span of its own already."""

    def refused(
        self, request: CallerRequest, dialect: str, call_id: str, refusal: Refusal, facts: CallFacts | None
    ) -> None:
        told, ended_ns = of_refused(dialect, call_id, refusal, facts), self._now_ns()
        name = _STRANGER if facts is None else operation(dialect)
        self._make(name, request, SpanKind.INTERNAL, told, request.received_ns or ended_ns, ended_ns)

    async def close(self) -> None:
        """Deliver what waits, for at most a few seconds: whoever stops a gateway waits for its calls, not for these."""
        self._exporter.shutdown()  # no second tries
        ending = asyncio.get_running_loop().run_in_executor(None, self._provider.shutdown)
        delivered, _ = await asyncio.wait({ending}, timeout=_CLOSE_MOST_S)
        if not delivered:
            self._exporter.give_up()
            await ending  # at once now: the end of the process would wait for its threads anyway

    def _lost(self, why: str, spans: int) -> None:
        self._log.say("traces", {"message": why, "comptroller.spans": spans})

    def _make(
        self,
        name: str,
        request: CallerRequest | None,
        kind: SpanKind,
        told: dict[str, Value],
        began_ns: int,
        ended_ns: int,
    ) -> None:
        try:
            parent = _parent(request) if request is not None else Context()
            span = self._tracer.start_span(name, parent, kind, told, start_time=began_ns)
            if "error.type" in told:
                span.set_status(Status(StatusCode.ERROR))
            span.end(ended_ns)
        except Exception as error:  # noqa: BLE001 - what is only watched must not end a call
            self._log.say("traces", {"message": "a span could not be made", **fault_facts(error)})


def _parent(request: CallerRequest) -> Context:
    """The caller's span, where the request names one; never whatever happens to be current."""
    found = trace_context(request.headers)
    if found is None:
        return Context()
    flags = TraceFlags(int(found.flags, 16))
    context = SpanContext(int(found.trace_id, 16), int(found.span_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(context), Context())
