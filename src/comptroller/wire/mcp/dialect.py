"""One message of MCP as a dialect of its own: where it goes, what may pass beside it, and how it is answered."""

from __future__ import annotations

from typing import Literal, Protocol

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.head import JSON, PLAIN, Head
from comptroller.wire.mcp import answer, refusals
from comptroller.wire.mcp.answer import RpcAnswer
from comptroller.wire.mcp.headers import PARAMETER, Headers
from comptroller.wire.mcp.message import Message
from comptroller.wire.mcp.request import McpRequest, read_request
from comptroller.wire.mcp.rpc import event
from comptroller.wire.mcp.stream import RpcMeter

# Left out on purpose: credentials (a caller's token goes to no server), cookies, origin.
REQUEST_HEADERS = frozenset(
    {
        b"accept",
        b"mcp-protocol-version",
        b"mcp-session-id",
        b"mcp-method",
        b"mcp-name",
        b"last-event-id",
        b"traceparent",
        b"tracestate",
        b"baggage",
    }
)
RESPONSE_HEADERS = frozenset(
    {b"content-type", b"mcp-session-id", b"mcp-protocol-version", b"retry-after", b"allow", b"cache-control"}
)
_MOST_PARAMETERS = 64


class AskedRequest(Protocol):
    """A request as any dialect hands it on; ours comes back to us as it was."""

    @property
    def asked(self) -> Asked: ...


class McpCall:
    """The dialect of one message to one server. `message`: None before it was read, and of a GET or DELETE."""

    name = "mcp"
    family = "mcp"
    default_headers: tuple[tuple[bytes, bytes], ...] = ((b"accept", b"application/json, text/event-stream"),)
    query_parameters: frozenset[bytes] = frozenset()
    response_headers = RESPONSE_HEADERS
    request_id_header: bytes | None = None

    def __init__(self, server: str, message: Message | None, headers: Headers, *, loopback: bool = False) -> None:
        self.server = server
        self.message = message
        self.loopback = loopback  # see McpRequest
        self.request_headers = _with_parameters(headers)

    def read_request(self, body: bytes = b"", head: Head = PLAIN) -> McpRequest:
        """What its message asks for; it was read before."""
        if self.message is None:
            raise TypeError("no message was read")
        return read_request(self.server, self.message, loopback=self.loopback)

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """All messages go to the address of the server itself."""
        return ""

    def content_type(self, request: AskedRequest) -> bytes:
        """Of what `rewrite` returns."""
        return JSON

    def rewrite(
        self,
        request: AskedRequest,
        *,
        output_limit: int,
        field: Literal["max_completion_tokens", "max_tokens"],
        model: str | None = None,
    ) -> bytes:
        """The body as it came: nothing of a message is the gateway's to change."""
        return _own(request).message.body

    def read_answer(self, request: AskedRequest, body: bytes) -> RpcAnswer:
        """See answer.py."""
        return answer.read_answer(_own(request), body)

    def error_passed(self, body: bytes) -> bytes:
        """See answer.py."""
        return body if self.message is None else answer.error_passed(self.message, body, loopback=self.loopback)

    def stream_meter(self, request: AskedRequest) -> RpcMeter:
        """See stream.py."""
        return RpcMeter(_own(request))

    def refusal_body(self, refusal: Refusal, call_id: str) -> bytes:
        """See refusals.py."""
        return refusals.refusal_body(self.message, refusal, call_id)

    def refusal_event(self, refusal: Refusal, call_id: str, meter: object = None) -> bytes:
        """The same, as the event that answers the request; nothing if its stream has been answered."""
        if isinstance(meter, RpcMeter) and meter.done:
            return b""
        return event(self.refusal_body(refusal, call_id))

    def status_of(self, refusal: Refusal) -> int:
        """Of HTTP: 200 where the message says it, the refusal's own where there is nothing else that can."""
        return refusal.status if refusals.by_status(self.message, refusal) else 200


def _with_parameters(headers: Headers) -> frozenset[bytes]:
    """Parameters of a tool that its server wants in headers, too: it compares them with the body."""
    named = [name for name, _ in headers if name.startswith(PARAMETER)]
    return REQUEST_HEADERS.union(named[:_MOST_PARAMETERS]) if named else REQUEST_HEADERS


def _own(request: AskedRequest) -> McpRequest:
    if not isinstance(request, McpRequest):
        raise TypeError("a request of another dialect")
    return request
