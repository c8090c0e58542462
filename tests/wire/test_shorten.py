"""Shorter results of tools: as long as they may be, with their beginning, their end, and what was left out."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.flow.trim import Trimmed
from comptroller.wire import shorten
from comptroller.wire.parts import size
from comptroller.wire.shorten import shorten_content, shortened
from tests.wire import talks
from tests.wire.talks import Talk
from tests.wire.test_trim import DIALECTS, Dialect, cap, encode, trimmed

LEAST = 1_000


@given(text=st.text(max_size=3_000), most=st.integers(LEAST, 9_000))
def test_a_text_is_no_longer_than_it_may_be(text: str, most: int) -> None:
    short = shortened(text, most, "c")
    assert len(short.encode()) <= most
    assert short == text or len(text.encode()) > most
    if short != text:
        first, said, last = (
            short.split("\n[... ")[0],
            "bytes left out here by the gateway: c",
            short.split(" ...]\n")[-1],
        )
        assert said in short
        assert text.startswith(first)
        assert text.endswith(last)


PARTS = st.lists(
    st.one_of(
        st.text(max_size=2_000).map(lambda text: {"type": "text", "text": text}),
        st.text(max_size=2_000).map(lambda text: {"stdout": text, "stderr": "x", "outcome": {"type": "exit"}}),
        st.just({"type": "image", "source": {"data": talks.PIXEL}}),
    ),
    max_size=4,
)


@given(parts=PARTS, most=st.integers(LEAST, 6_000))
def test_parts_stay_and_their_texts_get_shorter(parts: list[Any], most: int) -> None:
    before = json.dumps(parts)
    short: Any = shorten_content(parts, most, "c")
    assert json.dumps(parts) == before, "what came is not touched"
    assert size(short) <= max(most, 0)
    assert [part.keys() for part in short] == [part.keys() for part in parts]
    assert [part for part in short if part.get("type") == "image"] == [
        part for part in parts if part.get("type") == "image"
    ]


def test_an_image_is_never_cut() -> None:
    image = {"type": "image", "source": {"data": "x" * 5_000}}
    assert shorten_content([image, {"type": "text", "text": "y" * 100}], LEAST, "c")[0] == image  # type: ignore[index]


@pytest.mark.parametrize(("length", "cut"), [(20, 0), (400, 2_000)])
def test_many_texts_are_written_as_json_once_and_short_ones_are_not_tried(
    length: int, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request may have ten thousand parts: what is done for each of them may not be done to all of them."""
    parts = [{"type": "text", "text": "y" * length} for _ in range(2_000)]
    whole, written, tried = size(parts), list[int](), list[str]()

    def measured(value: object) -> int:
        written.append(size(value))
        return written[-1]

    def tries(text: str, most_bytes: int, by: str) -> str:
        tried.append(text)
        return shortened(text, most_bytes, by)

    monkeypatch.setattr(shorten, "size", measured)
    monkeypatch.setattr(shorten, "shortened", tries)
    short = shorten_content(parts, LEAST, "c")
    assert sum(written) <= 3 * whole
    assert len(tried) == cut
    assert (size(short) < whole) == bool(cut)


def results(name: str, request: dict[str, Any]) -> list[Any]:
    """The content of every result."""
    match name:
        case "chat":
            return [each["content"] for each in request["messages"] if each["role"] == "tool"]
        case "responses":
            return [each["output"] for each in request["input"] if each.get("type") == "function_call_output"]
        case "messages":
            blocks = [block for each in request["messages"] for block in each["content"]]
            return [block["content"] for block in blocks if block["type"] == "tool_result"]
        case _:
            parts = [part for each in request["contents"] for part in each["parts"]]
            return [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]


@settings(max_examples=60, deadline=None)
@given(talk=talks.talks(), most=st.integers(LEAST, 4_000))
@pytest.mark.parametrize("name", DIALECTS)
def test_results_get_shorter_and_nothing_else_changes(name: str, talk: Talk, most: int) -> None:
    dialect: Dialect = DIALECTS[name]
    request = dialect.say(talk)
    done = trimmed(dialect, request, cap(tool_result_bytes=most))
    assert isinstance(done, Trimmed)
    shorter = json.loads(done.body)
    dialect.judge(shorter)
    before, after = results(name, request), results(name, shorter)
    assert len(before) == len(after), "no message has to go for this"
    assert all(size(each) <= most for each in after)
    assert [each for each in after if "left out here" not in json.dumps(each)] == [
        each for each in before if size(each) <= most
    ]
    if before == after:
        assert done.detail == ""
        assert json.loads(encode(request)) == shorter


@pytest.mark.parametrize(
    ("response", "key"),
    [
        ({"output": "x" * 5_000}, "output"),
        ({"content": "x" * 5_000}, "content"),
        ({"error": "x" * 5_000, "code": 7}, "error"),
        ({"rows": [{"name": "x" * 50}] * 100}, "output"),
        (["x" * 5_000], "output"),
    ],
)
def test_the_response_of_a_function_stays_an_object(response: Any, key: str) -> None:
    talk = Talk(
        None, [talks.Turn(["go"], 0, [talks.Group(1, thinks=False, text=None, results=["r"], image=False)], None)]
    )
    request = talks.gemini(talk)
    request["contents"][-1]["parts"] = [{"function_response": {"name": "look", "response": response}}]
    done = trimmed(DIALECTS["gemini"], request, cap(tool_result_bytes=LEAST))
    assert isinstance(done, Trimmed)
    (part,) = json.loads(done.body)["contents"][-1]["parts"]
    short = part["function_response"]["response"]
    assert list(short) == [key]
    assert size(short) <= LEAST
    assert done.detail == "1 tool result shortened"
