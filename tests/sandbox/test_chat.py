"""Answers of a real process over a real socket: their shape, their usage, and the bill that must equal it."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from comptroller.sandbox.prices import Counts, charge_nanos, find_model
from comptroller.sandbox.tokens import count_tokens
from tests.sandbox.process import Line, SandboxProcess, charged
from tests.sandbox.raw import Response, chat, post

pytestmark = pytest.mark.processes

WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}
CLOCK = {"type": "function", "function": {"name": "get_time"}}


def usage_of(answer: Response) -> dict[str, Any]:
    if answer.headers["content-type"] == "application/json":
        return answer.json()["usage"]
    return answer.events()[-1]["usage"]


def assert_billed(line: Line, usage: dict[str, Any]) -> None:
    """The line says what the usage report says, and its charge follows from its counts."""
    assert line["input_tokens"] == usage["prompt_tokens"]
    assert line["output_tokens"] == usage["completion_tokens"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert line["cached_tokens"] == usage["prompt_tokens_details"]["cached_tokens"]
    assert line["reasoning_tokens"] == usage["completion_tokens_details"]["reasoning_tokens"]
    model = find_model(line["model"])
    assert model is not None
    assert int(line["charge_nanos"]) == charge_nanos(
        model,
        line["tier"],
        Counts(line["input_tokens"], line["cached_tokens"], output_tokens=line["output_tokens"]),
    )


@pytest.mark.parametrize("model", ["sandbox-large", "sandbox-small", "sandbox-reasoner", "sandbox-large-2026-01-01"])
@pytest.mark.parametrize("fields", [{}, WITH_USAGE, {"n": 3}, WITH_USAGE | {"n": 3}, {"max_tokens": 7}])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
def test_usage_is_the_bill(sandbox: SandboxProcess, model: str, fields: dict[str, Any], path: str) -> None:
    answer = post(sandbox, chat(model=model, **fields), path=path)
    assert answer.status == 200
    [line] = sandbox.settled()
    assert (line["state"], line["status"], line["fault"]) == ("done", 200, None)
    assert line["model"] == model.removesuffix("-2026-01-01")
    assert_billed(line, usage_of(answer))
    assert sandbox.total()["charge_nanos"] == line["charge_nanos"]


def test_json_has_the_shape_of_the_real_one(sandbox: SandboxProcess) -> None:
    body = post(sandbox, chat()).json()
    assert body["object"] == "chat.completion"
    assert body["id"].startswith("chatcmpl-")
    assert body["model"] == "sandbox-large-2026-01-01"
    assert body["service_tier"] == "default"
    assert isinstance(body["created"], int)
    [choice] = body["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "stop"
    assert body["usage"]["completion_tokens"] == count_tokens(choice["message"]["content"])
    assert 5 <= body["usage"]["completion_tokens"] <= 60


def test_a_stream_has_the_shape_of_the_real_one(sandbox: SandboxProcess) -> None:
    answer = post(sandbox, chat(**WITH_USAGE, sandbox={"output_tokens": 4}))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.data()[-1] == "[DONE]"
    *chunks, last = answer.events()
    assert last["choices"] == []
    assert all(chunk["usage"] is None and chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert len({chunk["id"] for chunk in [*chunks, last]}) == 1
    opening, *words, closing = answer.deltas()
    assert opening == {"role": "assistant", "content": "", "refusal": None}
    assert [count_tokens(delta["content"]) for delta in words] == [1, 1, 1, 1]
    assert closing == {}
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_stream_and_a_json_answer_say_the_same(sandbox: SandboxProcess) -> None:
    whole = post(sandbox, chat("the same")).json()["choices"][0]["message"]["content"]
    assert post(sandbox, chat("the same", stream=True)).text() == whole
    assert post(sandbox, chat("something else", stream=True)).text() != whole


def test_usage_is_streamed_only_when_asked(sandbox: SandboxProcess) -> None:
    for options in ({}, {"stream_options": {}}, {"stream_options": {"include_usage": False}}):
        events = post(sandbox, chat(stream=True, **options)).events()
        assert all("usage" not in event and event["choices"] for event in events)


def test_tokens_per_chunk(sandbox: SandboxProcess) -> None:
    control = {"output_tokens": 10, "tokens_per_chunk": 4}
    words = post(sandbox, chat(stream=True, sandbox=control)).deltas()[1:-1]
    assert [count_tokens(delta["content"]) for delta in words] == [4, 4, 2]


@pytest.mark.parametrize(
    ("limits", "tokens", "finish"),
    [
        ({"max_tokens": 5}, 5, "length"),
        ({"max_completion_tokens": 5}, 5, "length"),
        ({"max_tokens": 9, "max_completion_tokens": 5}, 5, "length"),
        ({"max_tokens": 5, "max_completion_tokens": 9}, 5, "length"),
        ({"max_tokens": 20}, 20, "stop"),
        ({"max_tokens": 21}, 20, "stop"),
        ({}, 20, "stop"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_output_limit_holds(
    sandbox: SandboxProcess, limits: dict[str, int], tokens: int, finish: str, stream: bool
) -> None:
    extra = WITH_USAGE if stream else {}
    answer = post(sandbox, chat(**limits, **extra, sandbox={"output_tokens": 20}))
    assert usage_of(answer)["completion_tokens"] == tokens
    choice = answer.events()[-2]["choices"][0] if stream else answer.json()["choices"][0]
    assert choice["finish_reason"] == finish


def test_without_a_limit_the_models_own_holds(sandbox: SandboxProcess) -> None:
    answer = post(sandbox, chat(sandbox={"output_tokens": 5_000}))
    assert usage_of(answer)["completion_tokens"] == 4_096


@pytest.mark.parametrize("stream", [False, True])
def test_each_choice_has_the_whole_limit(sandbox: SandboxProcess, stream: bool) -> None:
    extra = WITH_USAGE if stream else {}
    answer = post(sandbox, chat(n=4, max_tokens=6, **extra, sandbox={"output_tokens": 50}))
    assert usage_of(answer)["completion_tokens"] == 24
    if stream:
        assert all(len(answer.deltas(index)) == 8 for index in range(4))
    else:
        assert [choice["index"] for choice in answer.json()["choices"]] == [0, 1, 2, 3]


@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_is_billed_and_never_shown(sandbox: SandboxProcess, stream: bool) -> None:
    extra = WITH_USAGE if stream else {}
    control = {"reasoning_tokens": 30, "output_tokens": 4}
    answer = post(sandbox, chat(model="sandbox-reasoner", **extra, sandbox=control))
    usage = usage_of(answer)
    assert usage["completion_tokens"] == 34
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 30
    text = answer.text() if stream else answer.json()["choices"][0]["message"]["content"]
    assert count_tokens(text) == 4
    assert_billed(sandbox.settled()[0], usage)


def test_reasoning_is_part_of_the_limit(sandbox: SandboxProcess) -> None:
    control = {"reasoning_tokens": 30, "output_tokens": 4}
    body = post(sandbox, chat(model="sandbox-reasoner", max_completion_tokens=20, sandbox=control)).json()
    assert body["usage"]["completion_tokens"] == 20
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 20
    assert body["choices"][0]["message"]["content"] == ""
    assert body["choices"][0]["finish_reason"] == "length"


def test_a_reasoner_reasons_without_being_told(sandbox: SandboxProcess) -> None:
    usage = usage_of(post(sandbox, chat(model="sandbox-reasoner")))
    assert 20 <= usage["completion_tokens_details"]["reasoning_tokens"] <= 200


@pytest.mark.parametrize(
    ("asked", "served", "factor"),
    [
        (None, "default", 2),
        ("auto", "default", 2),
        ("default", "default", 2),
        ("priority", "priority", 4),
        ("flex", "flex", 1),
    ],
)
def test_tiers(sandbox: SandboxProcess, asked: str | None, served: str, factor: int) -> None:
    control = {"output_tokens": 10}
    fields = {} if asked is None else {"service_tier": asked}
    answer = post(sandbox, chat(sandbox=control, **fields))
    assert answer.json()["service_tier"] == served
    [line] = sandbox.settled()
    assert line["tier"] == served
    # 8 input tokens at 3 USD and 10 output tokens at 15 USD per million.
    assert int(line["charge_nanos"]) == (8 * 3_000 + 10 * 15_000) * factor // 2


def test_a_tier_may_be_served_that_was_not_asked(sandbox: SandboxProcess) -> None:
    body = post(sandbox, chat(service_tier="priority", sandbox={"served_tier": "default"})).json()
    assert body["service_tier"] == "default"
    assert sandbox.settled()[0]["tier"] == "default"


def test_the_cache_knows_the_beginning_of_a_conversation(sandbox: SandboxProcess) -> None:
    system = {"role": "system", "content": "You are a careful accountant of many small things. " * 3}
    first = chat(messages=[system, {"role": "user", "content": "one"}])
    second = chat(
        messages=[*first["messages"], {"role": "assistant", "content": "yes"}, {"role": "user", "content": "two"}]
    )
    assert usage_of(post(sandbox, first))["prompt_tokens_details"]["cached_tokens"] == 0
    usage = usage_of(post(sandbox, second))
    lines = sandbox.settled(2)
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert cached == lines[0]["input_tokens"]
    assert_billed(lines[1], usage)
    for other in (post(sandbox, second, key="sandbox-other"), post(sandbox, second | {"model": "sandbox-small"})):
        assert usage_of(other)["prompt_tokens_details"]["cached_tokens"] == 0
    only_system = usage_of(post(sandbox, chat(messages=[system, {"role": "user", "content": "three"}])))
    assert 16 <= only_system["prompt_tokens_details"]["cached_tokens"] < cached


def test_a_short_prefix_is_not_cached(sandbox: SandboxProcess) -> None:
    for _ in range(2):
        assert usage_of(post(sandbox, chat()))["prompt_tokens_details"]["cached_tokens"] == 0


def test_images_and_audio_are_counted_by_their_own_formula(sandbox: SandboxProcess) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 1_001, "format": "wav"}}
    text = {"type": "text", "text": "what is it"}

    def ask(*parts: object) -> dict[str, Any]:
        return usage_of(post(sandbox, chat(messages=[{"role": "user", "content": parts}])))

    plain = ask(text)["prompt_tokens"]
    assert ask(text, image, image)["prompt_tokens"] == plain + 2 * 765
    heard = ask(text, audio)
    assert heard["prompt_tokens"] == plain + 11
    assert heard["prompt_tokens_details"]["audio_tokens"] == 11


@pytest.mark.parametrize(
    ("fields", "name", "finish"),
    [
        ({"tool_choice": "required"}, "get_weather", "tool_calls"),
        ({"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, "get_time", "stop"),
        ({"sandbox": {"tool_call": True}}, "get_weather", "tool_calls"),
    ],
)
def test_tool_calls(sandbox: SandboxProcess, fields: dict[str, Any], name: str, finish: str) -> None:
    asked = chat(tools=[WEATHER, CLOCK], **fields)
    [choice] = post(sandbox, asked).json()["choices"]
    [call] = choice["message"]["tool_calls"]
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == finish
    assert call["function"]["name"] == name
    arguments = call["function"]["arguments"]
    assert json.loads(arguments) == ({"city": "text", "days": 1} if name == "get_weather" else {})

    streamed = post(sandbox, asked | WITH_USAGE)
    role, head, *pieces, closing = streamed.deltas()
    assert role["content"] is None
    assert closing == {}
    assert head["tool_calls"][0]["function"] == {"name": name, "arguments": ""}
    assert head["tool_calls"][0]["id"] == call["id"]
    assert "".join(piece["tool_calls"][0]["function"]["arguments"] for piece in pieces) == arguments
    usage = usage_of(streamed)
    assert usage["completion_tokens"] == count_tokens(arguments)
    assert_billed(sandbox.settled(2)[1], usage)


@pytest.mark.parametrize(
    "fields", [{}, {"tool_choice": "auto"}, {"tool_choice": "none", "sandbox": {"tool_call": True}}]
)
def test_tools_are_not_called_unasked(sandbox: SandboxProcess, fields: dict[str, Any]) -> None:
    [choice] = post(sandbox, chat(tools=[WEATHER], **fields)).json()["choices"]
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


def test_tools_are_billed_as_input(sandbox: SandboxProcess) -> None:
    plain = usage_of(post(sandbox, chat()))["prompt_tokens"]
    assert usage_of(post(sandbox, chat(tools=[WEATHER])))["prompt_tokens"] == plain + count_tokens(json.dumps(WEATHER))


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({"type": "json_object"}, {"answer"}),
        (
            {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER["function"]["parameters"]}},
            {"city", "days"},
        ),
    ],
)
def test_structured_answers_are_json(sandbox: SandboxProcess, wanted: dict[str, Any], keys: set[str]) -> None:
    body = post(sandbox, chat(response_format=wanted)).json()
    content = body["choices"][0]["message"]["content"]
    assert json.loads(content).keys() == keys
    assert body["usage"]["completion_tokens"] == count_tokens(content)


def test_unknown_fields_are_accepted_and_not_echoed(sandbox: SandboxProcess) -> None:
    answer = post(sandbox, chat(zebra={"stripes": 7}, metadata={"zebra": "yes"}, temperature=0.3, stop=["x"]))
    assert answer.status == 200
    assert b"zebra" not in answer.body


def test_many_clients_at_once(sandbox: SandboxProcess) -> None:
    def call(number: int) -> dict[str, Any]:
        extra = WITH_USAGE if number % 2 else {}
        return usage_of(post(sandbox, chat(f"number {number}", **extra), key=f"sandbox-{number % 5}"))

    with ThreadPoolExecutor(64) as pool:
        usages = list(pool.map(call, range(256)))
    lines = sandbox.settled(256)
    bill = sandbox.bill()
    assert len(bill["keys"]) == 5
    for field, reported in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        assert bill["total"][field] == sum(usage[reported] for usage in usages)
        assert bill["total"][field] == sum(account[field] for account in bill["keys"].values())
    assert int(bill["total"]["charge_nanos"]) == charged(lines)
