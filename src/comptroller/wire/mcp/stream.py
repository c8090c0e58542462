"""A stream of a server's messages as it passes: what is said on the way, then the response that ends it."""

from __future__ import annotations

from comptroller.core.pricing.tool_estimate import most_units
from comptroller.core.pricing.usage import Usage
from comptroller.wire.event_stream import EventSplitter, EventTooLarge, event_data
from comptroller.wire.mcp import elicitation
from comptroller.wire.mcp.answer import SAID, RpcAnswer, Said, judged, same_id, too_large_body, withheld
from comptroller.wire.mcp.request import McpRequest
from comptroller.wire.mcp.rpc import event

MOST_SAID_BYTES = 4 * 1024 * 1024  # notifications and the like on the way to one response; what is more is left out


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
        self._said = 0  # bytes beside the response
        self._bounded = request.asked.tool is not None

    @property
    def over(self) -> bool:
        """Nothing that still comes goes on to anybody."""
        return self.done

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
        if said.confused:
            self.malformed = self._request.message.id is not None
            return b""
        return self._beside(raw, said) if said.method else self._response(raw, said, len(data))

    def _beside(self, raw: bytes, said: Said) -> bytes:
        """A notification, or a request of the server's own."""
        if said.method == elicitation.METHOD:
            why = elicitation.in_request(said.params, loopback=self._request.loopback)
            if why is not None:
                return self._withheld(why)
        self._said += len(raw)
        return b"" if self._bounded and self._said > MOST_SAID_BYTES else raw

    def _withheld(self, why: str) -> bytes:
        """It waits for an answer that nobody will give: the call ends here, and where there is none it is left out."""
        if self._request.message.id is None:
            return b""
        return self._ended(withheld(self._request, why))

    def _response(self, raw: bytes, said: Said, size: int) -> bytes:
        rpc_id = self._request.message.id
        if said.answers and (rpc_id is None or not same_id(rpc_id, said.id)):
            return b""
        answer = judged(self._request, said, size)
        if answer.malformed:
            self.malformed = True
            return b""
        if answer.passed is not None:
            return self._ended(answer)
        self.answer, self.done, self.started = answer, True, True
        return raw + b"\n" if raw.endswith(b"\r") else raw  # the other half of its end comes when nothing goes on

    def _give_up(self) -> bytes:
        """One message is larger than anybody keeps: it is a result, for nothing else is of any use so large."""
        tool = self._request.asked.tool
        size, self._splitter = self._splitter.half, EventSplitter()
        if tool is None:
            self.malformed = True
            return b""
        passed = too_large_body(self._request, tool, size)
        usage = Usage(0, 0, result_bytes=min(len(passed), tool.result_bytes), result_units=most_units(tool))
        return self._ended(RpcAnswer(usage, passed=passed, failed=True))

    def _ended(self, answer: RpcAnswer) -> bytes:
        """The stream ends with an answer of ours."""
        self.answer, self.done, self.started = answer, True, True
        return event(answer.passed or b"")
