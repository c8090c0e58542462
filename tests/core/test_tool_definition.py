"""A tool's definition: what of it is pinned, what has one digest, and what has none that means anything."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.tool.definition import DEFINITION_BYTES, read_definition

TOOL = {
    "name": "read_file",
    "title": "Read a file",
    "description": "Reads a file, whole.",
    "inputSchema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    "annotations": {"readOnlyHint": True},
}


def digest_of(tool: object) -> str:
    definition = read_definition("read_file", json.dumps(tool).encode())
    assert definition.fault == ""
    return definition.digest


def test_the_digest_is_that_of_the_canonical_text_of_the_pinned_fields() -> None:
    """By hand: RFC 8785 sorts the keys and leaves no white space."""
    raw = b'{"title" : "T", "name": "read_file", "icons": [1], "description": "d", "inputSchema": {"b": 1.0, "a": 2e2}}'
    text = b'{"description":"d","inputSchema":{"a":200,"b":1},"name":"read_file","title":"T"}'
    assert read_definition("read_file", raw).digest == sha256(text).hexdigest()


@given(st.permutations(list(TOOL.items())), st.sampled_from([None, 1, 3]), st.booleans())
def test_how_a_definition_is_written_changes_nothing(
    members: list[tuple[str, object]], indent: int | None, ascii_only: bool
) -> None:
    raw = json.dumps(dict(members), indent=indent, ensure_ascii=ascii_only).encode()
    assert read_definition("read_file", raw).digest == digest_of(TOOL)


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Read"},
        {"description": "Reads a file, whole. "},
        {"description": "Reads a file,\u200b whole."},
        {"inputSchema": TOOL["inputSchema"] | {"required": []}},  # type: ignore[operator]
        {"outputSchema": {}},
        {"annotations": {"readOnlyHint": False}},
        {"annotations": None},
    ],
)
def test_every_pinned_field_counts(change: dict[str, object]) -> None:
    assert digest_of(TOOL | change) != digest_of(TOOL)


@pytest.mark.parametrize("beside", [{"icons": [{"src": "https://example.com/i.png"}]}, {"_meta": {"a": 1}}])
def test_what_is_beside_the_pinned_fields_does_not(beside: dict[str, object]) -> None:
    assert digest_of(TOOL | beside) == digest_of(TOOL)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b'{"name":"read_file","description":"a","description":"b"}', "stands twice"),
        (b'{"name":"read_file","inputSchema":{"properties":{"a":1,"a":2}}}', "stands twice"),
        (b'{"name":"read_file","inputSchema":{"maximum":NaN}}', "NaN"),
        (b'{"name":"read_file","inputSchema":{"maximum":1e999}}', ""),
        (b'{"name":"read_file","description":"\\ud800"}', ""),
        (b'{"name":"read_file","description":"\xff"}', ""),
        (b'{"name":"read_file"', ""),
        (b"[]", "no JSON object"),
        (b'{"name":"other"}', "another name"),
        (b'{"name":"read_file","inputSchema":' + b"[" * 70 + b"]" * 70 + b"}", "nests deeper"),
        (b'{"name":"read_file","inputSchema":' + b"[" * 9000 + b"]" * 9000 + b"}", ""),
        (b'{"name":"read_file","description":"' + b"a" * DEFINITION_BYTES + b'"}', "bytes"),
    ],
)
def test_what_two_parsers_may_read_differently_is_a_fault_and_never_an_error(raw: bytes, fault: str) -> None:
    definition = read_definition("read_file", raw)
    assert definition.fault
    assert fault in definition.fault
    assert definition.text == ""
    assert definition.digest == sha256(raw).hexdigest()


@given(st.binary(max_size=200))
def test_no_bytes_raise(raw: bytes) -> None:
    read_definition("x", raw)
