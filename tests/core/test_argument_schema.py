"""JSON Schema for arguments: what a rule may say, what it asks, and what it says of arguments that it refuses."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.problem import Fault
from comptroller.core.tool.places import is_under, leads_to
from comptroller.core.tool.schema import ArgumentSchema, read_schema


def fault(schema: dict[str, Any], arguments: object) -> str | None:
    return ArgumentSchema(read_schema(schema)).fault(arguments)


DOCS: dict[str, Any] = {"properties": {"path": {"under": ["/srv/docs", "/tmp/x/"]}}, "required": ["path"]}
HOSTS: dict[str, Any] = {"properties": {"url": {"hosts": ["docs.acme.example", "*.acme.test"]}}, "required": ["url"]}
AMOUNT: dict[str, Any] = {"properties": {"amount": {"maximum": 100, "minimum": 0}}, "required": ["amount"]}


@pytest.mark.parametrize(
    ("schema", "arguments", "said"),
    [
        (DOCS, {"path": "/srv/docs/a.md"}, None),
        (DOCS, {"path": "/etc/passwd"}, "at `path`, it is not under /srv/docs or /tmp/x/"),
        (DOCS, {"path": ["/srv/docs"]}, 'at `path`, it is not of type "string"'),
        (DOCS, {}, '"path" is a required property'),
        (DOCS, {"file": "/srv/docs/a"}, '"path" is a required property'),
        (DOCS, "/srv/docs/a", 'it is not of type "object"'),
        (DOCS, ["/srv/docs/a"], 'it is not of type "object"'),
        (DOCS, None, 'it is not of type "object"'),
        (HOSTS, {"url": "https://docs.acme.example/a?b"}, None),
        (HOSTS, {"url": "https://evil.example"}, "at `url`, it does not lead to docs.acme.example or *.acme.test"),
        (AMOUNT, {"amount": 100}, None),
        (AMOUNT, {"amount": 99.5}, None),
        (AMOUNT, {"amount": 101}, "at `amount`, it is greater than the maximum of 100"),
        (AMOUNT, {"amount": 10**40}, "at `amount`, it is greater than the maximum of 100"),
        (AMOUNT, {"amount": "101"}, 'at `amount`, it is not of type "number"'),  # JSON Schema itself would let it pass
        (AMOUNT, {"amount": True}, 'at `amount`, it is not of type "number"'),
        (AMOUNT, {"amount": None}, 'at `amount`, it is not of type "number"'),
        ({"properties": {"to": {"pattern": "^[a-z]+@acme[.]example$"}}}, {"to": "ann@acme.example"}, None),
        ({"properties": {"to": {"pattern": "^[a-z]+@"}}}, {"to": "no"}, 'at `to`, it does not match "^[a-z]+@"'),
        ({"properties": {"to": {"format": "email"}}}, {"to": "no"}, 'at `to`, it is not a "email"'),
        (
            {"properties": {"to": {"items": {"enum": ["a", "b"]}}}},
            {"to": ["a", "z"]},
            'at `to[1]`, it is not one of "a" or "b"',
        ),
        (
            {"properties": {"a": True}, "additionalProperties": False},
            {"b": 1},
            "there is a name that the rule does not list",
        ),
        ({"propertyNames": {"maxLength": 3}}, {"long-name": 1}, "there is a name that is not as the rule asks"),
        (
            {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {},
            "it is not valid under any of the schemas listed in the 'anyOf' keyword",
        ),
        ({"properties": {"mode": {"not": {"const": "force"}}}}, {"mode": "soft"}, None),
        ({"properties": {"n": {"not": {"minimum": 5}}}}, {"n": 4}, None),
    ],
)  # fmt: skip
def test_what_arguments_may_be(schema: dict[str, Any], arguments: object, said: str | None) -> None:
    assert fault(schema, arguments) == said


KEYISH = "sk-" + "a1b2" * 8


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"q": {"maxLength": 3}}},
        {"properties": {"q": {"pattern": "^x"}}},
        {"properties": {"q": {"enum": ["x"]}}},
        {"properties": {"q": {"const": 5}}},
        {"properties": {"q": {"format": "uri"}}},
        {"properties": {"q": {"under": ["/x"]}}},
        {"properties": {"q": {"hosts": ["x"]}}},
        {"properties": {"q": False}},
        {"properties": {"q": {"type": "number"}}},
        {"properties": {"q": {"not": {"type": "string"}}}},
        {"properties": {"q": {"oneOf": [{"type": "string"}, {"minLength": 2}]}}},
        {"additionalProperties": {"type": "number"}},
        {"additionalProperties": False},
        {"unevaluatedProperties": False},
        {"patternProperties": {"^x": True}, "additionalProperties": False},
        {"propertyNames": {"maxLength": 2}},
        {"maxProperties": 0},
        {"dependentRequired": {"q": ["r"]}},
        {"if": {"required": ["q"]}, "then": {"required": ["r"]}},
    ],
)
def test_nothing_of_the_arguments_is_said(schema: dict[str, Any]) -> None:
    said = fault(schema, {"q": KEYISH, KEYISH: KEYISH, "nested": [{KEYISH: KEYISH}]})
    assert said is not None
    assert KEYISH not in said


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("x", "must be a table that is a JSON Schema"),
        ({"propertees": {}}, "there is no keyword `propertees` here. Did you mean 'properties'?"),
        ({"properties": {"path": {"patern": "x"}}}, "properties.path.patern: there is no keyword"),
        ({"properties": {"path": "/srv"}}, "properties.path must be a schema"),
        ({"$ref": "https://example.org/s"}, "there are no references"),
        ({"properties": {"a": {"$ref": "#"}}}, "there are no references"),
        ({"anyOf": [{"$dynamicRef": "#a"}]}, "anyOf[0].$dynamicRef"),
        ({"properties": {"a": {"format": "regex"}}}, "'regex' is not a format."),
        ({"properties": {"a": {"pattern": "(?=x)y"}}}, "This is no valid JSON Schema"),
        ({"properties": {"a": {"pattern": "("}}}, "This is no valid JSON Schema"),
        ({"properties": {"a": {"pattern": "(a{1000}){1000}"}}}, "This is no valid JSON Schema"),
        ({"patternProperties": {"(?=x)y": {}}}, "This is no valid JSON Schema"),
        ({"properties": {"a": {"type": "strng"}}}, "This is no valid JSON Schema"),
        ({"properties": {"a": {"maximum": "5"}}}, "This is no valid JSON Schema"),
        ({"properties": {"a": {"maximum": float("inf")}}}, "inf has no form in JSON"),
        ({"properties": {"a": {"under": "/srv"}}}, "this must be a list of texts"),
        ({"properties": {"a": {"under": ["/srv/../etc"]}}}, "is not a plain path"),
        ({"properties": {"a": {"hosts": []}}}, "this must be a list of texts"),
        ({"properties": {"a": {"hosts": ["https://"]}}}, "is not a host"),
        ({"properties": {"a": {"hosts": ["a.example/path b"]}}}, "is not a host"),
        ({"description": "x" * 20_000}, "may have 16384"),
    ],
)
def test_what_is_wrong_in_a_schema_is_said(schema: Any, said: str) -> None:
    with pytest.raises(Fault) as raised:
        read_schema(schema)
    assert said in f"{raised.value.sentence} {raised.value.hint}"


def test_a_schema_of_any_depth_is_an_error_and_no_crash() -> None:
    schema: dict[str, Any] = {}
    for _ in range(3_000):
        schema = {"items": schema} if len(schema) % 2 else {"enum": [schema]}
    with pytest.raises(Fault):
        read_schema(schema)


def test_a_pattern_that_would_backtrack_is_matched_in_linear_time() -> None:
    """2^200,000 steps would not end; nothing is measured here."""
    schema = {"properties": {"a": {"pattern": "^(a+)+$"}}}
    assert fault(schema, {"a": "a" * 200_000 + "!"}) is not None


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/srv/docs", True),
        ("/srv/docs/", True),
        ("/srv/docs/a/b.md", True),
        ("/srv/docs/..", False),
        ("/srv/docs/../../etc/passwd", False),
        ("/srv/docs/a/./b", False),
        ("/srv/docs//etc", False),
        ("/srv/docs/a\\..\\..", False),
        ("/srv/docs/a\x00.md", False),
        ("/srv/docs\n/a", False),
        ("/srv/docsy", False),
        ("/srv", False),
        ("srv/docs/a", False),
        ("", False),
        ("/srv/docs/..a", True),  # a name like any other
        ("/srv/docs/%2e%2e/a", True),  # on a disk as well
        ("file:///srv/docs/a", True),
        ("file:///srv/docs/%2e%2e/a", False),
        ("file:///srv/docs/../a", False),
    ],
)
def test_what_is_under_a_folder(path: str, inside: bool) -> None:
    assert is_under(path, ["/srv/docs", "file:///srv/docs"]) is inside


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://docs.acme.example", True),
        ("http://DOCS.acme.example:8080/a?b#c", True),
        ("docs.acme.example:443", True),
        ("https://docs.acme.example./a", True),
        ("https://x.acme.test/", True),
        ("https://a.b.acme.test", True),
        ("https://acme.test", False),
        ("https://xacme.test", False),
        ("https://.acme.test", False),
        ("https://docs.acme.example@evil.example/", False),
        ("https://docs.acme.example:pw@evil.example/", False),
        ("https://evil.example/docs.acme.example", False),
        ("https://evil.example#docs.acme.example", False),
        ("https://evil.example\\@docs.acme.example", False),
        ("https://docs.acme.example\\.evil.example", False),
        ("https://docs.acme.example.evil.example", False),
        ("https://docs.acme.example /", False),
        ("https://docs.acme.example/\nx", False),
        ("https://docs.acme.example%2eevil.example", False),
        ("javascript://docs.acme.example/%0aalert(1)", False),
        ("file://docs.acme.example/etc/passwd", False),
        ("//docs.acme.example", False),
        ("https:docs.acme.example", False),
        ("https://dócs.acme.example", False),
        ("", False),
    ],
)
def test_where_a_url_leads(url: str, allowed: bool) -> None:
    assert leads_to(url, ["docs.acme.example", "*.acme.test"]) is allowed


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(values)
def test_any_arguments_have_an_answer(arguments: object) -> None:
    for schema in (DOCS, HOSTS, AMOUNT):
        fault(schema, arguments)
