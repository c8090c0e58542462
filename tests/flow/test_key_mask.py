"""Our own key in what a provider says: what is taken out, and what is left alone."""

import contextlib
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.flow.key_mask import RUN, KeyMask

KEY = b"sk-planted-" + b"Zq3hV8xT0bN5mR7w" + b"-end/of+it"
MASK = KeyMask(KEY)
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=RUN, max_size=200).map(str.encode)


def escaped(text: bytes) -> bytes:
    return b"".join(b"\\u%04x" % byte for byte in text)


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        b"Incorrect API key provided: " + KEY + b".",
        KEY * 3,
        b'{"error": {"message": "' + KEY + b'"}}\n' + KEY,
    ],
)
def test_the_whole_key_goes_in_any_answer(text: bytes) -> None:
    for masked in (MASK.plain(text), MASK.thorough(text)):
        assert KEY not in masked
        assert masked == text.replace(KEY, b"[key of the gateway]")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (b"begins with " + KEY[:RUN] + b"...", b"begins with [key of the gateway]..."),
        (b"..." + KEY[-RUN:], b"...[key of the gateway]"),
        (b"a" + KEY[5 : 5 + RUN] + b"b", b"a[key of the gateway]b"),
        (KEY[:20] + KEY[3:30], b"[key of the gateway][key of the gateway]"),
        (b'"' + escaped(KEY) + b'"', b'"[key of the gateway]"'),
        (b'"' + KEY[:9] + escaped(KEY[9:10]) + KEY[10:] + b'"', b'"[key of the gateway]"'),
        (b'"' + KEY.replace(b"/", b"\\/") + b'"', b'"[key of the gateway]"'),
        (b'"a\\nb ' + escaped(KEY).upper().replace(b"\\U", b"\\u") + b'"', b'"a\\nb [key of the gateway]"'),
    ],
)
def test_runs_and_escapes_go_in_an_error(text: bytes, left: bytes) -> None:
    assert MASK.thorough(text) == left


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"sk-planted-****nd/of+it",  # how providers name a key without giving it away
        KEY[: RUN - 1] + b" " + KEY[RUN - 1 :][: RUN - 1],
        b'{"message": "a \\u0041 \\/ b \\\\ c \\" d"}',
        b"\xff\xfe" + KEY[::-1],
        b"\\",
    ],
)
def test_what_holds_no_run_stays_as_it_was(text: bytes) -> None:
    assert MASK.thorough(text) == MASK.plain(text) == text


@pytest.mark.parametrize("key", [None, b"", b"EMPTY", b"sandbox-demo", b"x" * (RUN - 1)])
def test_a_word_is_no_key(key: bytes | None) -> None:
    mask = KeyMask() if key is None else KeyMask(key)
    text = b"it is EMPTY, sandbox-demo " + (key or b"")
    assert mask.plain(text) == mask.thorough(text) == mask.stream().feed(text) == text
    assert mask.name("EMPTY-model-of-the-century") == "EMPTY-model-of-the-century"


def test_a_name_with_the_key_in_it() -> None:
    assert MASK.name(f"gpt-{KEY.decode()}") == "gpt-[key of the gateway]"
    assert MASK.name("sandbox-large") == "sandbox-large"
    assert MASK.name(None) is None


@given(KEYS, st.binary(max_size=30), st.binary(max_size=30))
def test_no_key_is_left_however_json_spells_it(key: bytes, before: bytes, after: bytes) -> None:
    mask = KeyMask(key)
    text = json.dumps({"message": before.decode("latin-1") + key.decode() + after.decode("latin-1")}).encode()
    spelt = text.replace(key[:1], escaped(key[:1])) if key[:1].isalnum() else text
    for each in (text, text.replace(b"/", b"\\/"), spelt):
        masked = mask.thorough(each)
        assert key not in masked
        with contextlib.suppress(ValueError):  # no JSON any more, where the key was one of its own words
            assert key.decode() not in str(json.loads(masked))


@given(KEYS, st.binary(max_size=40), st.binary(max_size=40), st.lists(st.integers(0, 300), max_size=8))
def test_chunks_that_cut_the_key_in_pieces(key: bytes, before: bytes, after: bytes, cuts: list[int]) -> None:
    text = before + key + after
    at = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    stream = KeyMask(key).stream()
    said = b"".join(stream.feed(text[a:b]) for a, b in itertools.pairwise(at)) + stream.rest()
    assert key not in said
    assert said.startswith(before[: max(0, said.find(b"["))])


@given(st.lists(st.binary(max_size=20).map(lambda each: each.replace(b"\n", b"") + b"\n\n")))
def test_whole_events_never_wait(events: list[bytes]) -> None:
    stream = MASK.stream()
    for event in events:
        assert stream.feed(event) == event
    assert stream.rest() == b""
