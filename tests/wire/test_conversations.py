"""What gets into a conversation is read as the input of a request is: later requests only name it."""

import json
from typing import Any

import pytest

from comptroller.core.refusal import Refusal
from comptroller.wire.head import Head
from comptroller.wire.openai_conversations import CONVERSATION_CALLS

SEARCH = {"type": "file_search", "vector_store_ids": ["vs_1"]}
OWN = {"type": "function", "name": "f", "parameters": {}}


def read(path: str, *tools: Any) -> Any:
    item = {"type": "additional_tools", "role": "developer", "tools": tools}
    return CONVERSATION_CALLS[path].read_request(json.dumps({"items": [item]}).encode(), Head(named="conv_1"))


@pytest.mark.parametrize("path", ["/v1/conversations", "/v1/conversations/{name}/items"])
def test_tools_that_run_at_the_provider_do_not_get_in(path: str) -> None:
    """They would cost in requests that do not show them."""
    found = read(path, SEARCH)
    assert isinstance(found, Refusal)
    assert (found.code, found.param) == ("unsupported", "items")
    assert not isinstance(read(path, OWN), Refusal)
    assert isinstance(read(path, "nothing"), Refusal)
