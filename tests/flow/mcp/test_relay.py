"""What passes on for nothing: how long it may be silent."""

from __future__ import annotations

import pytest

from comptroller.flow.mcp.relay import timeouts_for
from comptroller.flow.upstream import Timeouts
from comptroller.wire.mcp.dialect import McpCall
from comptroller.wire.mcp.message import Message

TIMEOUTS = Timeouts(idle_s=60.0, total_s=1_800.0)


@pytest.mark.parametrize(
    ("message", "idle_s"),
    [
        (None, 1_800.0),  # GET: what the server says by itself, which may be nothing for long
        (Message("request", "subscriptions/listen"), 1_800.0),
        (Message("request", "tools/list"), 60.0),
        (Message("request", "initialize"), 60.0),
    ],
)
def test_silence_is_no_fault_of_a_stream_that_lasts(message: Message | None, idle_s: float) -> None:
    assert timeouts_for(McpCall("files", message, []), TIMEOUTS).idle_s == idle_s
