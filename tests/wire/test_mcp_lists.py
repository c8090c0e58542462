"""Lists of MCP servers: what they define, and the same list without what is hidden."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comptroller.wire.mcp.lists import Malformed, definitions, filtered, names
from tests.wire.mcp_messages import encoded, response, sse

READ = {"name": "read", "title": "Read", "description": "Reads.", "inputSchema": {"type": "object"}, "_meta": {"x": 1}}
WRITE = {"name": "write", "inputSchema": {"type": "object", "b": 1, "a": 2}, "annotations": {"readOnlyHint": False}}
LIST: dict[str, Any] = {"tools": [READ, WRITE], "nextCursor": "2"}


@pytest.mark.parametrize("body", [response(LIST), sse(response(LIST)), b": ping\n\n" + sse(response(LIST))])
def test_definitions(body: bytes) -> None:
    read, write = definitions(body)
    assert (read.name, write.name) == ("read", "write")
    assert write.raw == encoded(WRITE)


def test_an_error_defines_nothing() -> None:
    assert definitions(encoded({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}})) == []


def test_a_hidden_tool_is_gone_and_the_list_says_why() -> None:
    for body in (response(LIST), sse(response(LIST))):
        passed = filtered(body, {"write": "no_permit", "gone": "no_permit"})
        data = passed.partition(b"data: ")[2] or passed
        result = json.loads(data)["result"]
        assert result["tools"] == [READ]
        assert result["nextCursor"] == "2"
        assert result["_meta"] == {"comptroller/hidden": {"count": 1, "reasons": {"no_permit": 1}}}


def test_what_is_not_filtered_is_not_written_anew() -> None:
    for body in (response(LIST), sse(response(LIST)), response({"prompts": []})):
        assert filtered(body, {}) == body


def test_a_list_that_depends_on_its_reader_is_theirs_alone() -> None:
    body = response({**LIST, "resultType": "complete", "ttlMs": 5_000, "cacheScope": "public", "_meta": {"a": 1}})
    assert json.loads(filtered(body, {}))["result"]["cacheScope"] == "private"
    assert json.loads(filtered(body, {"read": "tool_changed"}))["result"]["_meta"]["a"] == 1


def test_lists_of_other_things() -> None:
    body = response({"resources": [{"uri": "file:///a", "name": "a"}]})
    assert names(body, "resources") == ["file:///a"]
    assert json.loads(filtered(body, {"file:///a": "no_permit"}))["result"]["resources"] == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"{",
        response({"tools": {}}),
        response({"tools": [1]}),
        response({"tools": [{}]}),
        response({"tools": [{"name": 1}]}),
        sse(b"{"),
    ],
)
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(Malformed):
        definitions(body)
    with pytest.raises(Malformed):
        filtered(body, {"a": "b"})
