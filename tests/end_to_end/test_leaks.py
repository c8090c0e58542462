"""Planted secrets stay where they belong: not at another provider, in no log, record, metric, span, error, backup."""

import json
import os
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.end_to_end.caller import Said, ask, chat, eventually, mint
from tests.harness.collector import CollectorServer
from tests.harness.configuration import budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.recorder import Recorder, respond, stream

pytestmark = pytest.mark.processes

GEMINI = "/v1beta/models/sandbox-large:generateContent"
PATHS = ("/v1/chat/completions", "/v1/messages", GEMINI)
SLOTS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
KEY_FILES = {"admin-token", "signing-keys.json"}
SCRAPE = "SCRAPE_TOKEN"
CHAT = chat("Hello", max_tokens=20)
BODIES: Mapping[str, dict[str, Any]] = dict.fromkeys(PATHS, CHAT) | {
    GEMINI: {"contents": [{"parts": [{"text": "Hello"}]}], "generationConfig": {"maxOutputTokens": 20}}
}


def made_up(what: str) -> str:
    """A secret of this run, long enough to be looked for."""
    return f"{what}-{os.urandom(18).hex()}"


@dataclass
class World:
    gateway: GatewayProcess
    upstreams: Mapping[str, Recorder]  # by the name of the provider
    collector: CollectorServer
    secrets: dict[str, str]
    answers: list[Said] = field(default_factory=list)

    def ask(self, *arguments: Any, **named: Any) -> Said:
        said = ask(self.gateway, *arguments, **named)
        self.answers.append(said)
        return said


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    keys = {name: made_up(f"key-of-{name}") for name in ("prod", "test")}
    env = {f"KEY_{name.upper()}": key for name, key in keys.items()} | {SCRAPE: made_up("scrape")}
    of_collector = made_up("collector")
    env |= {"OTEL_EXPORTER_OTLP_HEADERS": f"x-key={of_collector}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    identities = {
        "agent/prod": identity("red", environment="production"),
        "agent/test": identity("red", environment="testing"),
    }
    with Recorder() as prod, Recorder() as test, CollectorServer() as collector:
        upstreams = {"prod": prod, "test": test}
        environments = {"prod": ["production"], "test": ["testing"]}
        traces = {"exporter": "otlp", "endpoint": collector.url}
        settings = process(prod.url, metrics={"token": f"env:{SCRAPE}"}, log={"calls": "all"}, traces=traces)
        settings["providers"] = {
            name: provider(each.url, api_key=f"env:KEY_{name.upper()}", environments=environments[name])
            for name, each in upstreams.items()
        }
        models = {"sandbox-*": model("prod", "test")}
        known = registry([budget("all", "1000.00 USD")], identities, models)
        with GatewayProcess(tmp_path_factory.mktemp("leaks"), settings, known, env=env) as gateway:
            secrets = {f"the key of {name}": key for name, key in keys.items()}
            secrets |= {"the scrape token": env[SCRAPE], "the key of the collector": of_collector}
            yield World(gateway, upstreams, collector, secrets)
            assert "Traceback" not in gateway.log()


def spellings(secret: str) -> set[bytes]:
    """As it is, and as programs write it down elsewhere."""
    raw = secret.encode()
    encoded = {b64encode(raw).rstrip(b"="), urlsafe_b64encode(raw).rstrip(b"="), raw.hex().encode()}
    return {raw, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), *encoded}


def assert_none(place: str, content: bytes, secrets: Mapping[str, str]) -> None:
    found = [name for name, secret in secrets.items() if any(each in content for each in spellings(secret))]
    assert not found, f"{place} holds {found}"


def everything_kept(gateway: GatewayProcess) -> Iterator[tuple[str, bytes]]:
    """The state folder raw, the write-ahead log too, but for the two files that are there to hold keys; and the log."""
    yield "its log", gateway.log().encode()
    for path in sorted(gateway.state.rglob("*")):
        if path.is_file() and path.name not in KEY_FILES:
            yield str(path.relative_to(gateway.state)), path.read_bytes()


