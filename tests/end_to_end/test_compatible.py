"""Servers that speak OpenAI's API in their own way: each is sent what it takes, and what it answers is metered.

The stub behaves as each server's documentation says: its path, its key's header, the fields that it refuses, where it
puts the usage of a stream. docs/providers.md has the same settings.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import Row, ask, chat, mint, nanos, settled_row
from tests.harness.configuration import model, process, registry
from tests.harness.gateway import PROVIDER_KEY, GatewayProcess
from tests.harness.recorder import CHAT_ANSWER, Heard, Recorder, respond, stream

pytestmark = pytest.mark.processes

KEY = PROVIDER_KEY
BEARER = ("authorization", f"Bearer {KEY}")
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
PRICE = 11 * 3_000 + 7 * 15_000  # of sandbox-large


@dataclass(frozen=True)
class Server:
    """How one server wants to be spoken to."""

    path: str  # of its base_url
    settings: Row
    line: str  # that a request for chat begins with
    header: tuple[str, str] | None = BEARER
    named: str = "sandbox-large"  # what it calls the model
    limit: str = "max_completion_tokens"
    refused: tuple[str, ...] = ()  # fields that it answers with 422
    usage_always: bool = False  # a stream has it, asked or not
    extra: tuple[tuple[str, Any], ...] = ()  # what its answers have beside


SERVERS = {
    "openai": Server("/v1", {}, "/v1/chat/completions"),
    "azure-v1": Server(
        "/openai/v1", {"api_key_header": "api-key"}, "/openai/v1/chat/completions", ("api-key", KEY), "prod-4o"
    ),
    "azure-deployments": Server(
        "",
        {"azure_api_version": "2024-10-21"},
        "/openai/deployments/prod-4o/chat/completions?api-version=2024-10-21",
        ("api-key", KEY),
        "prod-4o",
        extra=(
            ("prompt_filter_results", [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}]),
        ),
    ),
    "mistral": Server(
        "/v1",
        {"output_limit_field": "max_tokens", "omit_fields": ["stream_options", "user", "store"]},
        "/v1/chat/completions",
        limit="max_tokens",
        refused=("stream_options", "max_completion_tokens", "user", "store"),
        usage_always=True,
    ),
    "ollama": Server(
        "/v1", {"api_key": None, "output_limit_field": "max_tokens"}, "/v1/chat/completions", None, limit="max_tokens"
    ),
    "openrouter": Server("/api/v1", {}, "/api/v1/chat/completions", named="openai/gpt-4o"),
    "groq": Server("/openai/v1", {}, "/openai/v1/chat/completions", extra=(("x_groq", {"id": "req_1"}),)),
    "gemini": Server("/v1beta/openai", {"version_path": ""}, "/v1beta/openai/chat/completions", named="gemini-2.5-pro"),
    "zai": Server("/api/paas", {"version_path": "/v4"}, "/api/paas/v4/chat/completions", named="glm-4.6"),
}


def heard_by(server: Server) -> Any:
    """Answers as this server does."""

    def answer(heard: Heard) -> Any:
        asked = json.loads(heard.body)
        strange = [name for name in server.refused if name in asked]
        if strange:
            error = {"detail": [{"type": "extra_forbidden", "loc": ["body", name]} for name in strange]}
            return respond(error, status="422 Unprocessable Entity")
        said = {**CHAT_ANSWER, **dict(server.extra), "model": server.named, "usage": USAGE}
        if not asked.get("stream"):
            return respond(said)
        wanted = server.usage_always or (asked.get("stream_options") or {}).get("include_usage")
        return stream(*events(server, with_usage=bool(wanted)))

    return answer


def events(server: Server, *, with_usage: bool) -> Iterator[bytes]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": server.named}
    if server.extra:
        yield event({**base, "choices": [], **dict(server.extra)})  # Azure begins with what its filter says
    yield event({**base, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello."}}]})
    last = {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if server.usage_always:
        yield event({**last, "usage": USAGE})
    else:
        yield event(last)
        if with_usage:
            yield event({**base, "choices": [], "usage": USAGE})
    yield b"data: [DONE]\n\n"


def event(chunk: Row) -> bytes:
    return b"data: %b\n\n" % json.dumps(chunk).encode()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    providers = {name: settings(upstream, server) for name, server in SERVERS.items()}
    models = {name: entry(name, server) for name, server in SERVERS.items()}
    known = registry(models=models)
    known["prices"] = [price | {"model": name} for name in SERVERS for price in known["prices"][:1]]
    folder: Path = tmp_path_factory.mktemp("compatible")
    with GatewayProcess(folder, process(upstream.url, providers=providers), known) as running:
        yield running
        assert "Traceback" not in running.log()


def settings(upstream: Recorder, server: Server) -> Row:
    said = {
        "dialects": ["openai"],
        "base_url": upstream.url + server.path,
        "api_key": "env:SANDBOX_KEY",
    } | server.settings
    return {name: value for name, value in said.items() if value is not None}


def entry(name: str, server: Server) -> Row:
    return model(name, upstream_model={name: server.named})


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("as_stream", [False, True])
def test_each_server_is_sent_what_it_takes(
    gateway: GatewayProcess, upstream: Recorder, name: str, as_stream: bool
) -> None:
    upstream.forget()
    server = SERVERS[name]
    upstream.answer = heard_by(server)
    body = chat(model=name, max_tokens=50, stream=as_stream, user="u-1", store=False)
    said = ask(gateway, mint(gateway)["credential"], body)
    assert said.status == 200, said.body
    heard = upstream.only()
    assert heard.line == f"POST {server.line} HTTP/1.1"
    credentials = [each for each in heard.headers if each[0].lower() in {"authorization", "api-key", "x-api-key"}]
    assert [(header.lower(), value) for header, value in credentials] == ([server.header] if server.header else [])
    sent = json.loads(heard.body)
    assert (sent["model"], sent[server.limit]) == (server.named, 50)
    assert not set(server.refused) & sent.keys()
    row = settled_row(gateway, said.call_id)
    assert (row["provider"], row["model"], row["served_model"]) == (name, name, server.named)
    assert (row["input_tokens"], row["output_tokens"], nanos(row["charge_usd"])) == (11, 7, PRICE)
    for field, _ in server.extra:
        assert f'"{field}"'.encode() in said.body, "what is the server's own passes"


def test_azure_says_why_it_refuses_a_prompt(gateway: GatewayProcess, upstream: Recorder) -> None:
    upstream.forget()
    error = {"code": "content_filter", "message": "filtered", "innererror": {"code": "ResponsibleAIPolicyViolation"}}
    upstream.answer = lambda _: respond({"error": error}, status="400 Bad Request")
    said = ask(gateway, mint(gateway)["credential"], chat(model="azure-deployments", max_tokens=5))
    assert (said.status, said.error["innererror"]["code"]) == (400, "ResponsibleAIPolicyViolation")
    assert settled_row(gateway, said.call_id)["charge_usd"] == "0.00"


def test_no_entry_s_key_is_shown_by_another_entry_at_its_host(upstream: Recorder, tmp_path: Path) -> None:
    other = "the-other-" + "k3y-at-this-host"
    upstream.forget()
    echoed = {**CHAT_ANSWER, "choices": [{"index": 0, "message": {"role": "assistant", "content": f"{KEY} {other}"}}]}
    upstream.answer = lambda _: respond(echoed)
    one = {"dialects": ["openai"], "base_url": upstream.url, "api_key": "env:SANDBOX_KEY"}
    files = process(upstream.url, providers={"one": one, "two": one | {"api_key": "env:OTHER_KEY"}})
    known = registry(models={"sandbox-*": model("one", "two")})
    with GatewayProcess(tmp_path, files, known, env={"OTHER_KEY": other}) as gateway:
        said = ask(gateway, mint(gateway)["credential"], chat(max_tokens=5))
        assert said.status == 200
        assert KEY not in said.body.decode()
        assert other not in said.body.decode()
        assert said.body.count(b"[key of the gateway]") == 2
