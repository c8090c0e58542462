"""What a control did to a call is said in one header, as a structured field."""

from __future__ import annotations

import pytest

from comptroller.core.effect import Effect, header_value


@pytest.mark.parametrize(
    ("effects", "header"),
    [
        ((Effect("trimmed", "long-chats", "12 messages"),), b'trimmed;rule="long-chats";detail="12 messages"'),
        ((Effect("shadowed", "burst"), Effect("routed", "simple")), b'shadowed;rule="burst", routed;rule="simple"'),
        ((Effect("warned", "loops", 'says "x\\y"'),), b'warned;rule="loops";detail="says \\"x\\\\y\\""'),
        ((Effect("warned", "loops", "new\r\nline: é"),), b'warned;rule="loops";detail="new??line: ?"'),
        ((Effect("warned", "loops", "x" * 500),), b'warned;rule="loops";detail="' + b"x" * 160 + b'"'),
        ((Effect("queued", "rate"),) * 9, b", ".join([b'queued;rule="rate"'] * 8)),
    ],
    ids=["one", "two", "quotes", "unprintable", "long", "many"],
)
def test_the_header_is_a_list_of_tokens_with_strings(effects: tuple[Effect, ...], header: bytes) -> None:
    assert header_value(effects) == header
