"""A receiver of spans: OTLP over HTTP on a socket of its own, decoded by the messages of the protocol."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

WAIT_S = 30.0


class Received(NamedTuple):
    """One span, with what stood around it."""

    span: Any
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: tuple[str, str, str]  # name, version, schema

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def parent_id(self) -> str:
        return self.span.parent_span_id.hex()


class CollectorServer:
    """`with CollectorServer() as collector: ...`. `answers`: the statuses of its first answers; then 200."""

    def __init__(self, answers: Sequence[int] = ()) -> None:
        self.requests: list[tuple[str, dict[str, str], int]] = []  # path, headers, status answered
        self.bodies: list[bytes] = []
        self._answers = deque(answers)
        self._spans: list[Received] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="collector", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def spans(self, enough: Callable[[list[Received]], bool]) -> list[Received]:
        """Every span so far, once they are enough."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self._spans), WAIT_S), f"only {self._spans}"
            return list(self._spans)

    def span_of(self, call_id: str) -> Received:
        """The one span of a call."""

        def mine(spans: list[Received]) -> list[Received]:
            return [one for one in spans if one.attributes.get("comptroller.call.id") == call_id]

        (found,) = mine(self.spans(lambda spans: bool(mine(spans))))
        return found

    def wait_for_requests(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, WAIT_S)

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        with self._changed:
            status = self._answers.popleft() if self._answers else 200
            self.requests.append((path, headers, status))
            self.bodies.append(body)
            if status == 200:
                self._spans.extend(_decoded(body))
            self._changed.notify_all()
            return status

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self._take

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the library
                """Nobody reads it."""

        return Handler


def _decoded(body: bytes) -> list[Received]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Received(
            span,
            _values(span.attributes),
            _values(each.resource.attributes),
            (scope.scope.name, scope.scope.version, scope.schema_url),
        )
        for each in request.resource_spans
        for scope in each.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
