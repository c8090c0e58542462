"""Where spans go: the settings first, then the standard variables, and never in the clear to a stranger."""

from collections.abc import Mapping

import pytest

from comptroller.core.problem import Problem
from comptroller.settings import BaseUrl, TraceSettings
from comptroller.telemetry.collector import Collector, find_collector

TRACES, BASE = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_HEADERS, HEADERS = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"
SECRET = "k3y-of-the-" + "collector"


def address(found: Collector | Problem) -> str:
    assert isinstance(found, Collector), found
    origin = found.origin
    return f"{origin.scheme}://{origin.host}:{origin.port}{origin.path_prefix}{found.path}"


@pytest.mark.parametrize(
    ("endpoint", "environ", "expected"),
    [
        (None, {}, "http://localhost:4318/v1/traces"),
        (None, {BASE: " "}, "http://localhost:4318/v1/traces"),
        (None, {BASE: "https://otel.example"}, "https://otel.example:443/v1/traces"),
        (None, {BASE: "https://otel.example/otlp/"}, "https://otel.example:443/otlp/v1/traces"),
        (None, {TRACES: "https://a.example/x", BASE: "https://b.example"}, "https://a.example:443/x"),
        (None, {TRACES: "https://a.example/otlp/v1/traces"}, "https://a.example:443/otlp/v1/traces"),
        (None, {TRACES: "https://a.example"}, "https://a.example:443/"),
        ("https://set.example", {TRACES: "https://a.example"}, "https://set.example:443/v1/traces"),
        (None, {BASE: "http://10.1.2.3:4318"}, "http://10.1.2.3:4318/v1/traces"),
        (None, {BASE: "http://[::1]:4318"}, "http://::1:4318/v1/traces"),
    ],
)
def test_the_address(endpoint: str | None, environ: Mapping[str, str], expected: str) -> None:
    url = None if endpoint is None else BaseUrl("https", endpoint.removeprefix("https://"), 443, "")
    assert address(find_collector(TraceSettings(endpoint=url), environ)) == expected


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({BASE: "http://otel.example:4318"}, BASE),
        ({TRACES: "http://93.184.216.34/v1/traces"}, TRACES),
        ({BASE: "otel.example:4318"}, "traces.endpoint"),
        ({BASE: f"https://user:{SECRET}@otel.example"}, "traces.endpoint"),
        ({BASE: f"https://otel.example/?key={SECRET}"}, "traces.endpoint"),
        ({HEADERS: SECRET}, "traces.endpoint"),
        ({HEADERS: f"authorization={SECRET}%0d%0ax: y"}, "traces.endpoint"),
        ({HEADERS: f"na me={SECRET}"}, "traces.endpoint"),
        ({HEADERS: f"host={SECRET}"}, "traces.endpoint"),
        ({TRACES_HEADERS: f"Content-Length={SECRET}"}, "traces.endpoint"),
    ],
)
def test_what_has_to_be_mended_is_said_without_the_value(environ: Mapping[str, str], where: str) -> None:
    found = find_collector(TraceSettings(), environ)
    assert isinstance(found, Problem)
    assert found.where == where
    assert SECRET not in str(found)
    assert next(iter(environ)) in f"{found.where} {found.sentence}"


def test_a_name_in_a_private_network_is_spoken_to_in_the_clear_where_that_is_said() -> None:
    environ = {BASE: "http://otel-collector:4318"}
    assert isinstance(find_collector(TraceSettings(), environ), Problem)
    found = find_collector(TraceSettings(private_network=True), environ)
    assert address(found) == "http://otel-collector:4318/v1/traces"
    assert isinstance(found, Collector)
    assert found.origin.allow_private


def test_headers_of_traces_stand_before_those_of_all() -> None:
    environ = {TRACES_HEADERS: "Authorization=Bearer%20x, x-tenant = acme", HEADERS: "other=1"}
    found = find_collector(TraceSettings(), environ)
    assert isinstance(found, Collector)
    assert found.headers == ((b"authorization", b"Bearer x"), (b"x-tenant", b"acme"))
