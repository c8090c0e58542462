"""Where spans go: from the settings and the standard variables of OpenTelemetry to one judged address.

The variables are those of the OTLP exporter specification: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is a whole address,
OTEL_EXPORTER_OTLP_ENDPOINT a base to which /v1/traces is added; ..._HEADERS are `name=value,...`, percent-encoded.
What the settings say stands above them. Headers come by variable alone: they are mostly keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

import msgspec

from comptroller.core.problem import Fault, Problem
from comptroller.flow.upstream import Origin
from comptroller.settings import BaseUrl, TraceSettings, read_base_url

_TRACES_PATH = "/v1/traces"
_DEFAULT = BaseUrl("http", "localhost", 4318, "")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SET_BY_US = frozenset(
    {"host", "content-length", "content-type", "content-encoding", "connection", "transfer-encoding"}
)


class Collector(msgspec.Struct, frozen=True):
    """A receiver of OTLP over HTTP."""

    origin: Origin
    path: str
    headers: tuple[tuple[bytes, bytes], ...]


def find_collector(settings: TraceSettings, environ: Mapping[str, str]) -> Collector | Problem:
    """Where to send spans, or what has to be mended first. Says no value: a header is a secret."""
    where = "traces.endpoint"
    try:
        url, path, where = _address(settings, environ)
        headers = _headers(environ)
    except Fault as fault:
        return fault.at(where)
    if url.scheme == "http" and not (url.private or settings.private_network):
        sentence = "Plain http leaves only for this machine or a private network: spans say who spends what."
        hint = "Use https, or say [traces] private_network = true if the name leads to a private address."
        return Problem(where, sentence, hint)
    origin = Origin(url.scheme, url.host, url.port, url.path_prefix, url.private or settings.private_network)
    return Collector(origin, path, headers)


def _address(settings: TraceSettings, environ: Mapping[str, str]) -> tuple[BaseUrl, str, str]:
    """The base, the path below it, and who said so."""
    if settings.endpoint is not None:
        return settings.endpoint, _TRACES_PATH, "traces.endpoint"
    variable = next((name for name in _ENDPOINTS if environ.get(name, "").strip()), None)
    if variable is None:
        return _DEFAULT, _TRACES_PATH, "traces.endpoint"
    text = environ[variable].strip()
    whole = variable == _ENDPOINTS[0] and not text.endswith(_TRACES_PATH)
    try:
        base = read_base_url(text.removesuffix(_TRACES_PATH), Path())
    except Fault as fault:
        raise Fault(f"{variable}: {fault.sentence}", "Write it as 'https://HOST:4318'.") from None
    path = ("" if base.path_prefix else "/") if whole else _TRACES_PATH
    return base, path, variable


def _headers(environ: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    variable = next((name for name in _HEADERS if environ.get(name, "").strip()), None)
    if variable is None:
        return ()
    found: list[tuple[bytes, bytes]] = []
    for pair in environ[variable].split(","):
        name, equals, value = (unquote(part.strip()) for part in pair.partition("="))
        name = name.lower()
        good = equals and _NAME.fullmatch(name) and value.isascii() and value.isprintable() and name not in _SET_BY_US
        if not good:
            raise Fault(f"{variable} is not `name=value,name=value` with values that a header can have.")
        found.append((name.encode(), value.encode()))
    return tuple(found)
