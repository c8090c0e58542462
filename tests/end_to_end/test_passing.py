"""What goes on to a provider and what comes back: headers, query strings, credentials, and nothing else."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import ask, chat, encoded, mint, settled_row
from tests.end_to_end.plug import exchange
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import PROVIDER_KEY, GatewayProcess
from tests.harness.recorder import CHAT_ANSWER, MESSAGE_ANSWER, USAGE, Recorder, respond, stream

pytestmark = pytest.mark.processes

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
BODY = chat(max_tokens=20)
BODIES = {CHAT: BODY, RESPONSES: {"model": "sandbox-large", "input": "Hello"}, MESSAGES: BODY}
PROXY = "127.0.0.1"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def own(upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("passing")
    settings = process(upstream.url, trusted_proxies=[f"{PROXY}/32"])
    with GatewayProcess(folder, settings, registry([budget("all", "1000.00 USD")])) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@pytest.fixture(autouse=True)
def fresh(upstream: Recorder) -> None:
    upstream.forget()


# To the provider.

# Always there, and ours.
OF_OPENAI = ["accept-encoding", "authorization", "content-length", "content-type", "host", "x-client-request-id"]
OURS = {
    CHAT: OF_OPENAI,
    RESPONSES: OF_OPENAI,
    MESSAGES: [
        *("accept-encoding", "anthropic-version", "content-length", "content-type", "host"),
        *("x-api-key", "x-client-request-id"),
    ],
}

# Whatever a caller, or somebody between us, may send.
SENT = {
    "accept": "text/html",
    "openai-beta": "assistants=v2",
    "anthropic-beta": "a-2025-01-01,b-2025-02-02",
    "anthropic-version": "2026-10-21",
    "user-agent": "claude-cli/2.1.330",
    "x-app": "cli",
    "accept-encoding": "gzip, br, zstd",
    "accept-language": "de",
    "range": "bytes=0-5",
    "if-none-match": "x",
    "openai-organization": "org-1",
    "openai-project": "proj-1",
    "anthropic-workspace-id": "ws-1",
    "anthropic-user-profile-id": "up-1",
    "x-goog-user-project": "p-1",
    "chatgpt-account-id": "acc-1",
    "cookie": "session=1",
    "referer": "https://acme.example",
    "origin": "https://acme.example",
    "x-forwarded-for": "198.51.100.1",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "acme.example",
    "forwarded": "for=198.51.100.1",
    "via": "1.1 proxy",
    "x-real-ip": "198.51.100.1",
    "true-client-ip": "1.1.1.1",
    "proxy-authorization": "Basic eA==",
    "proxy-connection": "keep-alive",
    "te": "trailers",
    "trailer": "x-t",
    "connection": "keep-alive, x-hop, accept",
    "keep-alive": "timeout=9",
    "x-hop": "1",
    "upgrade": "h2c",
    "x-stainless-lang": "python",
    "x-stainless-retry-count": "2",
    "idempotency-key": "i-1",
    "session-id": "s",
    "x-client-request-id": "mine",
    "x-request-id": "mine",
    "request-id": "mine",
    "traceparent": "00-0-0-00",
    "x-claude-code-session-id": "s",
    "x-codex-turn-metadata": "{}",
    "x-comptroller-call-id": "call_mine",
    "x-http-method-override": "DELETE",
    "x-original-url": "/v1/files",
    "x-rewrite-url": "/v1/files",
    "api_key": "under",
    "x_api_key": "under",
    "authorization2": "x",
    "x-amz-security-token": "x",
}

PASSED = {
    CHAT: {"accept": "text/html", "openai-beta": "assistants=v2"},
    RESPONSES: {"accept": "text/html", "openai-beta": "assistants=v2"},
    MESSAGES: {
        "accept": "text/html",
        "anthropic-beta": "a-2025-01-01,b-2025-02-02",
        "anthropic-version": "2026-10-21",
    },
}


@pytest.mark.parametrize("path", BODIES)
def test_only_what_is_on_the_list_goes_on(own: GatewayProcess, upstream: Recorder, path: str) -> None:
    said = ask(own, mint(own)["credential"], BODIES[path], path=path, headers=SENT)
    assert said.status == 200
    heard = upstream.only()
    assert heard.names == sorted({*OURS[path], *PASSED[path]})
    headers = dict(heard.headers)
    assert {name: headers[name] for name in PASSED[path]} == PASSED[path]
    assert headers["host"] == f"127.0.0.1:{upstream.port}"
    assert headers["x-client-request-id"] == f"{said.call_id}.1"
    assert headers["accept-encoding"] == "identity"
    assert headers["content-length"] == str(len(heard.body))
    assert heard.line == f"POST {path} HTTP/1.1"


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_caller_that_sends_next_to_nothing(own: GatewayProcess, upstream: Recorder, path: str) -> None:
    body = encoded(BODY)
    bare = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {mint(own)['credential']}\r\n"
    exchange(own.port, [f"{bare}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body])
    heard = upstream.only()
    assert heard.names == OURS[path]
    assert dict(heard.headers).get("anthropic-version") == (None if path == CHAT else "2023-06-01")


@pytest.mark.parametrize(("path", "name"), [(CHAT, "openai-beta"), (MESSAGES, "anthropic-beta"), (CHAT, "accept")])
def test_a_header_that_is_repeated_stays_repeated(
    own: GatewayProcess, upstream: Recorder, path: str, name: str
) -> None:
    lines = [f"{name}: one", f"{name.upper()}: two", f"{name}:three"]
    send(own, path, *lines)
    assert [value for each, value in upstream.only().headers if each == name] == ["one", "two", "three"]


def send(gateway: GatewayProcess, path: str, *lines: str | bytes, body: bytes = encoded(BODY)) -> bytes:
    """A request with these lines in its head, written by hand; the whole answer."""
    usual = ["host: x", f"authorization: Bearer {mint(gateway)['credential']}", "connection: close"]
    if not any(b"content-length" in (line if isinstance(line, bytes) else line.encode()).lower() for line in lines):
        usual.append(f"content-length: {len(body)}")
    head = [f"POST {path} HTTP/1.1", *usual, *lines]
    raw = b"\r\n".join(line if isinstance(line, bytes) else line.encode("latin-1") for line in head)
    return exchange(gateway.port, [raw + b"\r\n\r\n" + body])


SMUGGLED = {
    "a folded line": [b"accept: a\r\n b: c"],
    "a bare carriage return": [b"accept: a\rx-api-key: b"],
    "a bare line feed": [b"accept: a\nx-api-key: b"],
    "a zero": [b"accept: a\0b"],
    "a control character": [b"accept: a\x07b"],
    "a space before the colon": [b"accept : a"],
    "a space in a name": [b"acc ept: a"],
    "a tab before a name": [b"\taccept: a"],
    "no name": [b": a"],
    "a name above ascii": [b"acc\xc3\xa9pt: a"],
    "two lengths": [b"content-length: 10", b"content-length: 20"],
    "a list of lengths": [b"content-length: 5, 5"],
    "a length with a sign": [b"content-length: +10"],
    "a length in hexadecimal": [b"content-length: 0x10"],
    "a length and chunks": [b"content-length: 10", b"transfer-encoding: chunked"],
    "chunks that are not last": [b"content-length: 10", b"transfer-encoding: chunked, gzip"],
    "chunks in another spelling": [b"content-length: 10", b"transfer-encoding: xchunked"],
    "chunks twice": [b"transfer-encoding: chunked", b"transfer-encoding: identity", b"content-length: 10"],
    "chunks with a tab": [b"content-length: 10", b"transfer-encoding:\x0bchunked"],
}


@pytest.mark.parametrize("name", SMUGGLED)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_what_two_parsers_could_read_differently_goes_nowhere(
    own: GatewayProcess, upstream: Recorder, path: str, name: str
) -> None:
    answer = send(own, path, *SMUGGLED[name])
    assert answer.startswith(b"HTTP/1.1 400") or answer == b"", answer[:200]
    assert upstream.heard == []


def test_a_value_above_ascii_goes_on_as_it_came(own: GatewayProcess, upstream: Recorder) -> None:
    assert send(own, CHAT, b"accept: \xc3\xa9\xff").startswith(b"HTTP/1.1 200")
    assert b"\r\naccept: \xc3\xa9\xff\r\n" in upstream.only().head


def test_a_trailer_is_no_header(own: GatewayProcess, upstream: Recorder) -> None:
    body = encoded(BODY)
    chunked = b"%x;ext=1\r\n%b\r\n0\r\nopenai-beta: late\r\nx-api-key: other\r\n\r\n" % (len(body), body)
    answer = send(own, CHAT, b"transfer-encoding: chunked", b"x-content-length: 0", body=chunked)
    assert answer.startswith(b"HTTP/1.1 200")
    heard = upstream.only()
    assert heard.names == OURS[CHAT]
    assert json.loads(heard.body)["messages"] == BODY["messages"]


@pytest.mark.parametrize(
    ("path", "query", "passed"),
    [
        (CHAT, "api_key=x&organization=y&api-version=1", ""),
        (CHAT, "beta=true", ""),
        (MESSAGES, "beta=true", "?beta=true"),
        (MESSAGES, "api_key=x&beta=true&key=y&workspace=z", "?beta=true"),
        (MESSAGES, "beta=true&beta=false", "?beta=true&beta=false"),
        (MESSAGES, "beta=%0d%0ax-api-key:y", ""),
        (MESSAGES, "beta=true%26key%3Dy", ""),
        (MESSAGES, "BETA=true", ""),
        (MESSAGES, "beta=tr%75e", ""),
        (MESSAGES, "beta=true;key=y", ""),
        (MESSAGES, "beta[]=true", ""),
        (MESSAGES, "beta=" + "x" * 5000, ""),
        (MESSAGES, "?beta=true", ""),
    ],
)
def test_the_query_string(own: GatewayProcess, upstream: Recorder, path: str, query: str, passed: str) -> None:
    assert ask(own, mint(own)["credential"], BODY, path=f"{path}?{query}").status == 200
    assert upstream.only().line == f"POST {path}{passed} HTTP/1.1"


SLOTS = {
    "bearer": lambda credential: {"authorization": f"Bearer {credential}"},
    "bearer in lower case": lambda credential: {"authorization": f"bearer   {credential}  "},
    "bare": lambda credential: {"authorization": credential},
    "x-api-key": lambda credential: {"x-api-key": credential},
    "api-key": lambda credential: {"Api-Key": credential},
    "x-goog-api-key": lambda credential: {"x-goog-api-key": credential},
    "all": lambda credential: {
        "authorization": f"Bearer {credential}",
        "x-api-key": credential,
        "api-key": credential,
        "x-goog-api-key": credential,
    },
}


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_credential_is_taken_out_of_any_slot(own: GatewayProcess, upstream: Recorder, path: str, slot: str) -> None:
    credential = mint(own)["credential"]
    assert ask(own, None, BODY, path=path, headers=SLOTS[slot](credential)).status == 200
    heard = upstream.only()
    assert heard.names == sorted({*OURS[path], *(["accept"] if "accept" in heard.names else [])})
    assert credential not in (heard.head + heard.body).decode("latin-1")
    keys = {"authorization": f"Bearer {PROVIDER_KEY}"} if path == CHAT else {"x-api-key": PROVIDER_KEY}
    assert {name: value for name, value in heard.headers if PROVIDER_KEY in value} == keys


# Back to the caller.

# Whatever a provider, or somebody in front of it, may send.
ANSWERED = {
    "X-Request-Id": "req-1",
    "Request-Id": "req-2",
    "OpenAI-Version": "2020-10-01",
    "OpenAI-Processing-Ms": "5",
    "Retry-After": "3",
    "Retry-After-Ms": "3000",
    "X-Should-Retry": "true",
    "X-RateLimit-Limit-Requests": "10",
    "X-RateLimit-Remaining-Tokens": "9",
    "X-RateLimit-Reset-Requests": "1s",
    "Anthropic-RateLimit-Requests-Limit": "10",
    "Anthropic-Priority-Input-Tokens-Remaining": "7",
    "OpenAI-Organization": "acme-secret",
    "OpenAI-Project": "proj",
    "Anthropic-Organization-Id": "org",
    "Anthropic-Workspace-Id": "ws",
    "Set-Cookie": "__cf_bm=1; Domain=.openai.com",
    "Set-Cookie2": "a=b",
    "Server": "cloudflare",
    "CF-Ray": "1-FRA",
    "CF-Cache-Status": "DYNAMIC",
    "Alt-Svc": 'h3=":443"',
    "Via": "1.1 x",
    "Strict-Transport-Security": "max-age=1",
    "Access-Control-Allow-Origin": "*",
    "X-Envoy-Upstream": "1",
    "Location": "https://elsewhere.example",
    "WWW-Authenticate": "Bearer",
    "Refresh": "0;url=x",
    "Link": "<x>",
    "Connection": "x-hop",
    "Keep-Alive": "timeout=5",
    "X-Hop": "1",
    "Trailer": "x-t",
    "Upgrade": "h2c",
    "X-Comptroller-Call-Id": "call_forged",
    "X-Comptroller-Charge-Usd": "0",
    "X-Comptroller-Model": "forged",
    "X-Comptroller-Error-Source": "forged",
    "Content-Security-Policy": "x",
    "Date": "Mon, 01 Jan 2001 00:00:00 GMT",
    "X-Api-Key": "echo",
    "Authorization": "Bearer echo",
    "Content-Language": "en",
    "Age": "1",
    "ETag": "x",
}

BACK = {
    CHAT: {
        *("x-request-id", "openai-version", "openai-processing-ms", "retry-after", "retry-after-ms", "x-should-retry"),
        *("x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests"),
    },
    MESSAGES: {
        *("request-id", "retry-after", "retry-after-ms", "x-should-retry"),
        *("anthropic-ratelimit-requests-limit", "anthropic-priority-input-tokens-remaining"),
    },
}
GOVERNED = {
    "date",
    "content-type",
    "content-length",
    "x-comptroller-call-id",
    "x-comptroller-model",
    "x-comptroller-remaining-usd",
}
ANSWERS: dict[str, Any] = {CHAT: CHAT_ANSWER, MESSAGES: MESSAGE_ANSWER}
LINES = tuple(f"{name}: {value}" for name, value in ANSWERED.items())


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("status", ["200 OK", "429 Slow Down", "500 Oh"])
def test_only_what_is_on_the_list_comes_back(own: GatewayProcess, upstream: Recorder, path: str, status: str) -> None:
    upstream.answer = lambda _: respond(ANSWERS[path], *LINES, status=status)
    said = ask(own, mint(own)["credential"], BODY, path=path)
    assert said.status == int(status[:3])
    failed = set() if status.startswith("200") else {"x-comptroller-error-source"}
    assert said.headers.keys() == BACK[path] | GOVERNED | failed | {"x-comptroller-charge-usd"}
    assert said.headers["x-comptroller-call-id"] != "call_forged"
    assert said.headers["x-comptroller-model"] == "sandbox-large"
    assert said.headers.get("x-comptroller-error-source", "provider") == "provider"
    assert said.headers["date"] != ANSWERED["Date"]
    sent = {name.lower(): value for name, value in ANSWERED.items()}
    assert {name: said.headers[name] for name in BACK[path]} == {name: sent[name] for name in BACK[path]}


EVENTS: dict[str, list[bytes]] = {
    CHAT: [
        b'data: {"model": "sandbox-large", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n',
        b'data: {"model": "sandbox-large", "choices": [], "usage": %b}\n\n' % json.dumps(USAGE).encode(),
        b"data: [DONE]\n\n",
    ],
    MESSAGES: [
        b'event: message_start\ndata: {"type": "message_start", "message": %b}\n\n'
        % json.dumps(MESSAGE_ANSWER).encode(),
        b'event: message_delta\ndata: {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 2}}\n\n',
        b'event: message_stop\ndata: {"type": "message_stop"}\n\n',
    ],
}


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_stream_begins_with_the_same_headers(own: GatewayProcess, upstream: Recorder, path: str) -> None:
    upstream.answer = lambda _: stream(*EVENTS[path], headers=LINES)
    said = ask(own, mint(own)["credential"], BODY | {"stream": True}, path=path)
    assert said.status == 200
    framing = {"transfer-encoding"}
    assert said.headers.keys() == BACK[path] | framing | GOVERNED - {"content-length"}
    assert said.headers["x-comptroller-call-id"] != "call_forged"


def test_headers_that_come_twice_come_back_twice(own: GatewayProcess, upstream: Recorder) -> None:
    upstream.answer = lambda _: respond(CHAT_ANSWER, "x-request-id: one", "X-Request-Id: two", "set-cookie: a=b")
    answer = send(own, CHAT)
    assert re.findall(rb"x-request-id: (\w+)", answer) == [b"one", b"two"]
    assert b"cookie" not in answer.lower()


@pytest.mark.parametrize("value", [b"a\x01b", b"a\x7fb", b"a\tb"])
def test_a_value_that_is_no_text_stays_behind(own: GatewayProcess, upstream: Recorder, value: bytes) -> None:
    plain = respond(CHAT_ANSWER, "x-request-id: VALUE", "openai-version: fine")
    upstream.answer = lambda _: plain.replace(b"VALUE", value)
    said = ask(own, mint(own)["credential"], BODY)
    if said.status == 200:
        assert "x-request-id" not in said.headers
        assert said.headers["openai-version"] == "fine"
    else:
        assert (said.status, said.code) == (502, "upstream_failed")


def test_a_trailer_of_the_provider_stays_behind(own: GatewayProcess, upstream: Recorder) -> None:
    pieces = stream(*EVENTS[CHAT])
    upstream.answer = lambda _: [*pieces[:-1], b"0\r\nx-request-id: late\r\nset-cookie: a=b\r\n\r\n"]
    said = ask(own, mint(own)["credential"], BODY | {"stream": True})
    assert said.status == 200
    assert b"late" not in said.body
    assert b"cookie" not in said.body


def test_our_own_refusals_carry_our_own_ids(own: GatewayProcess, upstream: Recorder) -> None:
    for path, name in ((CHAT, None), (MESSAGES, "request-id")):
        said = ask(own, None, BODY, path=path)
        expected = {"content-type", "content-length", "date", "x-comptroller-call-id", "x-comptroller-refusal"}
        assert said.headers.keys() == expected | {"x-should-retry"} | ({name} if name else set())
        assert name is None or said.headers[name] == said.call_id
    assert upstream.heard == []


# Where the caller is.


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({}, PROXY),
        ({"x-forwarded-for": "6.6.6.6, 198.51.100.1"}, "198.51.100.1"),
        ({"x-forwarded-for": "6.6.6.6, 198.51.100.1, 127.0.0.1"}, "198.51.100.1"),
        ({"x-forwarded-for": "198.51.100.1, unknown"}, PROXY),
        ({"forwarded": 'for=6.6.6.6, for="[2001:db8::1]:5"'}, "2001:db8::1"),
        ({"x-real-ip": "6.6.6.6"}, PROXY),
    ],
)
def test_the_callers_address_is_recorded_as_a_named_proxy_says(
    own: GatewayProcess, upstream: Recorder, headers: dict[str, str], address: str
) -> None:
    credential = mint(own)["credential"]
    good = ask(own, credential, BODY, headers=headers)
    bad = ask(own, credential, BODY | {"max_tokens": -1}, headers=headers)
    assert (good.status, bad.status) == (200, 400)
    for said in (good, bad):
        assert settled_row(own, said.call_id)["client_address"] == address
    told = own.admin("GET", f"/calls/{good.call_id}/explanation")["sentences"][0]
    assert f"called from {address} (team" in told


def test_without_named_proxies_a_header_says_nothing(gateway: GatewayProcess) -> None:
    said = ask(gateway, mint(gateway)["credential"], BODY, headers={"x-forwarded-for": "6.6.6.6"})
    assert settled_row(gateway, said.call_id)["client_address"] == PROXY
