"""Every route of the door: one that can cost money holds and charges, and no other can."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comptroller.app import ROUTES
from comptroller.core.work.stored import WITHOUT_MODEL
from comptroller.gateway.routes import NAME, ModelCall
from tests.end_to_end.caller import Said, ask, chat, mint, nanos, row_of, settled_row
from tests.harness.configuration import budget, model, process, registry
from tests.harness.forms import FORM_TYPE, form, wav
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes


def asked(path: str) -> str:
    """A path as callers write it."""
    return path.replace(NAME, "sandbox-large") + ("?alt=sse" if path.endswith(":streamGenerateContent") else "")


EVERY = [(path, method, target) for path, targets in ROUTES.table.items() for method, target in targets.items()]
GOVERNED = [
    (asked(path), method, target.dialect.name) for path, method, target in EVERY if isinstance(target, ModelCall)
]
FREE = [
    (path.replace(NAME, "sandbox-large"), method)
    for path, method, target in EVERY
    if not isinstance(target, ModelCall) and target not in {"caller", "tools"}
]  # those of MCP servers are governed too: test_mcp.py
BESIDE = [(re.sub(r"{\w+}", "anything", path), method) for path, method, target in EVERY if target == "caller"]
CONTENT = {"role": "user", "parts": [{"text": "Tell me about holds."}]}


def inlined(request: Any) -> Any:
    """A batch of Gemini."""
    return {"batch": {"inputConfig": {"requests": {"requests": [{"request": request}]}}}}


# What is asked of each dialect; what makes it too dear for `agent/poor`, if that is not a long output; which stream.
BODIES: dict[str, Any] = {
    "openai_chat": chat(),
    "openai_responses": {"model": "sandbox-large", "input": "Tell me about holds."},
    "openai_completions": {"model": "sandbox-large", "prompt": "Tell me about holds."},
    "openai_embeddings": {"model": "sandbox-large", "input": ["Tell me about holds.", "And about budgets."]},
    "openai_moderations": {"model": "sandbox-moderation", "input": "Tell me about holds."},
    "openai_image_generations": {"model": "sandbox-image", "prompt": "A hold.", "quality": "low"},
    "openai_image_edits": {"model": "sandbox-image", "prompt": "A hold.", "image[]": [b"a picture"], "quality": "low"},
    "openai_image_variations": {"model": "sandbox-picture", "image": b"a picture", "n": 2},
    "openai_speech": {"model": "sandbox-speaker", "input": "Tell me about holds.", "voice": "alloy"},
    "openai_transcriptions": {"model": "sandbox-listener", "file": wav(12)},
    "openai_translations": {"model": "sandbox-hearing", "file": wav(2), "prompt": "Of holds."},
    "openai_conversations": {"metadata": {"about": "holds"}},
    "anthropic_files": {"file": b"What is held is not spent."},
    "openai_files": {"file": b"What is held is not spent.", "purpose": "user_data"},
    "anthropic_messages": chat(max_tokens=100),
    "anthropic_count_tokens": chat(),
    "gemini": {"contents": [CONTENT]},
    "gemini_count_tokens": {"contents": [CONTENT]},
    "gemini_embeddings": {"content": CONTENT, "requests": [{"content": CONTENT}]},  # one, or a batch
    "anthropic_batches": {"requests": [{"custom_id": "one", "params": chat(max_tokens=100)}]},
    "gemini_batches": inlined({"contents": [CONTENT]}),
}
DEAR: dict[str, Any] = {
    "openai_responses": {"model": "sandbox-large", "input": "Tell me about holds.", "max_output_tokens": 4000},
    "openai_embeddings": {"input": "a long text " * 1_000},
    "openai_speech": {"input": "a long text " * 300},
    "openai_transcriptions": {"file": wav(150)},
    "openai_image_generations": {"n": 10},
    "openai_image_edits": {"n": 10},
    "openai_image_variations": {"n": 10},
    "openai_translations": {},
    "gemini": {"generationConfig": {"maxOutputTokens": 4000}},
    "gemini_embeddings": {"title": "long " * 2000},
    "anthropic_batches": {"requests": [{"custom_id": "one", "params": chat(max_tokens=4000)}]},
    "gemini_batches": inlined({"contents": [CONTENT], "generationConfig": {"maxOutputTokens": 4000}}),
}
# A model without a price, where the model stands neither in the path nor in the field `model`.
UNPRICED: dict[str, Any] = {
    "anthropic_batches": {"requests": [{"custom_id": "one", "params": chat(max_tokens=100, model="unpriced")}]},
}
UNSTREAMED = {
    *("openai_embeddings", "openai_moderations", "anthropic_count_tokens", "openai_image_variations", "openai_speech"),
    *("gemini", "gemini_count_tokens", "gemini_embeddings"),  # or by the path
    *("anthropic_batches", "gemini_batches"),
}
# With a name in the path: about an object that the caller has made before, see test_stored_responses.py, test_files.py
# and those of batches. Here nobody has made one.
OF_OBJECTS = {
    *("openai_stored_responses", "openai_batches", "openai_batch", "anthropic_batch", "gemini_batch"),
    *WITHOUT_MODEL,
}
FORMS = {
    *("anthropic_files", "openai_files", "openai_image_edits", "openai_image_variations"),
    *("openai_transcriptions", "openai_translations"),
}
# Providers take nothing for these: policed and recorded, and no call.
NOTHING_TAKEN = {"openai_moderations", "anthropic_count_tokens", "gemini_count_tokens", *WITHOUT_MODEL}
ABOUT_OBJECTS = [call for call in GOVERNED if call[2] in OF_OBJECTS and "sandbox-large" in call[0]]
OF_A_FILE = [call for call in GOVERNED if call[2] == "openai_batches"]  # that the caller has uploaded
CALLS = [call for call in GOVERNED if call not in ABOUT_OBJECTS and call not in OF_A_FILE]
PAID = [call for call in CALLS if call[2] not in NOTHING_TAKEN]
LISTED = (
    "/models",
    "/sandbox-large",
    "/files",
    "/batches",
)  # of the free ones, those that are about what is the caller's
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post")

# What providers have beside, and what a client may try.
ELSEWHERE = [
    *(
        "/v1/responses/compact",
        "/v1/responses/input_tokens",
        "/v1/uploads",
    ),
    *("/v1/images", "/v1/images/generations/1", "/v1/audio", "/v1/audio/voices", "/v1/videos", "/v1/realtime"),
    *(
        "/v1/fine_tuning/jobs",
        "/v1/assistants",
        "/v1/threads",
        "/v1/vector_stores",
        "/v1/containers",
    ),
    *("/v1/complete", "/v1/skills"),
    *("/v1beta/models/m:predict", "/v1/models/m:asyncBatchEmbedContent", "/v1beta/models/a/b:generateContent"),
    *("/v1beta/tunedModels/m:generateContent", "/v1beta/cachedContents", "/v1beta/files", "/upload/v1beta/files"),
    *("/v1beta/interactions", "/v1beta/openai/chat/completions", "/gemini/v1/chat/completions"),
    *("/v2/models/m:generateContent", "/v1beta/models/m:generateContent/", "/chat/completions", "/messages"),
    *("/v1/chat/completions/", "/v1/messages/", "/v1//messages", "/V1/messages", "/v1/messages%2f", "/v1/models/"),
    *("/openai/v1/messages", "/anthropic/v1/chat/completions", "/sandbox/bill", "/", "*", "//"),
    *(
        "/oauth/",
        "/oauth/token/x",
        "/oauth/authorize",
        "/.well-known/",
        "/.well-known/openid-configuration",
        "/comptroller/v1",
    ),
    *("/api/v1/calls", "/api/v1/openapi.json", "/metrics", "/console"),  # the admin plane listens elsewhere
]

# Other spellings of a path that can cost money: they lead where the path leads, or nowhere.
SPELLED = [
    "{}?a=b",
    "http://elsewhere.example{}",
    "//elsewhere.example{}",
    "/.{}",
    "/x/..{}",
    "{};a=b",
    "{}%00",
    "%2F{}",
]


def test_the_table_has_both_kinds() -> None:
    assert {dialect for _, _, dialect in GOVERNED} == BODIES.keys() | OF_OBJECTS
    assert OF_OBJECTS & BODIES.keys() == WITHOUT_MODEL, "what policies call a request that names no model"
    assert ("/v1/files", "GET") in FREE
    assert ("/v1/models", "GET") in FREE
    assert ("/", "HEAD") in FREE


def send(gateway: GatewayProcess, credential: str | None, dialect: str, body: Any, path: str, method: str) -> Said:
    """Ask for it in the way of its dialect."""
    if dialect not in FORMS:
        return ask(gateway, credential, body, path=path, method=method)
    return ask(gateway, credential, form(body), path=path, method=method, headers={"content-type": FORM_TYPE.decode()})


def dear(dialect: str) -> Any:
    return BODIES[dialect] | DEAR.get(dialect, {"max_tokens": 4000})


@pytest.mark.parametrize(
    ("path", "method", "dialect", "stream"),
    [(*call, stream) for call in PAID for stream in (False, True) if not stream or call[2] not in UNSTREAMED],
)
def test_a_route_that_can_cost_money_holds_and_charges(
    gateway: GatewayProcess, sandbox: SandboxProcess, path: str, method: str, dialect: str, stream: bool
) -> None:
    streamed = {} if dialect in UNSTREAMED else {"stream": stream}
    said = send(gateway, mint(gateway)["credential"], dialect, BODIES[dialect] | streamed, path, method)
    assert said.status == 200, said
    row = settled_row(gateway, said.call_id)
    (line,) = [each for each in sandbox.settled() if int(each["charge_nanos"])]  # asking for deferred work is free
    assert line["client_request_id"] == f"{row['id']}.1"
    assert 0 < int(line["charge_nanos"]) == nanos(row["charge_usd"]) <= nanos(row["held_usd"])


@pytest.mark.parametrize(("path", "method", "dialect"), [call for call in CALLS if call[2] in NOTHING_TAKEN])
def test_what_providers_take_nothing_for_is_recorded_and_draws_on_nothing(
    gateway: GatewayProcess, sandbox: SandboxProcess, path: str, method: str, dialect: str
) -> None:
    assert send(gateway, None, dialect, BODIES[dialect], path, method).status == 401
    session = mint(gateway, "agent/poor")
    before = {row["name"]: row["held"] for row in gateway.admin("GET", "/budgets")}
    said = send(gateway, session["credential"], dialect, BODIES[dialect], path, method)
    assert said.status == 200, said
    (line,) = sandbox.settled()
    row = settled_row(gateway, said.call_id)
    assert line["client_request_id"] == f"{row['id']}.1"
    assert (line["charge_nanos"], row["charge_usd"], row["held_usd"]) == ("0", "0.00", "0.00")
    assert {row["name"]: row["held"] for row in gateway.admin("GET", "/budgets")} == before
    (shown,) = [each for each in gateway.admin("GET", "/sessions?limit=1000") if each["id"] == session["session"]]
    assert shown["spent"]["model_calls"] == 0


@pytest.mark.parametrize(("path", "method", "dialect"), ABOUT_OBJECTS)
def test_what_is_about_an_object_sends_nothing_for_whoever_has_not_made_it(
    gateway: GatewayProcess, sandbox: SandboxProcess, path: str, method: str, dialect: str
) -> None:
    assert ask(gateway, None, b"", path=path, method=method).status == 401
    said = ask(gateway, mint(gateway)["credential"], b"", path=path, method=method)
    assert (said.status, said.headers["x-comptroller-refusal"]) == (404, "object_not_found")
    assert row_of(gateway, said.call_id)["refusal"] == "object_not_found"
    assert sandbox.requests() == []


def uploaded(gateway: GatewayProcess, credential: str) -> Any:
    """A batch of a file that whoever has this credential has uploaded."""
    line = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": chat()}
    file = {"file": json.dumps(line).encode(), "purpose": "batch"}
    said = send(gateway, credential, "openai_files", file, "/v1/files", "POST")
    assert said.status == 200, said
    named = json.loads(said.body)["id"]
    return {"input_file_id": named, "endpoint": "/v1/chat/completions", "completion_window": "24h"}


@pytest.mark.parametrize(("path", "method", "dialect"), OF_A_FILE)
def test_a_batch_of_a_file_holds_and_charges_for_whoever_uploaded_it_and_nobody_else(
    gateway: GatewayProcess, sandbox: SandboxProcess, path: str, method: str, dialect: str
) -> None:
    rich, poor = mint(gateway)["credential"], mint(gateway, "agent/poor")["credential"]
    batch, own = uploaded(gateway, rich), uploaded(gateway, poor)
    assert send(gateway, None, dialect, batch, path, method).status == 401
    refusals = [send(gateway, poor, dialect, each, path, method) for each in (batch, own)]
    assert [said.code for said in refusals] == ["object_unknown", "budget_exhausted"]
    assert {line["surface"] for line in sandbox.requests()} == {"files"}
    said = send(gateway, rich, dialect, batch, path, method)
    assert said.status == 200, said
    row = settled_row(gateway, said.call_id)
    (line,) = [each for each in sandbox.settled() if int(each["charge_nanos"])]
    assert line["client_request_id"] == f"{row['id']}.1"
    assert 0 < int(line["charge_nanos"]) == nanos(row["charge_usd"]) <= nanos(row["held_usd"])


@pytest.mark.parametrize(("path", "method", "dialect"), PAID)
def test_none_of_them_sends_anything_without_a_credential_or_a_budget(
    gateway: GatewayProcess, sandbox: SandboxProcess, path: str, method: str, dialect: str
) -> None:
    assert send(gateway, None, dialect, BODIES[dialect], path, method).status == 401
    poor = mint(gateway, "agent/poor")["credential"]
    assert send(gateway, poor, dialect, dear(dialect), path, method).status == 402
    assert sandbox.requests() == []


@pytest.mark.parametrize(("path", "method", "dialect"), PAID)
def test_none_of_them_sends_anything_for_a_model_without_a_price(
    gateway: GatewayProcess, sandbox: SandboxProcess, path: str, method: str, dialect: str
) -> None:
    named = {} if "sandbox-large" in path else UNPRICED.get(dialect, {"model": "unpriced"})
    target = path.replace("sandbox-large", "unpriced")
    said = send(gateway, mint(gateway)["credential"], dialect, BODIES[dialect] | named, target, method)
    assert said.status == 402
    assert said.headers["x-comptroller-refusal"] == "price_unknown"
    assert b"its tokens" in said.body, "what is missing is named"
    assert sandbox.requests() == []


@pytest.mark.parametrize(("path", "method", "dialect"), PAID)
@pytest.mark.parametrize("spelled", [*SPELLED, "letters"])
def test_another_spelling_of_its_path_is_no_way_around(
    gateway: GatewayProcess, sandbox: SandboxProcess, path: str, method: str, dialect: str, spelled: str
) -> None:
    other = "".join(f"%{ord(each):02x}" if each == "s" else each for each in path)
    target = other if spelled == "letters" else spelled.format(path)
    poor = mint(gateway, "agent/poor")["credential"]
    assert status_of(gateway, poor, dialect, dear(dialect), target, method) in {BROKEN_OFF, 400, 402, 404, 405}
    assert status_of(gateway, None, dialect, BODIES[dialect], target, method) in {BROKEN_OFF, 400, 401, 404, 405}
    assert sandbox.requests() == []


BROKEN_OFF = 0  # what is no HTTP is answered and hung up on, while a long body may still be on its way


def status_of(gateway: GatewayProcess, credential: str | None, dialect: str, body: Any, path: str, method: str) -> int:
    """What came of it."""
    try:
        return send(gateway, credential, dialect, body, path, method).status
    except ConnectionError:
        return BROKEN_OFF


class Ear:
    """A provider that only listens: whoever connects was sent by the gateway."""

    def __init__(self, plug: socket.socket) -> None:
        self._plug = plug
        self.url = f"http://127.0.0.1:{plug.getsockname()[1]}"

    def heard(self) -> bool:
        """Whether anybody connected so far."""
        try:
            self._plug.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture(scope="module")
def ear() -> Iterator[Ear]:
    with socket.create_server(("127.0.0.1", 0)) as plug:
        plug.setblocking(False)
        yield Ear(plug)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, ear: Ear) -> Iterator[GatewayProcess]:
    """A gateway whose provider is an ear."""
    folder: Path = tmp_path_factory.mktemp("alone")
    models = {"sandbox-large": model("sandbox"), "sandbox-*": model("sandbox")}
    with GatewayProcess(folder, process(ear.url), registry([budget("all", "10.00 USD")], models=models)) as gateway:
        yield gateway


def assert_free(gateway: GatewayProcess, ear: Ear) -> None:
    assert not ear.heard()
    assert gateway.admin("GET", "/calls") == []
    assert {row["held"] for row in gateway.admin("GET", "/budgets")} <= {"0.00", "0"}


@pytest.mark.parametrize(("path", "method"), FREE)
def test_a_route_that_is_free_sends_and_records_nothing(
    alone: GatewayProcess, ear: Ear, path: str, method: str
) -> None:
    credential = mint(alone)["credential"]
    for given in (credential, None):
        said = ask(alone, given, BODIES["anthropic_messages"], path=path, method=method)
        assert said.status == (200 if given is not None or not path.endswith(LISTED) else 401)
    assert_free(alone, ear)


@pytest.mark.parametrize(("path", "method"), BESIDE)
@pytest.mark.parametrize("form", [False, True])
def test_what_callers_ask_beside_calls_sends_and_records_nothing(
    alone: GatewayProcess, ear: Ear, path: str, method: str, form: bool
) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"} if form else {}
    for given in (mint(alone)["credential"], None):
        body = b"token=x&grant_type=x" if form else BODIES["anthropic_messages"]
        said = ask(alone, given, body, path=path, method=method, headers=kind)
        assert said.status in {200, 400, 401, 403, 404, 409}, said
        assert "x-comptroller-call-id" not in said.headers
    assert_free(alone, ear)


@pytest.mark.parametrize("path", [*ELSEWHERE, *sorted({path for path, _, _ in EVERY})])
def test_every_other_way_is_refused(alone: GatewayProcess, ear: Ear, path: str) -> None:
    """Every method that is not in the table, on every path that is and on those of other gateways and providers."""
    credential = mint(alone)["credential"]
    target = path.replace(NAME, "sandbox-large")
    for method in METHODS:
        if isinstance(ROUTES.find(method, target).target, ModelCall) or method in ROUTES.table.get(path, {}):
            continue
        said = ask(alone, credential, BODIES["anthropic_messages"], path=target, method=method)
        assert said.status in {400, 404, 405}, (method, target)
    assert_free(alone, ear)


# What the free ones say.


def listed(gateway: GatewayProcess, path: str, **headers: str) -> Said:
    return ask(gateway, mint(gateway)["credential"], b"", path=path, method="GET", headers=headers)


@pytest.mark.parametrize(
    ("path", "headers", "anthropic"),
    [
        ("/v1/models", {}, False),
        ("/v1/models?limit=1000", {"anthropic-version": "2023-06-01"}, True),
        ("/openai/v1/models", {"anthropic-version": "2023-06-01"}, False),
        ("/anthropic/v1/models", {}, True),
    ],
)
def test_a_model_list_has_the_shape_of_whoever_asks(
    alone: GatewayProcess, path: str, headers: dict[str, str], anthropic: bool
) -> None:
    page = json.loads(listed(alone, path, **headers).body)
    assert [each["id"] for each in page["data"]] == ["sandbox-large"]
    assert page.get("object") == (None if anthropic else "list")
    assert page.get("has_more") is (False if anthropic else None)
    bare, _, _ = path.partition("?")
    one = json.loads(listed(alone, f"{bare}/sandbox-small", **headers).body)
    assert (one["id"], one.get("object"), one.get("type")) == (
        ("sandbox-small", None, "model") if anthropic else ("sandbox-small", "model", None)
    )
    missing = listed(alone, f"{bare}/nobody", **headers)
    assert missing.status == 404
    assert ("request-id" in missing.headers) is anthropic


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1beta/models", {}),
        ("/v1beta/models?pageSize=1", {"anthropic-version": "2023-06-01"}),
        ("/gemini/v1/models", {}),
        ("/gemini/v1beta/models", {}),
        ("/v1/models", {"x-goog-api-client": "google-genai-sdk/3.4.0"}),
    ],
)
def test_a_model_list_of_gemini(alone: GatewayProcess, path: str, headers: dict[str, str]) -> None:
    page = json.loads(listed(alone, path, **headers).body)
    assert [each["name"] for each in page["models"]] == ["models/sandbox-large"]
    bare, _, _ = path.partition("?")
    one = json.loads(listed(alone, f"{bare}/sandbox-small", **headers).body)
    assert (one["name"], one["outputTokenLimit"]) == ("models/sandbox-small", 4096)
    missing = listed(alone, f"{bare}/nobody", **headers)
    assert (missing.status, missing.error["status"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize("path", ["/v1beta/models/sandbox-large:predict", "/gemini/v1/models/a:asyncBatchEmbedContent"])
def test_what_gemini_has_beside_is_no_route(alone: GatewayProcess, path: str) -> None:
    said = ask(alone, mint(alone)["credential"], BODIES["gemini"], path=path)
    assert (said.status, said.error["status"], said.error["comptroller"]["code"]) == (404, "NOT_FOUND", "route_unknown")
    assert "/models/{name}:generateContent" in said.error["message"]


@pytest.mark.parametrize("path", ["/v1beta/models", "/gemini/v1/models", "/v1/models"])
def test_the_key_in_a_query_is_a_credential_and_tells_the_api(alone: GatewayProcess, path: str) -> None:
    credential = mint(alone)["credential"]
    said = ask(alone, None, b"", path=f"{path}?key={credential}", method="GET")
    assert [each["name"] for each in json.loads(said.body)["models"]] == ["models/sandbox-large"]
    assert ask(alone, credential, b"", path=f"{path}?key={credential}", method="GET").status == 200
    other = mint(alone)["credential"]
    for query in (f"key={other}", f"key={credential}&key={other}", "key=x", f"%6bey={other}"):
        said = ask(alone, credential, b"", path=f"{path}?{query}", method="GET")
        assert (said.status, said.error["status"]) == (401, "UNAUTHENTICATED"), query


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/openai/v1/models", "/anthropic/v1/models"])
def test_the_key_in_a_query_is_none_elsewhere(alone: GatewayProcess, path: str) -> None:
    method = "POST" if "chat" in path else "GET"
    assert ask(alone, None, path=f"{path}?key={mint(alone)['credential']}", method=method).status == 401


def test_a_refusal_on_no_route_is_said_in_the_words_of_whoever_asks(alone: GatewayProcess) -> None:
    credential = mint(alone)["credential"]
    anthropic = ask(alone, credential, b"{}", path="/v1/messages/elsewhere")
    assert (anthropic.status, anthropic.error["type"]) == (404, "not_found_error")
    assert anthropic.error["comptroller"]["code"] == "route_unknown"
    assert "There is POST /v1/messages." in anthropic.error["message"], "what it stands below"
    for path in ("/chat/completions", "/v1/v1/chat/completions"):
        said = ask(alone, credential, b"{}", path=path).error["message"]
        assert "There is POST /v1/chat/completions" in said
        assert len(said) < 500, "a sentence, and no list of everything"
    openai = ask(alone, credential, b"{}", path="/v1/fine_tuning/jobs")
    assert (openai.status, openai.code) == (404, "route_unknown")


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime?model=gpt-realtime", "/v1/chat/completions", "/x"])
def test_a_websocket_is_refused_at_once_and_in_http(alone: GatewayProcess, ear: Ear, path: str) -> None:
    """What Codex asks first: on 426 it goes on with a POST, and on 404, 405 and 501 only after seconds."""
    asked = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "eA==",
    }
    said = ask(alone, mint(alone)["credential"], b"", path=path, method="GET", headers=asked)
    assert (said.status, said.code) == (426, "upgrade_refused")
    assert said.headers["upgrade"] == "HTTP/1.1"
    assert "upgrade" in said.headers["connection"] or "close" in said.headers["connection"]
    assert "sec-websocket-accept" not in said.headers
    assert_free(alone, ear)
