"""`GET /metrics`: the readings in the words of Prometheus, for whoever may see them.

The admin credential opens it, on this machine, like the rest of the admin plane. A scrape token from the settings
opens it from anywhere that reaches the admin listener, and opens nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from hmac import compare_digest
from math import isinf
from typing import cast

from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest as plain_text
from prometheus_client.openmetrics import exposition as open_metrics
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from comptroller.settings import KeySource, UnusableKey, read_key
from comptroller.telemetry.families import Family
from comptroller.telemetry.histogram import Histogram
from comptroller.telemetry.log import Log
from comptroller.telemetry.readings import Measured, Reading, Sources, readings

_OPEN_METRICS_VERSION = "version=1.0.0"


class Page:
    """The page itself, without a lock."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._machine = CollectorRegistry()
        ProcessCollector(registry=self._machine)
        PlatformCollector(registry=self._machine)
        GCCollector(registry=self._machine)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            await Response("Metrics are read with GET.\n", 405, {"allow": "GET, HEAD"})(scope, receive, send)
            return
        encode, kind = _encoder(Headers(scope=scope).get("accept", ""))
        metrics = [_metric(family, values) async for family, values in readings(self._sources)]
        # What is encoded does not change any more, so a long page holds up no call.
        body = await asyncio.to_thread(encode, _Collected([*metrics, *self._machine.collect()]))
        await Response(body, 200, {"cache-control": "no-store"}, kind)(scope, receive, send)


class ScrapeDoor:
    """Lets whoever has the scrape token through to the page; everybody else meets the admin door before it."""

    def __init__(self, page: ASGIApp, admin_door: ASGIApp, token: bytes | None) -> None:
        self._page = page
        self._admin_door = admin_door
        self._digest = None if token is None else _digest(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._page if self._opens(scope) else self._admin_door)(scope, receive, send)

    def _opens(self, scope: Scope) -> bool:
        values = [value for name, value in scope["headers"] if name == b"authorization"]
        if self._digest is None or len(values) != 1:
            return False
        scheme, _, presented = values[0].partition(b" ")
        return scheme.lower() == b"bearer" and compare_digest(_digest(presented.strip()), self._digest)


def scrape_token(source: KeySource | None, environ: Mapping[str, str], log: Log) -> bytes | None:
    """The token that the settings name; one that cannot be read opens nothing, and the log says so."""
    warnings: list[str] = []
    try:
        return None if source is None else read_key("The scrape token", source, environ, warnings)
    except UnusableKey as reason:
        warnings.append(f"The scrape token opens nothing: {reason}.")
        return None
    finally:
        for sentence in warnings:
            log.say("metrics", {"message": sentence})


class _Collected:
    """What prometheus_client encodes: something that has been collected."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Sequence[Metric]:
        return self._metrics


def _encoder(accept: str) -> tuple[Callable[[_Collected], bytes], str]:
    """OpenMetrics where it is among what is accepted, else the plain text format that everything reads."""
    for wish in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in wish.split(";"))
        version = next((one for one in parameters if one.startswith("version=")), _OPEN_METRICS_VERSION)
        if kind == "application/openmetrics-text" and version == _OPEN_METRICS_VERSION and "q=0" not in parameters:
            return _open_metrics, "application/openmetrics-text; version=1.0.0; charset=utf-8"
    return plain_text, "text/plain; version=0.0.4; charset=utf-8"


def _open_metrics(collected: _Collected) -> bytes:
    return cast(bytes, open_metrics.generate_latest(collected))  # pyright: ignore[reportUnknownMemberType]


def _metric(family: Family, values: Sequence[Reading] | Sequence[Measured]) -> Metric:
    name = family.name.removesuffix("_total")
    metric = Metric(name, family.says, family.kind)
    for labels, value in values:
        if isinstance(value, Histogram):
            counts = list(value.cumulative())
            for bound, count in counts:
                metric.add_sample(f"{name}_bucket", {**labels, "le": "+Inf" if isinf(bound) else str(bound)}, count)
            metric.add_sample(f"{name}_count", labels, counts[-1][1])
            metric.add_sample(f"{name}_sum", labels, value.sum_s)
        else:
            metric.add_sample(family.name, labels, float(value))
    return metric


def _digest(token: bytes) -> bytes:
    return blake2b(token, digest_size=32).digest()
