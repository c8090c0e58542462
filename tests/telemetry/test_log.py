"""A log line is one line of JSON whatever is in it, of a pace that fills no disk, and nobody waits for it."""

import ast
import asyncio
import json
import logging
import os
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.telemetry.events import EVENTS
from comptroller.telemetry.library_lines import libraries_heard
from comptroller.telemetry.line_writer import LINES_MOST, LineWriter
from comptroller.telemetry.log import CHARACTERS_MOST, Log
from comptroller.telemetry.trace_context import TraceContext, trace_context
from tests.architecture.house import SRC, calls, modules, parse


class Kept(list[dict[str, Any]]):
    """Where lines go in a test."""

    def write(self, line: bytes) -> None:
        assert line.endswith(b"\n")
        assert len(line.splitlines()) == 1
        assert line.isascii()
        self.append(json.loads(line))


@given(st.text(max_size=600))
def test_whatever_a_value_holds_a_line_is_one_line(value: str) -> None:
    kept = Kept()
    Log(kept).say("fault", {"message": value, "number": 1})
    (line,) = kept
    assert list(line) == ["timestamp", "severity", "event.name", "message", "number"]
    assert (line["event.name"], line["severity"], line["message"]) == ("fault", "ERROR", value[:CHARACTERS_MOST])


@pytest.mark.parametrize(("least", "written"), [("info", 3), ("warning", 2), ("error", 1)])
def test_what_is_not_grave_enough_is_counted_and_not_written(least: Any, written: int) -> None:
    kept = Kept()
    log = Log(kept, least=least)
    for event in ("started", "drained", "fault"):
        log.say(event, {})
    assert [line["event.name"] for line in kept] == ["started", "drained", "fault"][-written:]
    assert log.counts == {"started": 1, "drained": 1, "fault": 1}


def test_a_flood_of_one_event_leaves_room_for_the_others_and_says_how_many_were_left_out() -> None:
    kept, second = Kept(), [1]
    log = Log(kept, lines_per_s=2, wall_ns=lambda: second[0] * 1_000_000_000)
    for _ in range(5):
        log.say("refused", {})
    log.say("fault", {})
    second[0] = 2
    log.say("refused", {})
    log.say("refused", {})
    assert [(line["event.name"], line.get("comptroller.log.left_out")) for line in kept] == [
        ("refused", None),
        ("refused", None),
        ("fault", None),
        ("refused", 3),
        ("refused", None),
    ]
    assert log.counts == {"refused": 7, "fault": 1}


def test_lines_come_out_in_order_and_all_of_them() -> None:
    reading, writing = os.pipe()
    writer = LineWriter(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a pipe
        for number in range(2000):
            writer.write(f"{number}\n".encode())
        writer.close(10)
        writer.write(b"after\n")
        writer.close(10)
        os.close(writing)
        assert pipe.read().split() == [*(str(number).encode() for number in range(2000)), b"after"]
    assert writer.dropped == 0


def test_nobody_waits_for_a_reader_that_does_not_read() -> None:
    """A full pipe stops the thread, not the loop; what does not fit is dropped and counted."""
    reading, writing = os.pipe()
    writer = LineWriter(writing)
    line = b"x" * 1000 + b"\n"
    for _ in range(LINES_MOST + 2000):
        writer.write(line)
    assert writer.dropped > 0
    writer.close(0.01)
    os.close(reading)  # the thread's write fails, and it ends
    for thread in threading.enumerate():
        if thread.name == "comptroller-log":
            thread.join(10)
    os.close(writing)


def test_a_closed_standard_error_is_no_fault() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing)
    writer.write(b"lost\n")
    writer.close(10)
    os.close(writing)


async def test_libraries_are_heard_without_their_tracebacks() -> None:
    kept, secret = Kept(), "a-value-in-" + "a-message"
    log = Log(kept)
    with libraries_heard(log):
        logging.getLogger("uvicorn.error").info("Started")
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.\nand more")
        try:
            raise ValueError(secret)
        except ValueError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
        task = asyncio.get_running_loop().create_task(failing(secret))
        await asyncio.wait({task})
        del task
        await asyncio.sleep(0)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    try:
        logging.getLogger("uvicorn.error").error("nobody listens any more")
    finally:
        logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
    first, second, third = kept
    assert (first["severity"], first["message"]) == ("WARN", "Invalid HTTP request received.")
    assert (second["severity"], second["message"]) == ("ERROR", "Exception in ASGI application")
    assert (second["exception.type"], second["code.file.path"]) == ("ValueError", __file__)
    assert (third["event.name"], third["exception.type"]) == ("loop_fault", "ValueError")
    assert secret not in str(kept)


async def failing(secret: str) -> None:
    raise ValueError(secret)


TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", TraceContext(TRACE, SPAN, "01")),
        (f" 00-{TRACE}-{SPAN}-00 ", TraceContext(TRACE, SPAN, "00")),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", TraceContext(TRACE, SPAN, "01")),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE}-{SPAN}-01\n", TraceContext(TRACE, SPAN, "01")),
        (f"00-{TRACE}-{SPAN}-01\r\nx: y", None),
        ("", None),
        ("Bearer secret", None),
    ],
)
def test_a_traceparent_is_read_as_the_standard_says(value: str, found: TraceContext | None) -> None:
    assert trace_context([(b"traceparent", value.encode())]) == found
    assert trace_context([(b"traceparent", value.encode()), (b"traceparent", value.encode())]) is None
    assert trace_context([(b"tracestate", value.encode())]) is None


def test_every_event_that_is_said_is_known() -> None:
    """A line of an event that nobody declared would be a KeyError at the worst moment."""
    said: set[str] = set()
    for module in modules():
        if "doctor/" in module or module.endswith("supervisor.py"):
            continue  # they say other things: checks, and words for systemd
        for name, call in calls(parse(SRC / module)):
            if name == "supervisor.say":
                continue
            event = call.args[0] if call.args else None
            either = [event.body, event.orelse] if isinstance(event, ast.IfExp) else [event]
            if name.rsplit(".", 1)[-1] in {"say", "warn", "tell", "_tell"}:
                said |= {str(each.value) for each in either if isinstance(each, ast.Constant)}
    assert said == EVENTS.keys()
