"""What a stored response says of its parts: a request may name them alone."""

import json
from typing import Any

import pytest

from comptroller.wire.openai_responses import StreamMeter, read_answer

ITEMS: list[Any] = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "1"},
    {"type": "code_interpreter_call", "id": "ci_2", "container_id": "cntr_1", "code": "2"},
    {"type": "message", "id": "msg_1", "content": []},
    {"type": "message", "id": "../x", "content": []},
    {"type": "message", "id": 7},
]
SAID: dict[str, Any] = {"id": "resp_1", "model": "m", "status": "completed", "output": ITEMS}
FOUND = "rs_1 ci_1 cntr_1 ci_2 msg_1"


def test_they_are_named_by_the_whole_answer_and_by_the_end_of_a_stream() -> None:
    assert read_answer(json.dumps(SAID).encode()).items == FOUND
    meter = StreamMeter()
    event = json.dumps({"type": "response.completed", "response": SAID})
    meter.feed(f"event: response.completed\ndata: {event}\n\n".encode())
    assert meter.items == FOUND


@pytest.mark.parametrize("said", [{**SAID, "store": False}, {**SAID, "id": None}, {**SAID, "output": {"id": "x"}}])
def test_what_is_not_stored_has_none(said: dict[str, Any]) -> None:
    assert read_answer(json.dumps(said).encode()).items == ""