def plant(world: World) -> None:
    """Secrets in every slot and place, in good, bad and failing calls of both environments."""
    secrets = world.secrets
    signing = json.loads((world.gateway.state / "signing-keys.json").read_text())["keys"]
    secrets["the admin credential"] = world.gateway.admin_token()
    secrets |= {f"signing key {place}": each["key"]["d"] for place, each in enumerate(signing)}
    for place in ("query", "cookie", "path", "foreign bearer", "proxy"):
        secrets[f"a secret in the {place}"] = made_up(place.replace(" ", "-"))
    for name, upstream in world.upstreams.items():
        session = mint(world.gateway, f"agent/{name}")
        credential = secrets[f"the credential of {name}"] = session["credential"]
        secrets[f"its signature ({name})"] = credential.rpartition(".")[2]
        for path in PATHS:
            for slot in SLOTS:
                value = f"Bearer {credential}" if slot == "authorization" else credential
                beside = {"cookie": f"k={secrets['a secret in the cookie']}", slot: value}
                beside["proxy-authorization"] = f"Basic {secrets['a secret in the proxy']}"
                query = f"?api_key={secrets['a secret in the query']}&key={credential}"
                upstream.forget()
                assert world.ask(None, BODIES[path], path=path + query, headers=beside).status == 200
            if path == GEMINI:
                assert world.ask(None, BODIES[path], path=f"{path}?alt=json&key={credential}").status == 200
            fail_in_every_way(world, name, credential, path)
            refuse_in_every_way(world, credential, path)


def fail_in_every_way(world: World, name: str, credential: str, path: str) -> None:
    """The provider says all that it was told."""
    upstream, key = world.upstreams[name], world.secrets[f"the key of {name}"]
    for status in ("400 Bad", "401 No", "403 No", "429 Slow", "500 Oh", "302 There"):
        error = {"error": {"message": f"no {key} for you", "type": key, "code": key}, "model": key}
        upstream.answer = lambda _, error=error, status=status: respond(
            error, f"x-request-id: {key}", f"location: http://127.0.0.1:1/{key}", status=status
        )
        world.ask(credential, BODIES[path], path=path)
    upstream.answer = lambda _: stream(
        b'event: error\ndata: {"type": "error", "error": {"message": "%b"}}\n\n' % key.encode()
    )
    streamed = path.replace(":generate", ":streamGenerate") + ("?alt=sse" if path == GEMINI else "")
    assert world.ask(credential, BODIES[path] | {"stream": True}, path=streamed).status == 200
    upstream.answer = lambda _: b"HTTP/1.1 200 " + key.encode() + b"\r\n" + key.encode() + b"\r\n\r\n"
    world.ask(credential, BODIES[path], path=path)
    upstream.forget()


def refuse_in_every_way(world: World, credential: str, path: str) -> None:
    secrets = world.secrets
    for other in ("the key of prod", "the key of test", "the admin credential", "a secret in the foreign bearer"):
        world.ask(secrets[other], BODIES[path], path=path)
        world.ask(None, BODIES[path], path=path, headers={"x-api-key": secrets[other]})
        world.ask(credential, BODIES[path], path=path, headers={"x-api-key": secrets[other]})
        world.ask(credential, BODIES[path], path=f"{path}?key={secrets[other]}")
    world.ask(credential, b"{", path=path)
    world.ask(credential, BODIES[path] | {"max_tokens": -1}, path=path)
    world.ask(credential, BODIES[path], path=f"{path}/{secrets['a secret in the path']}")
    world.ask(credential, BODIES[path], path=f"/{credential}")


