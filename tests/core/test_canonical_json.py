"""Whoever made a JSON text, what means the same has the same digest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.tool.canonical import canonical, canonical_arguments

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        # RFC 8785, section 3.2.2 and appendix B
        ("0.0", "0"),
        ("-0.0", "0"),
        ("5e-324", "5e-324"),
        ("-5e-324", "-5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("9007199254740992.0", "9007199254740992"),
        ("-9007199254740992.0", "-9007199254740992"),
        ("295147905179352830000.0", "295147905179352830000"),
        ("9.999999999999997e22", "9.999999999999997e+22"),
        ("1e+23", "1e+23"),
        ("1.0000000000000001e23", "1.0000000000000001e+23"),
        ("999999999999999700000.0", "999999999999999700000"),
        ("999999999999999900000.0", "999999999999999900000"),
        ("1e21", "1e+21"),
        ("9.999999999999997e-7", "9.999999999999997e-7"),
        ("0.000001", "0.000001"),
        ("333333333.3333332", "333333333.3333332"),
        ("1424953923781206.2", "1424953923781206.2"),
        ("4.50", "4.5"),
        ("2e-3", "0.002"),
        ("0.000000000000000000000000001", "1e-27"),
        ("333333333.33333329", "333333333.3333333"),
        ("1E30", "1e+30"),
        # ours: a whole number keeps its digits
        ("9007199254740993", "9007199254740993"),
        ("-0", "0"),
    ],
)
def test_a_number_is_written_as_ecmascript_writes_it(written: str, spelled: str) -> None:
    assert canonical(written.encode()) == spelled.encode()


def test_the_example_of_the_standard_comes_out_as_it_says() -> None:
    given_text = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(given_text) == expected.encode()


def test_keys_stand_in_the_order_of_their_utf16_code_units() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]  # RFC 8785, section 3.2.3
    spelled = canonical(json.dumps(dict.fromkeys(keys, 0)).encode())
    assert list(json.loads(spelled)) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize("text", [b"not JSON", b"", b'{"a":', b"1e999", b"[" * 100_000])
def test_what_is_no_json_stays_as_it_is(text: bytes) -> None:
    assert canonical(text) == text


@pytest.mark.parametrize("none", [b"", b"null", b"{}", b" { } "])
def test_no_arguments_are_an_empty_object(none: bytes) -> None:
    assert canonical_arguments(none) == b"{}"


def test_a_call_is_another_one_if_a_large_number_differs() -> None:
    assert canonical(b'{"id":9007199254740993}') != canonical(b'{"id":9007199254740992}')


@given(_VALUES)
def test_spaces_order_and_escapes_make_no_difference(value: Any) -> None:
    plain = json.dumps(value, ensure_ascii=False)
    other = json.dumps(_turned(value), indent=2, ensure_ascii=True)
    assert canonical(plain.encode()) == canonical(other.encode())


@given(_VALUES)
def test_it_means_the_same_and_spells_itself(value: Any) -> None:
    text = json.dumps(value)
    spelled = canonical(text.encode())
    assert json.loads(spelled, parse_int=float) == json.loads(text, parse_int=float)
    assert canonical(spelled) == spelled


def _turned(value: Any) -> Any:
    """The same value with the keys of every object the other way round."""
    if isinstance(value, dict):
        return {key: _turned(value[key]) for key in reversed(list(value))}
    return [_turned(each) for each in value] if isinstance(value, list) else value
