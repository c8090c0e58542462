"""What a body costs to read is bounded before anything is made of it; honest bodies of any size are read."""

import base64
import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.refusal import Refusal
from comptroller.wire.anthropic_messages import read_request as read_messages
from comptroller.wire.anthropic_messages.contents import _sentence_ends
from comptroller.wire.body import MOST_MARKS, MOST_NUMBER_BYTES, _outside_of_texts, read_object
from comptroller.wire.openai_chat import read_request as read_chat
from comptroller.wire.openai_responses import read_request as read_responses

LARGEST = 10_000_000
HEAD = b'{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"}],"u":'


def of(value: bytes) -> bytes:
    return HEAD + value + b"}"


def array(unit: bytes, count: int) -> bytes:
    return b"[" + b",".join([unit] * count) + b"]"


def refusal(body: bytes) -> Refusal:
    read = read_object(body)
    assert isinstance(read, Refusal)
    assert read.code == "request_invalid"
    return read


@pytest.mark.parametrize(
    "unit", [b'{"a":{"b":{"c":{}}}}', b"{}", b"[]", b"1", b'""', b'"\\""', b'{"type":"new"}', b"[[[[[]]]]]"]
)
def test_a_flood_of_values_is_refused(unit: bytes) -> None:
    read = refusal(of(array(unit, LARGEST // (len(unit) + 1) - 100)))
    assert "more than 100,000 values" in read.sentence
    assert read.hint


@pytest.mark.parametrize("unit", [b"1." + b"1" * 40 + b"e-300", b"9" * 4_000, b"0." + b"9" * 1_000_000])
def test_a_flood_of_digits_is_refused(unit: bytes) -> None:
    read = refusal(of(array(unit, min(LARGEST // (len(unit) + 1), MOST_MARKS - 100))))
    assert "500,000 bytes of numbers" in read.sentence
    assert read.hint


def test_the_bounds_are_exact() -> None:
    inside = MOST_MARKS - HEAD.count(b"{") - HEAD.count(b"[") - HEAD.count(b",")
    assert isinstance(read_object(of(array(b"1", inside))), dict)
    assert isinstance(read_object(of(array(b"1", inside + 1))), Refusal)
    digits = MOST_NUMBER_BYTES // 4_000 - 1
    assert isinstance(read_object(of(array(b"9" * 4_000, digits) + b" " * 10_000)), dict)
    assert isinstance(read_object(of(array(b"9" * 4_000, digits + 2))), Refusal)


def test_marks_and_digits_in_texts_are_no_values() -> None:
    text = '{"a":[1,2,3,"\\\\","\\""]},\n' * 200_000
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    assert body.count(b",") > 5 * MOST_MARKS
    assert read_object(body) == json.loads(body)


TEXTS = st.text(st.sampled_from('ab1\\"{}[],: \n'), max_size=6)


@given(st.recursive(TEXTS | st.integers(), lambda i: st.lists(i, max_size=3) | st.dictionaries(TEXTS, i, max_size=3)))
def test_what_is_outside_of_texts(value: Any) -> None:
    body = json.dumps(value).encode()
    plain = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", body)
    assert _outside_of_texts(body) == plain


def read_by_all(body: bytes) -> None:
    for read in (read_chat, read_messages):
        assert not isinstance(read(body), Refusal)
    as_responses = body.replace(b'"max_tokens":', b'"max_output_tokens":', 1).replace(b'"messages":', b'"input":', 1)
    assert not isinstance(read_responses(as_responses), Refusal)


def conversation(*contents: Any) -> bytes:
    messages = [{"role": "user", "content": content} for content in contents]
    return json.dumps({"model": "m", "max_tokens": 5, "messages": messages}, ensure_ascii=False).encode()


HONEST = random.Random(1)
IMAGE = "data:image/png;base64," + base64.b64encode(HONEST.randbytes(900_000)).decode()
PROSE = 'Well, he said {it}, "twice", and [sighed]; the path was C:\\temp.\n' * 18_000


@pytest.mark.parametrize(
    "body",
    [
        conversation([{"type": "image_url", "image_url": {"url": IMAGE}}] * 4, PROSE[:200_000]),
        conversation(*[PROSE] * 5),
        conversation(*["été, 1, 2; " * 30] * 3_000),
        of(json.dumps([{"name": f"n{i}", "value": i / 7} for i in range(1_000)]).encode()),
    ],
    ids=["images", "prose", "many messages", "a table"],
)
def test_honest_bodies_are_read(body: bytes) -> None:
    read_by_all(body)


def escaped(body: bytes) -> bytes:
    """As large as may come, and spelled so that nothing can be proven quickly."""
    return body[:-1] + b',"s":"' + b"\\u0061" * ((LARGEST - len(body)) // 6 - 2) + b'"}'


WORST = {
    "nested": of(array(b'{"a":{"b":{"c":{}}}}', MOST_MARKS // 5 - 2)),
    "parts": of(array(b'{"type":"new","a":1}', MOST_MARKS // 3 - 10)),
    "wide": HEAD + b"1," + b",".join(b'"%d":1' % i for i in range(MOST_MARKS - 10)) + b"}",
    "deep": of(array(b"[" * 90 + b"]" * 90, MOST_MARKS // 91 - 2)),
    "digits": of(array(b"1." + b"1" * 40 + b"e-300", MOST_NUMBER_BYTES // 50)),
    "huge numbers": of(array(b"9" * 4_000, MOST_NUMBER_BYTES // 4_000 - 5)),
}


@pytest.mark.parametrize("what", WORST)
def test_the_worst_that_is_read(what: str) -> None:
    read_by_all(escaped(WORST[what]))  # measured: 0.2 to 0.3 s on a busy machine; without the bounds it was 5 s


def test_a_document_of_punctuation() -> None:
    for text in ("." * 9_000_000, ".a" * 4_500_000, "é。" * 1_800_000, "😀" * 2_400_000):
        source = {"type": "text", "media_type": "text/plain", "data": text}
        body = conversation([{"type": "document", "source": source, "citations": {"enabled": True}}])
        read_by_all(body)


@given(st.text())
def test_the_ends_of_sentences(text: str) -> None:
    assert _sentence_ends(text) == len(re.findall(r"[^\w ]", text))
