"""Responses of a real process over a real socket: shapes as recorded from the real API, and the bill behind them."""

import json
from typing import Any

import pytest

from comptroller.sandbox.prices import Counts, charge_nanos, find_model
from comptroller.sandbox.tokens import count_tokens
from tests.sandbox.process import Line, SandboxProcess
from tests.sandbox.raw import Response, post

pytestmark = pytest.mark.processes

PATH = "/v1/responses"
LONG = "a prompt that is sent more than once " * 10
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}


def asked(given: Any = "hello there", /, **fields: Any) -> dict[str, Any]:
    return {"model": "sandbox-large", "input": given} | fields


def ask(sandbox: SandboxProcess, body: dict[str, Any] | bytes, **given: Any) -> Response:
    return post(sandbox, body, path=PATH, **given)


def last_of(answer: Response) -> Any:
    if answer.headers["content-type"] == "application/json":
        return answer.json()
    return answer.named_events()[-1][1]["response"]


def text_of(answer: Response) -> str:
    return "".join(data["delta"] for name, data in answer.named_events() if name == "response.output_text.delta")


def assert_billed(line: Line, usage: dict[str, Any]) -> None:
    """The line says what the usage report says, and its charge follows from its counts."""
    assert line["input_tokens"] == usage["input_tokens"]
    assert line["cached_tokens"] == usage["input_tokens_details"]["cached_tokens"]
    assert line["output_tokens"] == usage["output_tokens"]
    assert line["reasoning_tokens"] == usage["output_tokens_details"]["reasoning_tokens"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    model = find_model(line["model"])
    assert model is not None
    counts = Counts(line["input_tokens"], line["cached_tokens"], 0, 0, line["output_tokens"])
    assert int(line["charge_nanos"]) == charge_nanos(model, line["tier"], counts)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fields", [{}, {"max_output_tokens": 16}, {"service_tier": "flex"}, {"instructions": "short"}])
@pytest.mark.parametrize("model", ["sandbox-reasoner", "sandbox-small-2026-01-01"])
def test_usage_is_the_bill(sandbox: SandboxProcess, model: str, fields: dict[str, Any], stream: bool) -> None:
    answer = ask(sandbox, asked(**{"model": model, "stream": stream, **fields}))
    assert answer.status == 200
    [line] = sandbox.settled()
    assert (line["state"], line["status"], line["surface"]) == ("done", 200, "responses")
    assert_billed(line, last_of(answer)["usage"])
    assert last_of(answer)["service_tier"] == line["tier"]


def test_json_has_the_shape_of_the_real_one(sandbox: SandboxProcess) -> None:
    body = ask(sandbox, asked()).json()
    assert body["id"].startswith("resp_")
    assert (body["object"], body["status"], body["model"]) == ("response", "completed", "sandbox-large-2026-01-01")
    (message,) = body["output"]
    assert (message["type"], message["role"], message["status"]) == ("message", "assistant", "completed")
    (part,) = message["content"]
    assert (part["type"], part["annotations"]) == ("output_text", [])
    assert body["usage"]["output_tokens"] == count_tokens(part["text"])


def test_a_stream_has_the_events_of_the_real_one(sandbox: SandboxProcess) -> None:
    control = {"output_tokens": 3, "reasoning_tokens": 4}
    answer = ask(sandbox, asked(stream=True, sandbox=control, include=["reasoning.encrypted_content"]))
    events = answer.named_events()
    item = ["response.output_item.added", "response.output_item.done"]
    assert [name for name, _ in events] == [
        "response.created", "response.in_progress", *item, item[0], "response.content_part.added",
        *["response.output_text.delta"] * 3, "response.output_text.done", "response.content_part.done", item[1],
        "response.completed",
    ]  # fmt: skip
    assert all(data["type"] == name for name, data in events)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    last = last_of(answer)
    assert len({data["response"]["id"] for _, data in events if "response" in data}) == 1
    assert [each["type"] for each in last["output"]] == ["reasoning", "message"]
    assert last["output"][0]["encrypted_content"]
    done = [data["item"] for name, data in events if name == item[1]]
    assert done == last["output"]


def test_a_stream_and_a_json_answer_say_the_same(sandbox: SandboxProcess) -> None:
    whole = ask(sandbox, asked("the same")).json()["output"][0]["content"][0]["text"]
    assert text_of(ask(sandbox, asked("the same", stream=True))) == whole
    assert text_of(ask(sandbox, asked("something else", stream=True))) != whole


@pytest.mark.parametrize("stream", [False, True])
def test_the_output_limit_holds(sandbox: SandboxProcess, stream: bool) -> None:
    for limit, tokens, status in ((16, 16, "incomplete"), (20, 20, "completed"), (21, 20, "completed")):
        answer = ask(sandbox, asked(max_output_tokens=limit, stream=stream, sandbox={"output_tokens": 20}))
        last = last_of(answer)
        assert (last["usage"]["output_tokens"], last["status"]) == (tokens, status)
        assert bool(last["incomplete_details"]) == (status == "incomplete")


def test_a_summary_shows_what_it_thinks(sandbox: SandboxProcess) -> None:
    control = {"reasoning_tokens": 6, "output_tokens": 2}
    events = ask(sandbox, asked(stream=True, reasoning={"summary": "auto"}, sandbox=control)).named_events()
    thought = "".join(data["delta"] for name, data in events if name == "response.reasoning_summary_text.delta")
    assert count_tokens(thought) == 6
    assert events[-1][1]["response"]["output"][0]["summary"] == [{"type": "summary_text", "text": thought}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "get_weather"}])
