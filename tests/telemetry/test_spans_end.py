"""The end of a process waits for its calls, and a few seconds for its spans: never for a collector that is silent."""

import socket
import threading
import time
from collections.abc import Callable, Sequence

import pytest

from comptroller.core.refusal import Refusal
from comptroller.flow.upstream import Origin
from comptroller.gateway.egress import Egress
from comptroller.telemetry import spans as spans_module
from comptroller.telemetry.collector import Collector
from comptroller.telemetry.log import Log
from comptroller.telemetry.spans import Spans


class Kept:
    """Lines of the log, kept."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)


class Request:
    """A request, as far as a span of its refusal tells of it."""

    credentials: Sequence[str] = ()
    headers: Sequence[tuple[bytes, bytes]] = ()
    received_ns = 0
    query = b""
    address = None
    session_hint = None

    async def body(self) -> bytes:
        return b""

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Nobody hangs up here."""

    def unwatch(self) -> None:
        """Nobody hangs up here."""


def make_spans(spans: Spans, count: int) -> None:
    refusal = Refusal(code="model_unknown", sentence="No.", hint="Ask for another.")
    for number in range(count):
        spans.refused(Request(), "openai_chat", f"call_{number}", refusal, None)


def exporting() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("OtelBatch")]


def collector_at(port: int) -> Collector:
    return Collector(Origin("http", "127.0.0.1", port, allow_private=True), "/v1/traces", ())


async def test_after_the_close_nothing_waits_for_a_silent_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten batches wait, each of which could stand still for ten seconds."""
    monkeypatch.setattr(spans_module, "_CLOSE_MOST_S", 0.2)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    kept, egress = Kept(), Egress()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        spans = Spans(egress, collector_at(silent.getsockname()[1]), Log(kept), "0", time.time_ns)
        make_spans(spans, 10)
        await spans.close()
        assert exporting() == [], "a thread of the exporter outlives the close"
        assert len(kept.lines) == 10, "what was lost is said"
        assert all(b"the gateway has stopped" in line for line in kept.lines), kept.lines
    await egress.close()
