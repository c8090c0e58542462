"""What a provider says of the gateway's own key: a refused key is our fault, and no answer shows it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import ask, chat, mint, row_of, settled_row
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import PROVIDER_KEY, GatewayProcess
from tests.harness.recorder import CHAT_ANSWER, USAGE, Heard, Recorder, respond, stream

pytestmark = pytest.mark.processes

KEY = PROVIDER_KEY
MASK = "[key of the gateway]"
PATHS = ["/v1/chat/completions", "/v1/messages"]
BODY = chat(max_tokens=20)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def own(upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("key")
    with GatewayProcess(folder, process(upstream.url), registry([budget("all", "1000.00 USD")])) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@pytest.fixture(autouse=True)
def fresh(upstream: Recorder) -> None:
    upstream.forget()


def records(gateway: GatewayProcess) -> bytes:
    """All that the gateway keeps and writes, raw; everything is in the tables by then."""
    gateway.admin("GET", "/status")
    files = [path.read_bytes() for path in gateway.state.rglob("*") if path.is_file()]
    return b"".join([*files, gateway.log().encode()])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", ["401 Unauthorized", "402 Payment Required", "403 Forbidden"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_key_that_the_provider_refuses_is_ours_to_mend(
    own: GatewayProcess, upstream: Recorder, path: str, status: str, streamed: bool
) -> None:
    error = {"error": {"message": f"Incorrect API key provided: {KEY}", "type": "authentication_error"}}
    upstream.answer = lambda _: respond(error, f"request-id: {KEY}", f"x-request-id: {KEY}", status=status)
    said = ask(own, mint(own)["credential"], BODY | {"stream": streamed}, path=path)
    assert said.status == 503
    assert said.error.get("code", said.error.get("comptroller", {}).get("code")) == "provider_credential_rejected"
    assert "Incorrect API key" not in said.body.decode()
    assert KEY not in f"{said.headers} {said.body}"
    assert "x-comptroller-error-source" not in said.headers
    row = settled_row(own, said.call_id)
    assert (row["charge_usd"], row["outcome"]) == ("0.00", "provider_refused")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "status", ["400 Bad Request", "404 Not Found", "413 Too Large", "422 What", "429 Slow Down", "500 Oh", "529 Busy"]
)
def test_every_other_error_keeps_its_face(own: GatewayProcess, upstream: Recorder, path: str, status: str) -> None:
    body = b'{"error":  {"message": "the provider\\u0027s \\/ own words"}}'
    upstream.answer = lambda _: respond(body, "retry-after: 7", "set-cookie: a=b", status=status)
    said = ask(own, mint(own)["credential"], BODY, path=path)
    assert (f"{said.status}", said.body) == (status[:3], body)
    assert said.headers["x-comptroller-error-source"] == "provider"
    assert said.headers["retry-after"] == "7"
    assert "set-cookie" not in said.headers


ECHOES = {
    "as it is": KEY,
    "in a sentence": f"no such account for {KEY}, sorry",
    "with json escapes": KEY.replace("-", "\\u002d").replace("k", "\\u006b"),
    "its greater part": f"bad key {KEY[:-3]}***",
    "its end": f"bad key ***{KEY[4:]}",
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("status", ["400 Bad Request", "500 Oh", "200 OK"])
def test_an_error_does_not_show_our_key(
    own: GatewayProcess, upstream: Recorder, path: str, echo: str, status: str
) -> None:
    text = ECHOES[echo]
    upstream.answer = lambda _: respond(
        b'{"error": {"message": "%b", "code": "x"}}' % text.encode(), f"x-request-id: {KEY}", status=status
    )
    said = ask(own, mint(own)["credential"], BODY, path=path)
    shown = said.body.decode()
    assert KEY not in str(said.headers)
    assert said.status == int(status[:3])
    assert json.loads(shown)["error"]["code"] == "x", "the rest of it is as it was"
    assert MASK in json.loads(shown)["error"]["message"]
    for run in (KEY[at : at + 16] for at in range(len(KEY) - 15)):
        assert run not in shown
        assert run not in json.dumps(json.loads(shown))


def with_answer(**changes: Any) -> bytes:
    return respond(CHAT_ANSWER | changes)


def test_an_answer_does_not_show_our_key(own: GatewayProcess, upstream: Recorder) -> None:
    message = {"role": "assistant", "content": f"the key is {KEY}."}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    upstream.answer = lambda _: with_answer(choices=choices, model=f"m-{KEY}", service_tier=f"t-{KEY}", id=KEY)
    said = ask(own, mint(own)["credential"], BODY)
    assert said.status == 200
    assert json.loads(said.body)["choices"][0]["message"]["content"] == f"the key is {MASK}."
    assert said.headers["x-comptroller-model"] == f"m-{MASK}"
    assert KEY not in f"{said.headers} {said.body}"
    assert row_of(own, said.call_id)["served_model"] == f"m-{MASK}"
    assert KEY.encode() not in records(own)
    assert KEY not in json.dumps(
        [own.admin("GET", f"/calls/{said.call_id}/explanation"), own.admin("GET", "/findings")]
    )


def event(delta: str, **more: Any) -> bytes:
    chunk = {"id": "c", "model": "sandbox-large", "choices": [{"index": 0, "delta": {"content": delta}}], **more}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


END = (
    b"data: " + json.dumps({"choices": [], "usage": USAGE, "model": "sandbox-large"}).encode() + b"\n\ndata: [DONE]\n\n"
)
ERROR = b'data: {"error": {"message": "bad key %b", "type": "server_error"}}\n\n'


def at_every(size: int, text: bytes) -> list[bytes]:
    return [text[at : at + size] for at in range(0, len(text), size)]


STREAMS = {
    "in one event": [event("Hi"), event(f"it is {KEY}!"), END],
    "in pieces of 7 bytes": at_every(7, event("Hi") + event(f"it is {KEY}!") + END),
    "in an error event": [event("Hi"), ERROR % KEY.encode()],
    "in an error event, escaped": [event("Hi"), ERROR % KEY.replace("-", "\\u002d").encode()],
    "in part, in an error event": at_every(11, event("Hi") + ERROR % KEY[3:].encode()),
    "in a comment": [b": " + KEY.encode() + b"\n\n", event("Hi"), END],
    "in a stream of no events": at_every(1 << 16, b"x" * (9 << 20) + KEY.encode()),
    "in half an event at the end": [event("Hi"), END[:-2], KEY.encode()[:12], KEY.encode()[12:]],
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_does_not_show_our_key(own: GatewayProcess, upstream: Recorder, name: str) -> None:
    upstream.answer = lambda _: stream(*STREAMS[name], headers=(f"x-request-id: {KEY}",))
    said = ask(own, mint(own)["credential"], BODY | {"stream": True})
    assert said.status == 200
    assert KEY not in f"{said.headers} {said.body}"
    assert KEY[3:].encode() not in said.body
    settled_row(own, said.call_id)
    if "at the end" not in name and "no events" not in name:
        assert MASK.encode() in said.body
    assert KEY.encode() not in records(own)


@pytest.mark.parametrize("status", ["600 Beyond", "999 Denied", "204 No Content", "205 Reset", "304 Not Modified"])
def test_a_status_that_no_error_has(own: GatewayProcess, upstream: Recorder, status: str) -> None:
    upstream.answer = lambda _: respond(b"", status=status)
    said = ask(own, mint(own)["credential"], BODY)
    assert (said.status, said.code) == (502, "upstream_failed")
    assert settled_row(own, said.call_id)["presumed"]


def test_a_redirect_is_not_followed(own: GatewayProcess, upstream: Recorder) -> None:
    with Recorder() as elsewhere:
        upstream.answer = lambda _: respond(b"", f"Location: {elsewhere.url}/v1/x", status="307 Temporary Redirect")
        said = ask(own, mint(own)["credential"], BODY)
        assert (said.status, said.code) == (502, "upstream_failed")
        assert elsewhere.url not in f"{said.headers} {said.body}"
        assert elsewhere.heard == []
    assert len(upstream.heard) == 1


def test_the_key_goes_where_its_dialect_wants_it(own: GatewayProcess, upstream: Recorder) -> None:
    found: list[tuple[str, str]] = []
    for path in PATHS:
        upstream.forget()
        assert ask(own, mint(own)["credential"], BODY, path=path).status == 200
        heard: Heard = upstream.only()
        found += [(name, value) for name, value in heard.headers if KEY in value]
        assert (heard.head + heard.body).count(KEY.encode()) == 1
    assert found == [("authorization", f"Bearer {KEY}"), ("x-api-key", KEY)]
