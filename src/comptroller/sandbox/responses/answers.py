"""The JSON of a response: answers, stream events and usage, in OpenAI's shapes."""

from __future__ import annotations

import time
import uuid

import msgspec

from comptroller.sandbox.bill import Line
from comptroller.sandbox.compose import Answer, Choice
from comptroller.sandbox.errors import Refusal
from comptroller.sandbox.order import Order
from comptroller.sandbox.responses.request import ResponsesRequest
from comptroller.sandbox.wire import Headers

_BROKEN_EVENT = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","del\n\n'
_ENCRYPTED = "c2FuZGJveA=="


def usage_of(line: Line) -> dict[str, object]:
    """The usage report of a request: exactly what its bill line says."""
    return {
        "input_tokens": line.input_tokens,
        "input_tokens_details": {"cached_tokens": line.cached_tokens},
        "output_tokens": line.output_tokens,
        "output_tokens_details": {"reasoning_tokens": line.reasoning_tokens},
        "total_tokens": line.input_tokens + line.output_tokens,
    }


class ResponsesWriter:
    """Writes one answer: a reasoning item if it thought, then a message or the call of a function."""

    broken_event = _BROKEN_EVENT

    def __init__(self, order: Order, request: ResponsesRequest, answer: Answer, line: Line, usages: int) -> None:
        self.headers: Headers = (
            (b"x-request-id", f"req_{uuid.uuid4().hex}".encode()),
            (b"openai-version", b"2020-10-01"),
        )
        self._order = order
        self._request = request
        self._choice: Choice = answer.choices[0]
        self._line = line
        self._usages = usages
        self.response_id, self._message_id, self._reasoning_id = (
            f"{kind}_{uuid.uuid4().hex}" for kind in ("resp", "msg", "rs")
        )
        self._created_at = int(time.time())
        self._number = -1  # of the last event
        self._thinking = False  # the reasoning item is open
        self._writing = False  # the item after it is

    def whole(self) -> bytes:
        """The answer as JSON; more than one usage is the key `usage` written more than once."""
        return self._finished(max(1, self._usages))

    def opening(self) -> bytes:
        """That the response was made, and the head of its reasoning."""
        head = self._response("in_progress", [])
        events = self._event("response.created", response=head) + self._event("response.in_progress", response=head)
        if not self._choice.reasoning_tokens:
            return events
        self._thinking = True
        item: dict[str, object] = {"id": self._reasoning_id, "type": "reasoning", "summary": []}
        events += self._event("response.output_item.added", output_index=0, item=item)
        if self._choice.thoughts:
            part = {"type": "summary_text", "text": ""}
            events += self._summary("response.reasoning_summary_part.added", part=part)
        return events

    def reasoning(self, tokens: tuple[str, ...]) -> bytes:
        """The event of some tokens of the summary."""
        return self._summary("response.reasoning_summary_text.delta", delta="".join(tokens))

    def piece(self, index: int, tokens: tuple[str, ...]) -> bytes:
        """The event of some tokens of the answer; the first ends the reasoning."""
        del index  # there is one choice
        begin = b"" if self._writing else self._stop_thinking() + self._start_writing()
        text = "".join(tokens)
        if self._choice.tool_call is not None:
            return begin + self._said("response.function_call_arguments.delta", delta=text)
        return begin + self._said("response.output_text.delta", content_index=0, delta=text, logprobs=[])

    def closing(self) -> bytes:
        """The end of every item, and of the response with all of its usage; once more for a usage too many."""
        events = self._stop_thinking() + self._stop_writing()
        kind = "response.incomplete" if self.status == "incomplete" else "response.completed"
        for _ in range(max(1, self._usages)):
            events += self._event(kind, response=msgspec.Raw(self._finished(1)))
        return events

    def failure(self, refusal: Refusal) -> bytes:
        """The event of an error, and that the response failed."""
        said = {"code": refusal.code or refusal.type, "message": refusal.message}
        failed = self._response("failed", []) | {"error": said}
        return self._event("error", **said, param=None) + self._event("response.failed", response=failed)

    def standing(self, status: str, error: Refusal | None) -> bytes:
        """The response before it is done, or one that never will be."""
        said = None if error is None else {"code": error.code or error.type, "message": error.message}
        return msgspec.json.encode(self._response(status, []) | {"error": said})

    @property
    def status(self) -> str:
        return "incomplete" if self._choice.finish_reason == "length" else "completed"

    @property
    def _index(self) -> int:
        """The place of the item after the reasoning."""
        return 1 if self._choice.reasoning_tokens else 0

    def _finished(self, usages: int) -> bytes:
        output = [self._thought()] if self._choice.reasoning_tokens else []
        if self._choice.tokens or self._choice.tool_call is not None:
            output.append(self._written(self.status))
        response = self._response(self.status, output)
        del response["usage"]
        usage = msgspec.json.encode(usage_of(self._line) if self._usages else None)
        return msgspec.json.encode(response)[:-1] + (b',"usage":' + usage) * usages + b"}"

    def _response(self, status: str, output: list[dict[str, object]]) -> dict[str, object]:
        details = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self.response_id,
            "object": "response",
            "created_at": self._created_at,
            "status": status,
            "background": bool(self._request.background),
            "error": None,
            "incomplete_details": details,
            "instructions": self._request.instructions,
            "max_output_tokens": self._request.max_output_tokens,
            "metadata": {},
            "model": self._order.model.dated_name,
            "output": output,
            "parallel_tool_calls": True,
            "previous_response_id": self._request.previous_response_id,
            "service_tier": "auto" if status == "in_progress" else self._order.tier,
            "store": self._request.store is not False,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": None,
        }

    def _thought(self) -> dict[str, object]:
        text = "".join(self._choice.thoughts)
        summary = [{"type": "summary_text", "text": text}] if text else []
        item: dict[str, object] = {"id": self._reasoning_id, "type": "reasoning", "summary": summary}
        return item | ({"encrypted_content": _ENCRYPTED} if self._request.wants_encrypted else {})

    def _written(self, status: str) -> dict[str, object]:
        call, text = self._choice.tool_call, self._choice.text if status != "in_progress" else ""
        if call is not None:
            named = {"call_id": f"call_{call.id}", "name": call.name, "arguments": text}
            within = {"namespace": call.namespace} if call.namespace else {}
            return {"id": f"fc_{call.id}", "type": "function_call", "status": status, **named, **within}
        content = [] if status == "in_progress" else [self._part(text)]
        return {"id": self._message_id, "type": "message", "status": status, "role": "assistant", "content": content}

    def _part(self, text: str) -> dict[str, object]:
        return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}

    def _stop_thinking(self) -> bytes:
        if not self._thinking:
            return b""
        self._thinking = False
        events = b""
        if self._choice.thoughts:
            part = {"type": "summary_text", "text": "".join(self._choice.thoughts)}
            events += self._summary("response.reasoning_summary_text.done", text=part["text"])
            events += self._summary("response.reasoning_summary_part.done", part=part)
        return events + self._event("response.output_item.done", output_index=0, item=self._thought())

    def _start_writing(self) -> bytes:
        self._writing = True
        item = self._written("in_progress")
        added = self._event("response.output_item.added", output_index=self._index, item=item)
        if self._choice.tool_call is not None:
            return added
        return added + self._said("response.content_part.added", content_index=0, part=self._part(""))

    def _stop_writing(self) -> bytes:
        begin = b""
        if not self._writing:
            if self._choice.tool_call is None:
                return b""
            begin = self._start_writing()  # a call whose arguments the limit left no room for
        text = self._choice.text
        if self._choice.tool_call is not None:
            events = self._said("response.function_call_arguments.done", arguments=text)
        else:
            events = self._said("response.output_text.done", content_index=0, text=text, logprobs=[])
            events += self._said("response.content_part.done", content_index=0, part=self._part(text))
        item = self._written(self.status)
        return begin + events + self._event("response.output_item.done", output_index=self._index, item=item)

    def _said(self, kind: str, **fields: object) -> bytes:
        """An event of the item after the reasoning."""
        return self._event(kind, item_id=self._written("in_progress")["id"], output_index=self._index, **fields)

    def _summary(self, kind: str, **fields: object) -> bytes:
        return self._event(kind, item_id=self._reasoning_id, output_index=0, summary_index=0, **fields)

    def _event(self, kind: str, **fields: object) -> bytes:
        self._number += 1
        data = msgspec.json.encode({"type": kind, **fields, "sequence_number": self._number})
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
