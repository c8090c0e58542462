"""Spans as protobuf over HTTP to a collector, through the one way out of the process.

Needs the extra `otel`. Why not the exporter of OpenTelemetry: it brings an HTTP client of its own, which follows
redirects and proxies and judges no address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from threading import Event

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from comptroller.flow.upstream import Timeouts, Upstream, UpstreamFailure, UpstreamRequest
from comptroller.telemetry.collector import Collector

TRIES = 3
_AGAIN = frozenset({429, 502, 503, 504})  # by the OTLP specification
_PAUSE_S = 1.0
_TIMEOUTS = Timeouts(connect_s=5.0, first_byte_s=10.0, idle_s=10.0, total_s=10.0)
_ANSWER_BYTES = 64 * 1024
_STOPPED = "the gateway has stopped"


class CollectorExporter(SpanExporter):
    """Made on the loop of `upstream`; `export` is called on a thread of the SDK and waits there."""

    def __init__(self, upstream: Upstream, collector: Collector, lost: Callable[[str, int], None]) -> None:
        self._upstream = upstream
        self._collector = collector
        self._lost = lost  # told why, and how many spans
        self._loop = asyncio.get_running_loop()
        self._closing = Event()
        self._given_up = False
        self._sent: Future[int] | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        body = encode_spans(spans).SerializeToString()
        why = ""
        for last in (False,) * (TRIES - 1) + (True,):
            again, why = self._try(body)
            if not why:
                return SpanExportResult.SUCCESS
            if last or not again or self._closing.wait(_PAUSE_S):  # on a thread of its own
                break
        self._lost(why, len(spans))
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """What waits is tried once more, and nothing is tried again."""
        self._closing.set()

    def give_up(self) -> None:
        """End what is on its way and begin nothing more, so that nobody waits for a collector that is silent."""
        self._given_up = True
        self._closing.set()
        if self._sent is not None:
            self._sent.cancel()

    def _try(self, body: bytes) -> tuple[bool, str]:
        """Whether another try may help, and why this one failed; empty if it did not."""
        if self._given_up:
            return False, _STOPPED
        sending = self._send(body)
        try:
            self._sent = sent = asyncio.run_coroutine_threadsafe(sending, self._loop)
        except RuntimeError:
            sending.close()
            return False, _STOPPED
        if self._given_up:  # since we looked: whoever gave up may not have seen this one
            sent.cancel()
        try:
            status = sent.result(_TIMEOUTS.total_s + 5.0)
        except UpstreamFailure as failure:
            return True, str(failure)
        except (TimeoutError, CancelledError):
            return False, _STOPPED
        return status in _AGAIN, "" if 200 <= status < 300 else f"HTTP {status}"

    async def _send(self, body: bytes) -> int:
        to = self._collector
        headers = [*to.headers, (b"content-type", b"application/x-protobuf")]
        exchange = self._upstream.open(
            UpstreamRequest(to.origin, to.path, headers, body, _TIMEOUTS),
            buffer_limit_bytes=_ANSWER_BYTES,
            on_overflow=lambda: None,
        )
        try:
            await exchange.start()
            await exchange.read(_ANSWER_BYTES)
            return exchange.status
        finally:
            exchange.abort()
