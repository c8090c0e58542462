"""An event of megabytes that comes in small pieces: whoever asks after each what was seen so far pays for that piece.

An image or a whole tool call comes as one event, and a lease asks at every arrival. A copy of what is there by then
would take the event loop seconds for eight megabytes.
"""

import tracemalloc
from collections.abc import Callable

import pytest

from comptroller.flow.dialect import Meter
from comptroller.wire.anthropic_messages.stream import StreamMeter as MessagesMeter
from comptroller.wire.gemini.stream import StreamMeter as GeminiMeter
from comptroller.wire.openai_chat.stream import StreamMeter as ChatMeter
from comptroller.wire.openai_responses.stream import StreamMeter as ResponsesMeter

PIECE = 4096
PIECES = 256
METERS: dict[str, Callable[[], Meter]] = {
    "chat": lambda: ChatMeter(usage_asked=True),
    "messages": MessagesMeter,
    "gemini": GeminiMeter,
    "responses": ResponsesMeter,
}


@pytest.mark.parametrize("dialect", METERS)
def test_to_ask_what_was_seen_copies_nothing(dialect: str) -> None:
    meter = METERS[dialect]()
    meter.feed(b"data: ")
    for _ in range(PIECES):
        meter.feed(b"x" * PIECE)
    tracemalloc.start()
    try:
        seen = meter.seen_output_tokens
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen >= PIECE * PIECES
    assert most < PIECE
