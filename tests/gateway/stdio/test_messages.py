"""Lines of JSON-RPC: ids and tokens become ours and their caller's again, and all else passes as it was written."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from comptroller.gateway.stdio import messages
from comptroller.gateway.stdio.messages import Message, read

ids = st.one_of(st.integers(), st.text(), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
params = st.dictionaries(st.text(), values, max_size=4)


def message(**fields: object) -> Message:
    found = read(json.dumps({"jsonrpc": "2.0", **fields}).encode())
    assert found is not None
    return found


@given(ids, params, ids)
def test_a_request_goes_in_under_our_number_and_comes_back_under_its_own(
    id_: object, sent: dict[str, object], token: object
) -> None:
    sent = {**sent, "_meta": {"progressToken": token, "other": 1}}
    asked = message(id=id_, method="tools/call", params=sent)
    line = json.loads(messages.numbered(asked, 42))
    assert line["id"] == 42
    assert line["params"] == {**sent, "_meta": {"progressToken": 42, "other": 1}}
    told = message(method="notifications/progress", params={"progressToken": 42, "progress": 1})
    assert messages.addressed_to(told) == 42
    passed = json.loads(messages.readdressed(told, asked.id, messages.progress_token(asked)))
    assert passed["params"] == {"progressToken": token, "progress": 1}
    answer = json.loads(messages.answered(message(id=42, result=sent), 42, asked.id))
    assert answer == {"jsonrpc": "2.0", "id": id_, "result": sent}


@given(params)
def test_what_says_nothing_of_progress_is_told_none(sent: dict[str, object]) -> None:
    sent = {name: value for name, value in sent.items() if name != "_meta"}
    assert json.loads(messages.numbered(message(id=1, method="m", params=sent), 42))["params"] == sent


@given(st.binary(max_size=200) | params.map(lambda each: json.dumps(each).encode()))
def test_nothing_that_a_process_writes_is_a_fault(line: bytes) -> None:
    found = read(line)
    if found is not None:
        _ = (found.modern, found.number, found.error_code, found.is_request, found.is_response)
        messages.addressed_to(found)
        messages.readdressed(found, Raw(b"1"), Raw(b"2"))
        messages.answered(found, 1, Raw(b"1"))


@pytest.mark.parametrize(
    "line",
    [b"", b"null", b"7", b"[]", b"{}", b'{"id":1}', b'{"method":5}', b'{"id":1,"result"', b"\xff", b"[" * 100_000],
)
def test_what_is_no_message(line: bytes) -> None:
    assert read(line) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"params": []},
        {"params": {"_meta": []}},
        {"params": {"_meta": {"progressToken": {}}}},
        {"params": {"progressToken": "42"}},
        {"params": {"progressToken": 4.2}},
        {"params": {"progressToken": 10**30}},
        {},
    ],
)
def test_progress_that_is_nobody_s(fields: dict[str, object]) -> None:
    assert messages.addressed_to(message(method="notifications/progress", **fields)) is None


def test_a_body_of_many_lines_is_one_line() -> None:
    body = b'{\r\n "a":\n"x\\ny" }'
    line = messages.to_line(body)
    assert line.count(b"\n") == 1
    assert json.loads(line) == json.loads(body)
