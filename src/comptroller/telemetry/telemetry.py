"""The log, the metrics and the spans of one process, joined. Without `[traces]` nothing of OpenTelemetry is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from comptroller.core.problem import Problem
from comptroller.flow.observer import Observer
from comptroller.flow.upstream import Upstream
from comptroller.settings import Settings, TraceSettings
from comptroller.telemetry.call_lines import CallLines
from comptroller.telemetry.collector import find_collector
from comptroller.telemetry.line_writer import LineWriter
from comptroller.telemetry.log import Log
from comptroller.telemetry.observers import Observers
from comptroller.telemetry.tally import Tally

if TYPE_CHECKING:
    from comptroller.telemetry.spans import Spans

_STANDARD_ERROR = 2
_LINES_MOST_S = 2.0


class Telemetry:
    """Made at the start of a process; `close` is the last thing it does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lines = LineWriter(_STANDARD_ERROR)
        self._spans: Spans | None = None
        self.log = Log(self._lines, least=settings.log.level, lines_per_s=settings.log.lines_per_s)
        self.tally = Tally(settings.metrics.label_sets)

    def observer(
        self, upstream: Upstream, environ: Mapping[str, str], version: str, now_ns: Callable[[], int]
    ) -> Observer:
        """Whoever is to be told of calls. On the loop that they run on; spans leave through `upstream`."""
        each: list[Observer] = [self.tally, CallLines(self.log, self._settings.log.calls)]
        collector = find_collector(self._settings.traces, environ)
        if self._settings.traces.exporter == "otlp" and not isinstance(collector, Problem):
            from comptroller.telemetry.spans import Spans  # noqa: PLC0415 - an extra

            self._spans = Spans(upstream, collector, self.log, version, now_ns)
            each.append(self._spans)
        return Observers(*each)

    async def flush(self) -> None:
        """Deliver the spans that wait, while there is a way out."""
        if self._spans is not None:
            await self._spans.close()

    def close(self) -> None:
        self._lines.close(_LINES_MOST_S)


def trace_faults(settings: TraceSettings, environ: Mapping[str, str]) -> Sequence[Problem]:
    """Why spans cannot be made or sent as the settings want it."""
    if settings.exporter == "none":
        return ()
    try:
        import_module("comptroller.telemetry.spans")
    except ImportError:
        sentence = "Spans need the packages of OpenTelemetry, and they are not installed."
        return (Problem("traces.exporter", sentence, "Install the extra: pip install 'comptroller[otel]'."),)
    collector = find_collector(settings, environ)
    return (collector,) if isinstance(collector, Problem) else ()
