"""Fields that a server refuses are left out; all else is as it was."""

import json

from hypothesis import given
from hypothesis import strategies as st

from comptroller.wire.omit import without

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(body=st.dictionaries(st.sampled_from("abcdef"), values), names=st.sets(st.sampled_from("abcdef")))
def test_what_is_named_is_gone_and_nothing_else(body: dict[str, object], names: set[str]) -> None:
    left = without(json.dumps(body).encode(), names)
    assert json.loads(left) == {name: value for name, value in body.items() if name not in names}


def test_numbers_and_texts_are_not_written_anew() -> None:
    assert without(b'{"a": 1.0e5, "b": "\\u0041", "c": 1}', {"c"}) == b'{"a":1.0e5,"b":"\\u0041"}'


def test_a_body_without_such_a_field_is_left_alone() -> None:
    assert without(b'{ "a" : 1 }', {"c"}) == b'{ "a" : 1 }'


def test_only_the_first_level_counts() -> None:
    assert without(b'{"a":{"c":1},"c":2}', {"c"}) == b'{"a":{"c":1}}'
