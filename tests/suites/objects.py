"""What the tests speak of by its id, made through the gateway before they run: an object belongs to its maker.

The mock server answers every creation with an id of its own choice. So a smaller server stands in its place at first,
which gives the ids that the tests have.
"""

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.harness.forms import FORM_TYPE, form
from tests.harness.gateway import GatewayProcess

_USAGE = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
_RESPONSE = {"object": "response", "status": "completed", "model": "gpt-5.4", "output": [], "usage": _USAGE}
_FILE = {"object": "file", "bytes": 1, "created_at": 1, "filename": "a", "purpose": "assistants", "status": "processed"}
_ASKED = {"model": "gpt-5.4", "input": "Say hi.", "max_output_tokens": 16}
_LINE = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": _ASKED}).encode()
_MESSAGES = {"model": "claude-opus-4-6", "max_tokens": 16, "messages": [{"role": "user", "content": "Say hi."}]}
_SUBMITTED = {"input_file_id": "input_file_id", "endpoint": "/v1/responses", "completion_window": "24h"}
_BATCH = {**_SUBMITTED, "object": "batch", "status": "validating", "created_at": 1}
_ANTHROPIC_FILE = {
    "type": "file",
    "filename": "a",
    "mime_type": "text/plain",
    "size_bytes": 1,
    "created_at": "2026-01-01T00:00:00Z",
    "downloadable": False,
}
_COUNTS = {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 1, "expired": 0}
_MESSAGE_BATCH = {
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": _COUNTS,
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "ended_at": "2026-01-01T00:00:01Z",
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": None,
}
JSON = b"application/json"


@dataclass(frozen=True)
class Made:
    """One object: how it is made, and what the provider says of it then."""

    path: str
    id: str
    answer: Mapping[str, Any]
    body: bytes = field(default_factory=lambda: json.dumps(_ASKED).encode())
    content_type: bytes = JSON
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def _file(name: str, purpose: str = "assistants", content: bytes = b"x") -> Made:
    sent = form({"purpose": purpose, "file": content})
    return Made("/v1/files", name, {**_FILE, "purpose": purpose}, sent, FORM_TYPE)


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _response(name: str) -> Made:
    return Made("/v1/responses", name, _RESPONSE)


# By dialect, as the tests name them.
OBJECTS: Mapping[str, tuple[Made, ...]] = {
    "openai": (
        *map(_response, ("resp_677efb5139a88190b512bc3fef8e535d", "resp_123", "response_id")),
        Made("/v1/conversations", "conv_123", {"object": "conversation", "created_at": 1, "metadata": {}}, _json()),
        _file("file_id"),
        *(_file(name, "batch", _LINE) for name in ("string", "input_file_id")),
        Made("/v1/batches", "batch_id", _BATCH, _json(**_SUBMITTED)),
    ),
    "anthropic": (
        Made(
            "/v1/messages/batches",
            "message_batch_id",
            _MESSAGE_BATCH,
            _json(requests=[{"custom_id": "a", "params": _MESSAGES}]),
        ),
        Made(
            "/v1/files",
            "file_id",
            _ANTHROPIC_FILE,
            form({"file": b"x"}),
            FORM_TYPE,
            {"anthropic-version": "2023-06-01", "anthropic-beta": "files-api-2025-04-14"},
        ),
    ),
}


class ObjectsFailed(Exception):
    """An object could not be made; the text has what the gateway answered."""


def make_objects(dialect: str, front: GatewayProcess, credential: str, provider_port: int) -> None:
    """All of a dialect, by this caller. Raises ObjectsFailed."""
    for made in OBJECTS[dialect]:
        with _giving(made, provider_port):
            _make(made, front.port, credential)


def _make(made: Made, port: int, credential: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {**made.headers, "authorization": f"Bearer {credential}", "content-type": made.content_type.decode()}
        connection.request("POST", made.path, made.body, headers)
        response = connection.getresponse()
        said = response.read().decode(errors="replace")
    finally:
        connection.close()
    if response.status != 200 or json.loads(said).get("id") != made.id:
        raise ObjectsFailed(f"{made.path} {made.id}: {response.status} {said}")


@contextmanager
def _giving(made: Made, port: int) -> Iterator[None]:
    """A provider that answers everything with this object."""
    answer = json.dumps({**made.answer, "id": made.id}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name is the library's
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
