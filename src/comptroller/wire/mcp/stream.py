"""A stream of a server's messages as it passes: what is said on the way, then the response that ends it."""

from __future__ import annotations

from comptroller.core.pricing.usage import Usage
from comptroller.wire.event_stream import EventSplitter, EventTooLarge, event_data
from comptroller.wire.mcp.answer import SAID, RpcAnswer, Said, judged, same_id, too_large_body
from comptroller.wire.mcp.request import McpRequest
from comptroller.wire.mcp.rpc import event


class RpcMeter:
    """Reads the stream that answers one request (flow.dialect.Meter). Nothing here raises.

    Notifications and the server's own requests go on as they came; the response ends the stream, and what comes
    after it goes nowhere. An answer to somebody else goes nowhere, too.
    """

    usage_final = True
    seen_output_tokens = 0
    input_usage: Usage | None = None
    served_model: str | None = None

    def __init__(self, request: McpRequest) -> None:
        self.malformed = False
        self.error = False  # nothing that a server says in its protocol is a failure of the exchange
        self.done = False
        self.started = False
        self.answer: RpcAnswer | None = None
        self._request = request
        self._splitter = EventSplitter()

    @property
    def usage(self) -> Usage | None:
        """Of the response, once it has come."""
        return self.answer.usage if self.answer is not None else None

    def feed(self, chunk: bytes) -> bytes:
        """Read what came; returns the whole events of it that go on."""
        if self.done or self.malformed:
            return b""
        try:
            events = self._splitter.feed(chunk)
        except EventTooLarge:
            return self._give_up()
        return b"".join([self._take(each) for each in events])

    def finish(self) -> bytes:
        """The stream is at its end. Half an event says nothing, unless all of its data came."""
        rest, self._splitter = self._splitter.rest(), EventSplitter()
        return self._take(rest) if rest and not self.malformed else b""

    def cut_short(self) -> bytes:
        """Nothing ends such a stream but its response: it is never cut at a limit of tokens."""
        return b""

    def _take(self, raw: bytes) -> bytes:
        data = event_data(raw)
        if self.done or data is None or not data.strip():
            return b"" if self.done else raw  # a comment that keeps it open, or an id to go on from
        try:
            said = SAID.decode(data)
        except (ValueError, RecursionError):
            self.malformed = True
            return b""
        if said.method:
            return raw
        return self._response(raw, said)

    def _response(self, raw: bytes, said: Said) -> bytes:
        rpc_id = self._request.message.id
        if said.answers and (rpc_id is None or not same_id(rpc_id, said.id)):
            return b""
        answer = judged(self._request, said)
        if answer.malformed:
            self.malformed = True
            return b""
        self.answer, self.done, self.started = answer, True, True
        if answer.passed is not None:
            return event(answer.passed)
        return raw + b"\n" if raw.endswith(b"\r") else raw  # the other half of its end comes when nothing goes on

    def _give_up(self) -> bytes:
        """One message is larger than anybody keeps: it is a result, for nothing else is of any use so large."""
        tool = self._request.asked.tool
        size, self._splitter = self._splitter.half, EventSplitter()
        if tool is None:
            self.malformed = True
            return b""
        passed = too_large_body(self._request, tool, size)
        usage = Usage(0, 0, result_bytes=min(len(passed), tool.result_bytes))
        self.answer, self.done, self.started = RpcAnswer(usage, passed=passed, failed=True), True, True
        return event(passed)
