"""The events of an answer that was made in one piece, handed over, and the faults that strike among them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from comptroller.sandbox.delivery import STREAM_ERRORS, UNKNOWN_EVENT, up_to_usage
from comptroller.sandbox.errors import Refusal
from comptroller.sandbox.faults import FaultOptions
from comptroller.sandbox.wire import Exchange

EVENT_STREAM = b"text/event-stream"
_COUNT = re.compile(rb":\d+")
_BROKEN_EVENT = b'event: sandbox.broken\ndata: {"type":"sandbox.bro\n\n'


async def hand_over(exchange: Exchange, body: bytes, fault: str, options: FaultOptions) -> None:
    """Send the events of `body`; what counts tokens elsewhere counts events here."""
    events = [event + b"\n\n" for event in body.split(b"\n\n") if event]
    strikes = options.stop_after(fault)
    await exchange.start(200, ((b"content-type", EVENT_STREAM),))
    if fault == "cut_after_usage":
        await exchange.write(up_to_usage(body))
        return await exchange.link.cut(reset=options.reset)
    if strikes is None:
        return await exchange.write(body + (events[-1] if fault == "usage_twice" else b""), more=False)
    strikes = min(strikes, len(events) - 1)  # the last one ends it
    await exchange.write(b"".join(events[:strikes]))
    if fault == "cut":
        return await exchange.link.cut(reset=options.reset)
    if fault == "hang":
        return await exchange.link.wait_closed()
    if fault in STREAM_ERRORS:
        return await exchange.write(_failure(STREAM_ERRORS[fault]), more=False)
    between = {"malformed_json": _BROKEN_EVENT, "unknown_event": UNKNOWN_EVENT}.get(fault, b"")
    return await exchange.write(between + b"".join(events[strikes:]), more=False)


def without_usage_of_any(body: bytes, content_type: bytes) -> bytes:
    """The same with every count of its usage at zero (fault `usage_zero`)."""
    if content_type == EVENT_STREAM:
        events = [event.partition(b"\ndata: ") for event in body.split(b"\n\n") if event]
        return b"".join(name + b"\ndata: " + _zeroed(data) + b"\n\n" for name, _, data in events)
    return _zeroed(body) if content_type == b"application/json" else body


def _zeroed(data: bytes) -> bytes:
    said = msgspec.json.decode(data, type=dict[str, Any])
    usage = said.get("usage")
    if usage is not None:
        said["usage"] = msgspec.json.decode(_COUNT.sub(rb":0", msgspec.json.encode(usage)))
    return msgspec.json.encode(said)


def _failure(refusal: Refusal) -> bytes:
    error = msgspec.json.decode(refusal.body())["error"]
    return b"event: error\ndata: " + msgspec.json.encode({"type": "error", "error": error}) + b"\n\n"