def test_a_function_is_called(sandbox: SandboxProcess, stream: bool, choice: Any) -> None:
    last = last_of(ask(sandbox, asked(tools=[WEATHER], tool_choice=choice, stream=stream)))
    (call,) = last["output"]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "get_weather", "completed")
    assert json.loads(call["arguments"]) == {"city": "text", "days": 1}
    [line] = sandbox.settled()
    assert line["output_tokens"] == count_tokens(call["arguments"])


def test_what_comes_back_is_counted(sandbox: SandboxProcess) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'}
    output = {"type": "function_call_output", "call_id": "c", "output": "sunny"}
    items = [{"role": "user", "content": [{"type": "input_text", "text": "hello"}]}, call, output]
    ask(sandbox, asked(items))
    ask(sandbox, asked([*items, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "A" * 40}]))
    short, long = sandbox.settled(2)
    assert 0 < short["input_tokens"] < len(json.dumps(items))
    assert long["input_tokens"] > short["input_tokens"]


def test_the_cache_knows_what_was_sent_before(sandbox: SandboxProcess) -> None:
    first = {"role": "user", "content": LONG}
    for items in ([first], [first], [first, {"role": "assistant", "content": "yes"}]):
        ask(sandbox, asked(items, instructions="short"))
    lines = sandbox.settled(3)
    assert [bool(line["cached_tokens"]) for line in lines] == [False, True, True]
    assert lines[2]["cached_tokens"] == lines[1]["input_tokens"]


@pytest.mark.parametrize("form", [{"type": "json_object"}, {"type": "json_schema", "schema": WEATHER["parameters"]}])
def test_structured_output(sandbox: SandboxProcess, form: dict[str, Any]) -> None:
    answer = ask(sandbox, asked(text={"format": form})).json()
    assert isinstance(json.loads(answer["output"][0]["content"][0]["text"]), dict)


BAD: list[tuple[dict[str, Any], int, str | None]] = [
    ({"model": "gpt-5"}, 404, None),
    ({"input": 7}, 400, "input"),
    ({"input": [{"role": "robot", "content": "x"}]}, 400, "input[0].role"),
    ({"max_output_tokens": 15}, 400, "max_output_tokens"),
    ({"max_output_tokens": 10**9}, 400, "max_output_tokens"),
    ({"service_tier": "gold"}, 400, "service_tier"),
    ({"text": {"format": {"type": "yaml"}}}, 400, "text.format.type"),
    ({"tool_choice": "perhaps"}, 400, "tool_choice"),
    ({"tool_choice": {"type": "function", "name": "f"}}, 400, "tool_choice"),
    ({"previous_response_id": "resp_1"}, 400, "previous_response_id"),
    ({"sandbox": {"fault": "nonsense"}}, 400, "sandbox.fault"),
]


@pytest.mark.parametrize(("fields", "status", "param"), BAD)
def test_a_bad_request_is_refused_and_not_billed(
    sandbox: SandboxProcess, fields: dict[str, Any], status: int, param: str | None
) -> None:
    answer = ask(sandbox, asked(**fields))
    assert (answer.status, answer.json()["error"]["param"]) == (status, param)
    assert sandbox.settled()[0]["charge_nanos"] == "0"


def test_a_key_is_needed(sandbox: SandboxProcess) -> None:
    assert ask(sandbox, asked(), key=None).status == 401
    assert ask(sandbox, asked(), key="other").status == 401
    assert ask(sandbox, b"{", method="POST").status == 400


@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_is_missing_zero_or_there_twice(sandbox: SandboxProcess, stream: bool) -> None:
    def made(fault: str) -> Response:
        return ask(sandbox, asked(stream=stream, sandbox={"fault": fault}))

    assert last_of(made("no_usage"))["usage"] is None
    assert last_of(made("usage_zero"))["usage"]["output_tokens"] == 0
    assert made("usage_twice").body.count(b'"usage":{') == 2
    missing, free, twice = sandbox.settled(3)
    assert (int(missing["charge_nanos"]) > 0, free["charge_nanos"]) == (True, "0")
    assert int(twice["charge_nanos"]) > 0


def test_an_error_in_mid_stream_is_said_twice(sandbox: SandboxProcess) -> None:
    answer = ask(sandbox, asked(stream=True, sandbox={"fault": "error_in_stream", "after_tokens": 2}))
    assert [name for name, _ in answer.named_events()][-2:] == ["error", "response.failed"]
    assert sandbox.settled()[0]["output_tokens"] == 2


def test_an_overrun_goes_beyond_its_limit(sandbox: SandboxProcess) -> None:
    body = ask(sandbox, asked(max_output_tokens=16, sandbox={"fault": "overrun", "by": 7})).json()
    assert (body["usage"]["output_tokens"], body["status"]) == (23, "incomplete")


def test_a_cut_stream_bills_what_was_made(sandbox: SandboxProcess) -> None:
    wish = {"fault": "cut", "after_tokens": 4, "reasoning_tokens": 6, "output_tokens": 30}
    answer = ask(sandbox, asked(stream=True, sandbox=wish))
    assert answer.cut
    assert count_tokens(text_of(answer)) == 4
    [line] = sandbox.settled()
    assert (line["state"], line["output_tokens"], line["reasoning_tokens"]) == ("cut", 10, 6)


@pytest.mark.parametrize(
    ("fault", "status"), [("bad_request", 400), ("rate_limited", 429), ("server_error", 500), ("overloaded", 529)]
)
def test_a_refusal_on_demand(sandbox: SandboxProcess, fault: str, status: int) -> None:
    answer = ask(sandbox, asked(sandbox={"fault": fault}))
    assert answer.status == status
    assert "sandbox fault" in answer.json()["error"]["message"]
