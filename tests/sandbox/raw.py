"""A plain HTTP client that shows what a broken connection left behind."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.sandbox.process import SandboxProcess

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
VERSION = {"anthropic-version": "2023-06-01"}
KEY = "sandbox-test"
TIMEOUT_S = 20


@dataclass
class Response:
    """What came back; `cut` when the connection ended before the answer did."""

    status: int | None
    headers: dict[str, str]
    body: bytes
    cut: bool = False

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of every event of a stream, parsed; without the final `[DONE]`."""
        return [json.loads(data) for data in self.data() if data != "[DONE]"]

    def data(self) -> list[str]:
        """The data of every event of a stream, as text."""
        return [event.removeprefix("data: ") for event in self.body.decode().split("\n\n") if event]

    def named_events(self) -> list[tuple[str, Any]]:
        """The name and the parsed data of every event of a Messages stream."""
        parts = [event.partition("\ndata: ") for event in self.body.decode().split("\n\n") if event]
        return [(head.removeprefix("event: "), json.loads(data)) for head, _, data in parts]

    def text(self) -> str:
        """The visible text of a stream's first choice."""
        return "".join(delta.get("content") or "" for delta in self.deltas())

    def deltas(self, index: int = 0) -> list[dict[str, Any]]:
        choices = [choice for event in self.events() for choice in event["choices"]]
        return [choice["delta"] for choice in choices if choice["index"] == index]


def chat(text: str = "hello there", /, **fields: Any) -> dict[str, Any]:
    """A request body."""
    return {"model": "sandbox-large", "messages": [{"role": "user", "content": text}]} | fields


def message(text: str = "hello there", /, **fields: Any) -> dict[str, Any]:
    """A request body for Messages."""
    return {"model": "sandbox-large", "max_tokens": 200, "messages": [{"role": "user", "content": text}]} | fields


def post_message(sandbox: SandboxProcess, body: dict[str, Any], **given: Any) -> Response:
    """Ask for a message."""
    return post(sandbox, body, path=MESSAGES, headers=VERSION, **given)


def post(
    sandbox: SandboxProcess,
    body: dict[str, Any] | bytes,
    *,
    key: str | None = KEY,
    path: str = CHAT,
    method: str = "POST",
    headers: dict[str, str] | None = None,
) -> Response:
    """Send a request and read all of the answer that comes."""
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=TIMEOUT_S)
    try:
        _send(connection, method, path, body, key, headers or {})
        return _receive(connection)
    finally:
        connection.close()


@contextmanager
def open_stream(sandbox: SandboxProcess, body: dict[str, Any]) -> Iterator[http.client.HTTPResponse]:
    """A stream whose headers have come; leaving the block hangs up."""
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=TIMEOUT_S)
    try:
        _send(connection, "POST", CHAT, body, KEY, {})
        with connection.getresponse() as response:
            yield response
    finally:
        connection.close()


@contextmanager
def unanswered(sandbox: SandboxProcess, body: dict[str, Any]) -> Iterator[http.client.HTTPConnection]:
    """A request that was sent; leaving the block hangs up without waiting for an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=TIMEOUT_S)
    try:
        _send(connection, "POST", CHAT, body, KEY, {})
        yield connection
    finally:
        connection.close()


def read_tokens(stream: http.client.HTTPResponse, count: int) -> None:
    """Read a stream until so many events with text have come."""
    while count > 0:
        line = stream.readline()
        assert line, "the stream ended early"
        count -= b'"delta":{"content":"' in line and b'"content":"","refusal"' not in line


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: dict[str, Any] | bytes,
    key: str | None,
    headers: dict[str, str],
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    authorization = {} if key is None else {"Authorization": f"Bearer {key}"}
    connection.request(method, path, content, {"Content-Type": "application/json"} | authorization | headers)


def _receive(connection: http.client.HTTPConnection) -> Response:
    try:
        response = connection.getresponse()
    except (http.client.HTTPException, ConnectionError):
        return Response(None, {}, b"", cut=True)
    headers = {name.lower(): value for name, value in response.getheaders()}
    with response:
        try:
            return Response(response.status, headers, response.read())
        except http.client.IncompleteRead as broken:
            return Response(response.status, headers, broken.partial, cut=True)
        except ConnectionError:
            return Response(response.status, headers, b"", cut=True)
