"""A request body is read as every parser reads it, or refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.refusal import Refusal
from comptroller.wire.body import MOST_LEVELS, _duplicate_key, _surely_unique, read_object
from tests.wire.recorded import CHAT

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from('ab":\\{}[], \n\té\u2028😀\x7f'), max_size=8)
    | st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.sampled_from('ab":\\é'), max_size=2), inner, max_size=3)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "model", '":', "é"]), VALUES, max_size=4)


class Pairs(list[tuple[str, Any]]):
    """An object as its members were written, so that one can be written twice."""


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, bool]:
    """JSON text in any spelling, and whether an object in it has a key twice."""
    twice = False

    def spell(value: Any) -> str:
        nonlocal twice
        space = draw(st.sampled_from(["", "", "", " ", "\n  "]))
        if isinstance(value, dict):
            members = Pairs(value.items())
            if members and draw(st.integers(0, 7)) == 0:
                members.append((draw(st.sampled_from(list(value))), draw(SCALARS)))
                twice = True
            return "{" + f",{space}".join(f"{spell(k)}{space}:{space}{spell(v)}" for k, v in members) + space + "}"
        if isinstance(value, list):
            return "[" + f",{space}".join(map(spell, value)) + "]"
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
        plain = isinstance(value, str) and "\\" not in text
        return text.replace("a", "\\u0061") if plain and draw(st.integers(0, 3)) == 0 else text

    return spell(draw(OBJECTS)), twice


def reject(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("twice")
    return dict(pairs)


@given(texts())
def test_no_duplicate_key_is_ever_accepted(case: tuple[str, bool]) -> None:
    text, twice = case
    read = read_object(text.encode())
    if twice:
        assert isinstance(read, Refusal)
        assert "stands twice" in read.sentence
    else:
        assert read == json.loads(text)


@given(texts())
def test_the_quick_proof_is_sound(case: tuple[str, bool]) -> None:
    text, twice = case
    body = text.encode()
    assert (_duplicate_key(body) is not None) == twice
    if _surely_unique(body, json.loads(text)):
        assert not twice
        assert json.loads(text, object_pairs_hook=reject) == json.loads(text)


def test_the_quick_proof_is_what_real_clients_get() -> None:
    for exchange in CHAT:
        if exchange.request is not None:
            for body in (exchange.body(), json.dumps(exchange.request, ensure_ascii=False).encode()):
                assert _surely_unique(body, exchange.request)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_of_any_kind_are_read_or_refused(body: bytes) -> None:
    assert isinstance(read_object(body), (dict, Refusal))


@given(st.text(st.sampled_from('{}[]:,"\\u0dcefatrnl19.-+E \n\x00'), max_size=40))
def test_what_is_accepted_is_json_to_python_too(text: str) -> None:
    read = read_object(text.encode())
    if not isinstance(read, Refusal):
        assert read == json.loads(text, object_pairs_hook=reject)


REFUSED = {
    "empty": (b"", "not valid JSON"),
    "not json": (b"hello", "not valid JSON"),
    "cut": (b'{"a": 1', "not valid JSON"),
    "trailing": (b'{"a": 1} x', "not valid JSON"),
    "trailing comma": (b'{"a": 1,}', "not valid JSON"),
    "latin-1": (b'{"a": "\xe9"}', "not valid UTF-8 at byte 7"),
    "utf-16": ('{"a": 1}'.encode("utf-16"), "not valid UTF-8 at byte 0"),
    "byte order mark": (b"\xef\xbb\xbf{}", "not valid JSON"),
    "overlong": (b'{"a": "\xc0\x80"}', "not valid UTF-8"),
    "encoded surrogate": (b'{"a": "\xed\xa0\x80"}', "not valid UTF-8"),
    "lone surrogate": (b'{"a": "\\ud800"}', "not valid JSON"),
    "lone low surrogate": (b'{"a": "\\udc00"}', "not valid JSON"),
    "control character": (b'{"a": "\x01"}', "not valid JSON"),
    "nan": (b'{"a": NaN}', "not valid JSON"),
    "infinity": (b'{"a": [-Infinity]}', "not valid JSON"),
    "too large for a double": (b'{"a": 1e999}', "out of range"),
    "huge integer": (b'{"a": ' + b"9" * 5000 + b"}", "out of range"),
    "array": (b"[]", "is a JSON array, and an object was expected"),
    "null": (b"null", "is a JSON null"),
    "string": (b'"a"', "is a JSON string"),
    "number": (b"1", "is a JSON number"),
    "true": (b"true", "is a JSON boolean"),
    "duplicate": (b'{"model": "a", "model": "b"}', "The key 'model' stands twice"),
    "nested duplicate": (b'{"messages":[{"role":"user","content":[{"type":"text","type":"file"}]}]}', "The key 'type'"),
    "duplicate by escape": (b'{"a": {"type": 1, "t\\u0079pe": 2}}', "The key 'type' stands twice"),
    "duplicate of equal values": (b'{"a": 1, "a": 1}', "stands twice"),
    "deep objects": (b'{"a":' * 101 + b"1" + b"}" * 101, "deeper than 100"),
    "deep arrays": (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "deeper than 100"),
    "far too deep": (b'{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}", "deeper than 100"),
    "far too many marks": (b'{"a":' * 1_000_000, "more than 100,000 values"),
    "far too deep and never closed": (b'{"a":' * 90_000, "deeper than 100"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_body_that_is_refused(what: str) -> None:
    body, sentence = REFUSED[what]
    refusal = read_object(body)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "request_invalid"
    assert sentence in refusal.sentence
    assert len(refusal.message) < 300


def test_the_deepest_body_that_is_read() -> None:
    levels = MOST_LEVELS - 1
    assert isinstance(read_object(b'{"a":' + b"[" * levels + b"]" * levels + b"}"), dict)
    assert isinstance(read_object(b'{"a":"' + b"[{" * 500 + b'"}'), dict), "brackets in text are no levels"


def test_large_whole_numbers_are_kept_exactly() -> None:
    assert read_object(b'{"a": 1000000000000000000000000000001}') == {"a": 10**30 + 1}
