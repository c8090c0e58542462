"""Classes of arguments: what is found in them, and that what cannot be read is taken to hold everything."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.tool.classes import CLASSES, LARGE_BYTES, MOST_BYTES, MOST_TEXTS, OVERS, classes_of

TAIL = "a1b2c3d4" * 4  # of something that looks like a key; never a whole one in this file
HEADER = "eyJ" + "hbGciOiJIUzI1NiJ9"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({}, ()),
        ({"query": "restaurants in town", "limit": 10, "on": True}, ()),
        ({"path": "/srv/docs/a.md"}, ("path",)),
        ({"path": "docs/a.md"}, ()),
        ({"path": "~/notes"}, ("path",)),
        ({"path": "C:\\Users\\x"}, ("path",)),
        ({"path": "\\\\server\\share"}, ("path",)),
        ({"path": "../../etc/passwd"}, ("path", "parent_path")),
        ({"path": "a/b/.."}, ("parent_path",)),
        ({"path": "wait ... what"}, ()),
        ({"paths": [{"deep": ["/x"]}]}, ("path",)),
        ({"/etc/passwd": 1}, ("path",)),  # a name is text, too
        ({"url": "https://acme.example/a"}, ("url",)),
        ({"url": "see https://acme.example"}, ("url",)),
        ({"url": "http://localhost:8080/admin"}, ("url", "private_host")),
        ({"url": "http://169.254.169.254/latest"}, ("url", "private_host")),
        ({"url": "http://[::1]/"}, ("url", "private_host")),
        ({"url": "http://x@10.0.0.1:80"}, ("url", "private_host", "email")),
        ({"url": "http://0x7f.1/"}, ("url", "private_host")),
        ({"url": "http://127.1/"}, ("url", "private_host")),
        ({"url": "http://vault.svc/"}, ("url", "private_host")),
        ({"url": "https://8.8.8.8/"}, ("url",)),
        ({"host": "192.168.0.7"}, ("private_host",)),
        ({"host": "localhost"}, ("private_host",)),
        ({"version": "1.2.3.4"}, ()),
        ({"to": "ann@acme.example"}, ("email",)),
        ({"to": "say @ann or ann@"}, ()),
        ({"key": "ghp_" + TAIL}, ("secret",)),
        ({"text": "the key is sk-" + TAIL + " as agreed"}, ("secret",)),
        ({"text": "AKIA" + TAIL.upper()}, ("secret",)),
        ({"text": HEADER + "." + HEADER}, ("secret",)),
        ({"text": "-----BEGIN RSA " + "PRIVATE KEY-----\nMII"}, ("secret",)),
        ({"text": "cptr_" + TAIL}, ("secret",)),
        ({"text": "a sk-learn-contrib-project of task-management"}, ()),
        ({"password": "hunter2"}, ("secret",)),
        ({"db": {"api-key": "x"}}, ("secret",)),
        ({"password": ""}, ()),
        ({"max_tokens": 5, "token": None, "page_token": "abc"}, ()),
        ({"amount": 100}, ()),
        ({"amount": 100.01}, ("over_100",)),
        ({"amount": -5_000}, ("over_100", "over_1000")),
        ({"amount": "1,000,001"}, tuple(f"over_{number}" for number in OVERS)),
        ({"amount": "$250"}, ("over_100",)),
        ({"amount": 10**400}, tuple(f"over_{number}" for number in OVERS)),
        ({"amount": True, "date": "2026-11-23"}, ()),
        ({"text": "x " * (LARGE_BYTES // 2)}, ("large",)),
        ([1, "https://x.example"], ("url",)),
    ],
)  # fmt: skip
def test_what_is_in_arguments(arguments: object, found: tuple[str, ...]) -> None:
    assert classes_of(msgspec.json.encode(arguments)) == found


def test_an_escape_hides_nothing() -> None:
    assert classes_of(b'{"t":"\\u0067hp_' + TAIL.encode() + b'"}') == ("secret",)


@pytest.mark.parametrize(
    "arguments",
    [
        b'"' + b"x" * MOST_BYTES + b'"',
        msgspec.json.encode(["x"] * (MOST_TEXTS + 1)),
        b"[" * 5_000,
        b"{",
        b"",
        b'{"a":1e999}',
    ],
)
def test_what_is_not_read_may_hold_everything(arguments: bytes) -> None:
    assert classes_of(arguments) == CLASSES


@given(
    st.recursive(
        st.none() | st.text() | st.floats(allow_nan=False) | st.integers(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_arguments_have_classes_in_their_order(arguments: object) -> None:
    found = classes_of(msgspec.json.encode(arguments))
    assert found == tuple(name for name in CLASSES if name in found)
