"""Spans: one for each call, refused ones too, in the caller's trace, at a collector of the test's own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from comptroller import __version__
from comptroller.telemetry.attributes import SCHEMA_URL
from tests.end_to_end.caller import ask, chat, eventually, mint, stream
from tests.harness.collector import CollectorServer
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import PROVIDER_KEY, GatewayFailed, GatewayProcess
from tests.sandbox.process import SRC, SandboxProcess

pytestmark = pytest.mark.processes

MEMBERS = {"agent/ant": identity("red"), "agent/poor": identity("blue")}
BUDGETS = [budget("poor", "0.000001 USD", scope={"identity": "agent/poor"})]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}  # milliseconds
CLIENT, INTERNAL, ERROR, UNSET = 3, 1, 2, 0


@contextmanager
def traced(
    sandbox: SandboxProcess, folder: Path, *, env: Mapping[str, str] | None = None, **traces: Any
) -> Iterator[GatewayProcess]:
    files = process(sandbox.url, traces={"exporter": "otlp"} | traces)
    with GatewayProcess(folder, files, registry(BUDGETS, MEMBERS), env=SOON | dict(env or {})) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@pytest.fixture(scope="module")
def collector() -> Iterator[CollectorServer]:
    with CollectorServer() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    sandbox_process: SandboxProcess, collector: CollectorServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    with traced(sandbox_process, tmp_path_factory.mktemp("traced"), endpoint=collector.url) as running:
        yield running


def test_a_call_is_a_span_in_the_trace_of_its_caller(
    gateway: GatewayProcess, sandbox_process: SandboxProcess, collector: CollectorServer
) -> None:
    sandbox_process.reset_bill()
    minted = mint(gateway)
    said = ask(gateway, minted["credential"], chat(), headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    found = collector.span_of(said.call_id)
    (billed,) = sandbox_process.settled()
    span, told = found.span, found.attributes
    assert (found.trace_id, found.parent_id) == (TRACE, SPAN)
    assert (span.name, span.kind, span.status.code) == ("chat sandbox-large", CLIENT, UNSET)
    assert span.start_time_unix_nano < span.end_time_unix_nano
    took_s = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    assert took_s == pytest.approx(told["comptroller.duration_s"], abs=1e-5)
    assert found.scope == ("comptroller", __version__, SCHEMA_URL)
    assert (found.resource["service.name"], found.resource["process.pid"]) == ("comptroller", gateway.pid)
    assert {name: told[name] for name in told if name.startswith(("gen_ai.", "server.", "error."))} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.conversation.id": minted["session"],
        "gen_ai.agent.id": "agent/ant",
        "gen_ai.request.model": "sandbox-large",
        "gen_ai.request.max_tokens": 4096,
        "gen_ai.response.model": "sandbox-large-2026-01-01",
        "gen_ai.usage.input_tokens": billed["input_tokens"],
        "gen_ai.usage.output_tokens": billed["output_tokens"],
        "server.address": "127.0.0.1",
        "server.port": sandbox_process.port,
    }
    assert told["comptroller.charge_usd"] == said.headers["x-comptroller-charge-usd"]
    assert "traceparent" not in billed["received_headers"], "ids of our traces are nothing for a provider"


def test_streams_and_messages_are_spans_too(
    gateway: GatewayProcess, sandbox_process: SandboxProcess, collector: CollectorServer
) -> None:
    credential = mint(gateway)["credential"]
    with stream(gateway, credential, chat("a stream", n=2)) as events:
        call_id = events.headers["x-comptroller-call-id"]
        events.read()
    told = collector.span_of(call_id).attributes
    assert (told["gen_ai.request.stream"], told["gen_ai.request.choice.count"]) == (True, 2)
    assert told["gen_ai.usage.output_tokens"] > 0
    said = ask(gateway, credential, chat(max_tokens=50), path="/v1/messages")
    told = collector.span_of(said.call_id).attributes
    assert (told["gen_ai.provider.name"], told["comptroller.dialect"]) == ("anthropic", "anthropic_messages")
    assert sandbox_process.errors() == ""


def test_without_a_trace_a_call_begins_one(gateway: GatewayProcess, collector: CollectorServer) -> None:
    credential = mint(gateway)["credential"]
    found = [
        collector.span_of(ask(gateway, credential, chat(), headers=headers).call_id)
        for headers in ({}, {}, {"traceparent": "00-nonsense"})
    ]
    assert [one.parent_id for one in found] == ["", "", ""]
    assert len({one.trace_id for one in found}) == 3


def test_a_caller_that_does_not_record_its_trace_is_not_recorded(
    gateway: GatewayProcess, collector: CollectorServer
) -> None:
    credential = mint(gateway)["credential"]
    quiet = ask(gateway, credential, chat(), headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    collector.span_of(ask(gateway, credential, chat()).call_id)
    ids = [one.attributes["comptroller.call.id"] for one in collector.spans(bool)]
    assert quiet.call_id not in ids


def test_a_refusal_is_a_span_with_our_code(gateway: GatewayProcess, collector: CollectorServer) -> None:
    poor = mint(gateway, "agent/poor")["credential"]
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    for said, name, code, who in (
        (ask(gateway, poor, chat(), headers=headers), "chat", "budget_exhausted", "agent/poor"),
        (ask(gateway, poor, chat() | {"model": "of-mine"}, headers=headers), "chat", "model_unknown", "agent/poor"),
        (ask(gateway, None, chat(), headers=headers), "refuse", "credential_missing", None),
        (ask(gateway, None, chat(), headers=headers, path="/of-mine"), "refuse", "route_unknown", None),
    ):
        found = collector.span_of(said.call_id)
        told = found.attributes
        assert (found.span.name, found.span.kind, found.span.status.code) == (name, INTERNAL, ERROR)
        assert (found.trace_id, found.parent_id) == (TRACE, SPAN)
        assert (told["error.type"], told.get("comptroller.identity")) == (code, who)
        assert "of-mine" not in str(found)
        assert found.span.start_time_unix_nano <= found.span.end_time_unix_nano


def test_what_failed_is_an_error(gateway: GatewayProcess, collector: CollectorServer) -> None:
    credential = mint(gateway)["credential"]
    found = collector.span_of(ask(gateway, credential, chat(sandbox={"fault": "rate_limited"})).call_id)
    assert (found.span.status.code, found.attributes["error.type"]) == (ERROR, "provider_refused")
    assert found.attributes["http.response.status_code"] == 429


def test_no_secret_and_no_content_is_in_a_span(gateway: GatewayProcess, collector: CollectorServer) -> None:
    credential = mint(gateway)["credential"]
    headers = {"x-planted": "planted", "cookie": "planted", "tracestate": "planted=1", "baggage": "planted=1"}
    said = ask(
        gateway, credential, chat("planted", user="planted"), path="/v1/chat/completions?k=planted", headers=headers
    )
    collector.span_of(said.call_id)
    everything = str(collector.spans(bool)) + str(collector.requests)
    for secret in ("planted", credential, PROVIDER_KEY, gateway.admin_token()):
        assert secret not in everything


def test_the_standard_variables_say_where_and_who(sandbox_process: SandboxProcess, tmp_path: Path) -> None:
    with CollectorServer() as collector:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/otlp",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20of-the-collector,x-tenant=acme",
            "OTEL_SERVICE_NAME": "spend",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        }
        with traced(sandbox_process, tmp_path, env=env) as gateway:
            found = collector.span_of(ask(gateway, mint(gateway)["credential"], chat()).call_id)
            assert (found.resource["service.name"], found.resource["deployment.environment.name"]) == ("spend", "test")
            path, headers, _ = collector.requests[0]
            assert path == "/otlp/v1/traces"
            assert headers["content-type"] == "application/x-protobuf"
            assert (headers["authorization"], headers["x-tenant"]) == ("Bearer of-the-collector", "acme")
            assert "of-the-collector" not in gateway.log()


def test_what_waits_is_delivered_at_the_end_and_a_busy_collector_is_asked_again(
    sandbox_process: SandboxProcess, tmp_path: Path
) -> None:
    with CollectorServer(answers=[503, 429]) as collector:
        with traced(sandbox_process, tmp_path, endpoint=collector.url) as gateway:
            credential = mint(gateway)["credential"]
            first = ask(gateway, credential, chat())
            assert collector.span_of(first.call_id)
            assert [status for _, _, status in collector.requests[:3]] == [503, 429, 200]
        late = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
        with traced(sandbox_process, tmp_path, env=late, endpoint=collector.url) as gateway:
            last = ask(gateway, mint(gateway)["credential"], chat())
            assert gateway.sigterm() == 0
            assert collector.span_of(last.call_id)


@pytest.mark.parametrize("kind", ["nobody listens", "never answers", "refuses"])
def test_a_collector_that_fails_harms_no_call_and_no_end(
    sandbox_process: SandboxProcess, tmp_path: Path, kind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, CollectorServer(answers=[400] * 50) as refusing:
        url = refusing.url if kind == "refuses" else f"http://127.0.0.1:{silent.getsockname()[1]}"
        if kind == "nobody listens":
            silent.close()
        with traced(sandbox_process, tmp_path, endpoint=url) as gateway:
            credential = mint(gateway)["credential"]
            for _ in range(3):
                assert ask(gateway, credential, chat()).status == 200
            if kind == "refuses":
                eventually(lambda: '"event.name": "traces", "message": "HTTP 400"' in gateway.log())
            assert gateway.sigterm(timeout_s=25) == 0
            assert '"event.name": "traces"' in gateway.log()


def test_without_the_extra_the_start_says_what_to_install(sandbox_process: SandboxProcess, tmp_path: Path) -> None:
    """A package of the same name that is nearly empty stands before the real one: as if it were not installed."""
    (tmp_path / "shadow" / "opentelemetry").mkdir(parents=True)
    (tmp_path / "shadow" / "opentelemetry" / "__init__.py").write_text("")
    env = {"PYTHONPATH": os.pathsep.join((str(tmp_path / "shadow"), str(SRC)))}
    with pytest.raises(GatewayFailed) as failed, traced(sandbox_process, tmp_path / "own", env=env):
        pytest.fail("it started")
    assert "traces.exporter" in str(failed.value)
    assert "pip install 'comptroller[otel]'" in str(failed.value)
    assert "Traceback" not in str(failed.value)
    with GatewayProcess(tmp_path / "off", process(sandbox_process.url), registry(), env=env) as gateway:
        assert ask(gateway, mint(gateway)["credential"], chat()).status == 200, "off, nobody misses it"


def test_off_nothing_of_it_is_loaded() -> None:
    """Not the extra without `[traces]`, and not the metrics page in a command."""
    code = (
        "import sys, comptroller.app; "
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'google', 'prometheus_client'))])"
    )
    env = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