def admin_words(world: World) -> Iterator[tuple[str, bytes]]:
    """What operators see: pages, commands, metrics."""
    gateway = world.gateway
    calls = gateway.calls()
    yield "calls --json", json.dumps(calls).encode()
    for call in calls:
        yield f"explain {call['id']}", json.dumps(gateway.admin("GET", f"/calls/{call['id']}/explanation")).encode()
    for page in ("status", "identities", "budgets", "sessions", "findings", "changes", "bounds"):
        yield page, json.dumps(gateway.admin("GET", f"/{page}")).encode()
    for command in (["calls"], ["explain", calls[0]["id"]], ["status"], ["sessions", "--all"], ["findings"]):
        done = gateway.command(*command)
        yield " ".join(command), (done.stdout + done.stderr).encode()
    yield "metrics", metrics(gateway, world.secrets["the scrape token"])


def metrics(gateway: GatewayProcess, token: str) -> bytes:
    status, page = gateway._ask_admin("GET", "/metrics", None, {"Authorization": f"Bearer {token}"})
    assert (status, b"comptroller_calls_total" in page) == (200, True)
    return page


def spans(world: World) -> Iterator[tuple[str, bytes]]:
    """What the collector got, as it came: once the span of the last answer is there, those of all others are."""
    world.collector.span_of(world.answers[-1].call_id)
    for place, body in enumerate(world.collector.bodies):
        yield f"batch {place} of spans", body


def backup(gateway: GatewayProcess, folder: Path) -> Iterator[tuple[str, bytes]]:
    gateway.command("backup", str(folder))
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"the backup's {path.name}", path.read_bytes()


def test_planted_secrets_stay_where_they_belong(world: World, tmp_path: Path) -> None:
    gateway, secrets = world.gateway, world.secrets
    plant(world)
    for said in world.answers:
        assert_none(f"the answer {said.status}", json.dumps(said.headers).encode() + said.body, secrets)
    for place, content in admin_words(world):
        assert_none(place, content, secrets)
    told = dict(spans(world))
    assert b"agent/prod" in b"".join(told.values()), "the look at the spans is not blind"
    assert all(headers["x-key"] == secrets["the key of the collector"] for _, headers, _ in world.collector.requests)
    for place, content in told.items():
        assert_none(place, content, secrets)
    kept = dict(backup(gateway, tmp_path / "backups"))
    assert any(b"agent/prod" in content for content in kept.values()), "the look at the backup is not blind"
    for place, content in kept.items():
        assert_none(place, content, secrets)
    gateway.kill9()  # the write-ahead log stays as it is
    files = dict(everything_kept(gateway))
    assert b"agent/prod" in b"".join(content for name, content in files.items() if name != "its log")
    assert b'"agent/prod"' in files["its log"], "the look at the log is not blind"
    for place, content in files.items():
        assert_none(place, content, secrets)
    gateway.start()


def test_a_provider_hears_its_own_key_and_no_other_secret(world: World) -> None:
    """Each environment's calls leave with that environment's key, to that provider alone."""
    for name, upstream in world.upstreams.items():
        other = next(each for each in world.upstreams if each != name)
        for each in world.upstreams.values():
            each.forget()
        session = mint(world.gateway, f"agent/{name}")
        label = {"user": made_up("label"), "metadata": {"user_id": session["credential"]}}
        for path in PATHS:
            assert world.ask(session["credential"], BODIES[path] | label, path=path).status == 200
        own = f"the key of {name}"
        strange = {what: secret for what, secret in world.secrets.items() if what != own}
        assert world.upstreams[other].heard == []
        assert len(upstream.heard) == len(PATHS)
        for heard in upstream.heard:
            assert heard.head.count(world.secrets[own].encode()) == 1
            assert_none(f"what {name} heard", heard.head + heard.body, strange)
            # What a caller writes into its own body is content: it goes on as it came, and is kept nowhere.
            assert session["credential"].encode() not in heard.head
            assert label["user"].encode() in heard.body
        eventually(lambda: not world.gateway.admin("GET", "/status")["live_calls"])
        for place, content in everything_kept(world.gateway):
            assert_none(place, content, {"the label": label["user"], "the credential": session["credential"]})
