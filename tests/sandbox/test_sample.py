"""Values made up for a JSON schema."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.sandbox.schema import sample_value

LOOP = {"$ref": "#/$defs/Node", "$defs": {"Node": {"properties": {"next": {"$ref": "#/$defs/Node"}}}}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "text"),
        ({"type": ["integer", "null"]}, 1),
        ({"type": "number", "minimum": 3}, 3),
        ({"enum": ["red", "blue"]}, "red"),
        ({"const": 4}, 4),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"properties": {"a": {"type": "null"}}}, {"a": None}),
        ({"$defs": {"A": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/A"}}}, {"a": 1}),
    ],
)
def test_a_value_fits_its_schema(schema: dict[str, Any], value: object) -> None:
    assert sample_value(schema) == value


def test_a_schema_that_contains_itself_ends() -> None:
    assert isinstance(sample_value(LOOP), dict)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_nonsense_is_no_error(schema: object) -> None:
    sample_value(schema)
