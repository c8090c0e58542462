"""Messages of a real process over a real socket: shapes as recorded from the real API, and the bill behind them."""

import json
from typing import Any

import pytest

from comptroller.sandbox.prices import Counts, charge_nanos, find_model
from comptroller.sandbox.tokens import count_tokens
from tests.sandbox.process import Line, SandboxProcess
from tests.sandbox.raw import MESSAGES, VERSION, Response, chat, message, post, post_message

pytestmark = pytest.mark.processes

THINKS = {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}
WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
}
LONG = "a prompt that is sent more than once " * 10


def usage_of(answer: Response) -> dict[str, Any]:
    if answer.headers["content-type"] == "application/json":
        return answer.json()["usage"]
    events = dict(answer.named_events())
    return events["message_start"]["message"]["usage"] | events["message_delta"]["usage"]


def assert_billed(line: Line, usage: dict[str, Any]) -> None:
    """The line says what the usage report says, and its charge follows from its counts."""
    read, written = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    assert (line["cached_tokens"], line["cache_write_tokens"]) == (read, written)
    assert line["input_tokens"] == usage["input_tokens"] + read + written
    assert line["output_tokens"] == usage["output_tokens"]
    assert usage["cache_creation"] == {
        "ephemeral_5m_input_tokens": written - line["cache_write_1h_tokens"],
        "ephemeral_1h_input_tokens": line["cache_write_1h_tokens"],
    }
    model = find_model(line["model"])
    assert model is not None
    hour = line["cache_write_1h_tokens"]
    counts = Counts(line["input_tokens"], read, written, hour, line["output_tokens"])
    assert int(line["charge_nanos"]) == charge_nanos(model, line["tier"], counts)


def text_of(answer: Response) -> str:
    deltas = [data["delta"] for name, data in answer.named_events() if name == "content_block_delta"]
    return "".join(delta.get("text", "") for delta in deltas)


@pytest.mark.parametrize("fields", [{}, {"stream": True}, THINKS, THINKS | {"stream": True}, {"max_tokens": 3}])
@pytest.mark.parametrize("model", ["sandbox-large", "sandbox-small-2026-01-01"])
def test_usage_is_the_bill(sandbox: SandboxProcess, model: str, fields: dict[str, Any]) -> None:
    answer = post_message(sandbox, message(**{"model": model, **fields}))
    assert answer.status == 200
    [line] = sandbox.settled()
    assert (line["state"], line["status"], line["surface"]) == ("done", 200, "messages")
    assert line["api_version"] == "2023-06-01"
    assert_billed(line, usage_of(answer))
    assert sandbox.total()["charge_nanos"] == line["charge_nanos"]


def test_json_has_the_shape_of_the_real_one(sandbox: SandboxProcess) -> None:
    answer = post_message(sandbox, message())
    body = answer.json()
    assert body["id"].startswith("msg_")
    assert (body["type"], body["role"], body["model"]) == ("message", "assistant", "sandbox-large-2026-01-01")
    assert (body["stop_reason"], body["stop_sequence"]) == ("end_turn", None)
    [block] = body["content"]
    assert block["type"] == "text"
    assert body["usage"]["output_tokens"] == count_tokens(block["text"])
    assert body["usage"]["service_tier"] == "standard"
    assert answer.headers["request-id"].startswith("req_")


def test_a_stream_has_the_events_of_the_real_one(sandbox: SandboxProcess) -> None:
    answer = post_message(sandbox, message(stream=True, sandbox={"output_tokens": 3}))
    events = answer.named_events()
    deltas = ["content_block_delta"] * 3
    assert [name for name, _ in events] == [
        "message_start", "ping", "content_block_start", *deltas, "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert all(data["type"] == name for name, data in events)
    start = events[0][1]["message"]
    assert (start["content"], start["stop_reason"], start["usage"]["output_tokens"]) == ([], None, 0)
    assert events[2][1]["content_block"] == {"type": "text", "text": ""}
    assert events[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


def test_a_stream_and_a_json_answer_say_the_same(sandbox: SandboxProcess) -> None:
    whole = post_message(sandbox, message("the same")).json()["content"][0]["text"]
    assert text_of(post_message(sandbox, message("the same", stream=True))) == whole
    assert text_of(post_message(sandbox, message("something else", stream=True))) != whole


def test_the_output_limit_holds(sandbox: SandboxProcess) -> None:
    for limit, tokens, reason in ((5, 5, "max_tokens"), (20, 20, "end_turn"), (21, 20, "end_turn")):
        body = post_message(sandbox, message(max_tokens=limit, sandbox={"output_tokens": 20})).json()
        assert (body["usage"]["output_tokens"], body["stop_reason"]) == (tokens, reason)


def test_a_limit_of_zero_only_reads_the_prompt(sandbox: SandboxProcess) -> None:
    body = post_message(sandbox, message(max_tokens=0)).json()
    assert (body["content"], body["usage"]["output_tokens"]) == ([], 0)


@pytest.mark.parametrize("display", [None, "summarized", "omitted"])
def test_thinking_is_billed_as_output_and_shown_unless_it_is_omitted(
    sandbox: SandboxProcess, display: str | None
) -> None:
    thinking = THINKS["thinking"] | ({} if display is None else {"display": display})
    asked = message(**THINKS | {"thinking": thinking, "sandbox": {"reasoning_tokens": 30, "output_tokens": 5}})
    body = post_message(sandbox, asked).json()
    thought, text = body["content"]
    assert (thought["type"], text["type"]) == ("thinking", "text")
    shown = 0 if display == "omitted" else 30
    assert (count_tokens(thought["thinking"]), bool(thought["signature"])) == (shown, True)
    assert body["usage"]["output_tokens"] == 35
    assert body["usage"]["output_tokens_details"] == {"thinking_tokens": 30}
    events = post_message(sandbox, asked | {"stream": True}).named_events()
    kinds = [data["delta"]["type"] for name, data in events if name == "content_block_delta"]
    assert kinds == ["thinking_delta"] * shown + ["signature_delta"] + ["text_delta"] * 5
    assert [line["reasoning_tokens"] for line in sandbox.settled(2)] == [30, 30]


def test_nobody_thinks_unasked_and_the_budget_bounds_it(sandbox: SandboxProcess) -> None:
    assert len(post_message(sandbox, message(model="sandbox-reasoner")).json()["content"]) == 1
    asked = message(**THINKS | {"sandbox": {"reasoning_tokens": 5000, "output_tokens": 5}})
    assert post_message(sandbox, asked).json()["usage"]["output_tokens"] == 1024 + 5


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_a_tool_is_called(sandbox: SandboxProcess, stream: bool, choice: dict[str, str]) -> None:
    answer = post_message(sandbox, message(tools=[WEATHER], tool_choice=choice, stream=stream))
    [line] = sandbox.settled()
    if not stream:
        [block] = answer.json()["content"]
        assert block["id"].startswith("toolu_")
        assert (block["name"], block["input"]) == ("get_weather", {"city": "text", "days": 1})
        assert answer.json()["stop_reason"] == "tool_use"
    else:
        events = answer.named_events()
        [start] = [data["content_block"] for name, data in events if name == "content_block_start"]
        assert (start["type"], start["name"], start["input"]) == ("tool_use", "get_weather", {})
        parts = [data["delta"]["partial_json"] for name, data in events if name == "content_block_delta"]
        assert json.loads("".join(parts)) == {"city": "text", "days": 1}
    assert_billed(line, usage_of(answer))


def test_structured_output_is_json(sandbox: SandboxProcess) -> None:
    shape = {"format": {"type": "json_schema", "schema": {"properties": {"answer": {"type": "integer"}}}}}
    [block] = post_message(sandbox, message(output_config=shape)).json()["content"]
    assert json.loads(block["text"]) == {"answer": 1}


def test_the_cache_works_where_it_is_asked_for(sandbox: SandboxProcess) -> None:
    def system(ttl: str | None) -> list[dict[str, Any]]:
        mark = {} if ttl is None else {"cache_control": {"type": "ephemeral", "ttl": ttl}}
        return [{"type": "text", "text": LONG} | mark]

    for ttl in (None, None, "5m", "5m", "1h", "1h"):
        post_message(sandbox, message(system=system(ttl)))
    lines = sandbox.settled(6)
    tokens = count_tokens(LONG)
    found = [(line["cached_tokens"], line["cache_write_tokens"], line["cache_write_1h_tokens"]) for line in lines]
    assert found == [(0, 0, 0), (0, 0, 0), (0, tokens, 0), *[(tokens, 0, 0)] * 3]
    sandbox.clear_cache()
    usage = usage_of(post_message(sandbox, message(system=system("1h"))))
    assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": tokens}
    assert_billed(sandbox.settled(7)[-1], usage)


def test_a_conversation_that_grows_is_read_up_to_its_last_mark(sandbox: SandboxProcess) -> None:
    talk: list[dict[str, Any]] = []
    for turn in range(3):
        talk.append({"role": "user", "content": f"{turn} {LONG}"})
        answer = post_message(sandbox, message(messages=talk, cache_control={"type": "ephemeral"}))
        talk.append({"role": "assistant", "content": answer.json()["content"]})
    lines = sandbox.settled(3)
    assert [line["cached_tokens"] for line in lines[1:]] == [line["input_tokens"] for line in lines[:2]]
    assert all(line["cached_tokens"] + line["cache_write_tokens"] == line["input_tokens"] for line in lines)


def test_images_and_documents_have_a_number_of_their_own(sandbox: SandboxProcess) -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://pictures.example/1.png"}}
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}}
    for content in ([], [image], [document]):
        blocks = [{"type": "text", "text": "look"}, *content]
        post_message(sandbox, message(messages=[{"role": "user", "content": blocks}]))
    plain, pictured, filed = (line["input_tokens"] for line in sandbox.settled(3))
    assert (pictured - plain, filed - plain) == (765, 1500)


def test_a_system_message_may_come_in_the_middle(sandbox: SandboxProcess) -> None:
    talk = [{"role": "user", "content": "hello"}, {"role": "system", "content": "be brief"}]
    assert post_message(sandbox, message(messages=talk)).status == 200


# Refusals.


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"model": 5}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages.0.content.0"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"tools": [5]}, "object"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "any"}, **THINKS}, "tool_choice"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "budget_tokens"),
        ({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}}]}, "ttl"),
        ({"sandbox": {"fault": "nonsense"}}, "fault"),
        ({"sandbox": {"served_tier": "flex"}}, "tier"),
    ],
)
def test_a_wrong_field_is_named(sandbox: SandboxProcess, fields: dict[str, Any], named: str) -> None:
    assert_refused(sandbox, post_message(sandbox, message(**fields)), 400, "invalid_request_error", named)


def assert_refused(sandbox: SandboxProcess, answer: Response, status: int, kind: str, words: str) -> None:
    body = answer.json()
    assert (answer.status, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert words in body["error"]["message"]
    assert body["request_id"] == answer.headers["request-id"]
    [line] = sandbox.settled()
    assert (line["status"], line["charge_nanos"], line["input_tokens"]) == (status, "0", 0)


def test_marks_that_cannot_be(sandbox: SandboxProcess) -> None:
    def ask(*ttls: str) -> Response:
        blocks = [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": ttl}} for ttl in ttls]
        return post_message(sandbox, message(messages=[{"role": "user", "content": blocks}]))

    assert ask("1h", "1h", "5m", "5m").status == 200
    assert "must not come after" in ask("5m", "1h").json()["error"]["message"]
    assert "maximum of 4" in ask(*["5m"] * 5).json()["error"]["message"]


@pytest.mark.parametrize("version", [None, "yesterday"])
def test_the_version_must_be_said(sandbox: SandboxProcess, version: str | None) -> None:
    headers = {} if version is None else {"anthropic-version": version}
    answer = post(sandbox, message(), path=MESSAGES, headers=headers)
    assert_refused(sandbox, answer, 400, "invalid_request_error", "anthropic-version")


@pytest.mark.parametrize(
    "headers",
    [{"x-api-key": "sandbox-one"}, {"authorization": "Bearer sandbox-one"}],
)
def test_either_slot_takes_the_key(sandbox: SandboxProcess, headers: dict[str, str]) -> None:
    assert post(sandbox, message(), path=MESSAGES, key=None, headers=VERSION | headers).status == 200


@pytest.mark.parametrize("key", [None, "sk-ant-real-looking"])
def test_a_key_that_is_not_accepted(sandbox: SandboxProcess, key: str | None) -> None:
    answer = post_message(sandbox, message(), key=key)
    assert b"real-looking" not in answer.body
    assert_refused(sandbox, answer, 401, "authentication_error", "x-api-key")


def test_the_key_of_chat_is_a_bearer_token_only(sandbox: SandboxProcess) -> None:
    assert post(sandbox, chat(), key=None, headers={"x-api-key": "sandbox-one"}).status == 401


def test_an_unknown_model_or_path_is_refused_in_its_own_words(sandbox: SandboxProcess) -> None:
    unknown = post_message(sandbox, message(model="claude-x"))
    assert_refused(sandbox, unknown, 404, "not_found_error", "model")
    wrong = post(sandbox, b"", method="GET", path=MESSAGES)
    assert (wrong.status, wrong.json()["type"]) == (405, "error")
    lost = post(sandbox, b"", path="/v1/messages/nowhere")
    assert (lost.status, lost.json()["error"]["type"]) == (404, "not_found_error")


def test_models_in_the_shape_of_whoever_asks(sandbox: SandboxProcess) -> None:
    page = post(sandbox, b"", method="GET", path="/v1/models", headers=VERSION).json()
    assert page["has_more"] is False
    assert page["data"][0] | {"type": "model"} == page["data"][0]
    one = post(sandbox, b"", method="GET", path="/v1/models/sandbox-small", headers=VERSION).json()
    assert (one["id"], one["type"]) == ("sandbox-small", "model")


# Faults.


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        ("bad_request", 400, "invalid_request_error"),
        ("unauthorized", 401, "authentication_error"),
        ("payment_required", 402, "billing_error"),
        ("forbidden", 403, "permission_error"),
        ("rate_limited", 429, "rate_limit_error"),
        ("server_error", 500, "api_error"),
        ("overloaded", 529, "overloaded_error"),
    ],
)
def test_a_refusal_on_demand(sandbox: SandboxProcess, fault: str, status: int, kind: str) -> None:
    answer = post_message(sandbox, message(sandbox={"fault": fault}))
    assert_refused(sandbox, answer, status, kind, "sandbox fault")
    assert ("retry-after" in answer.headers) == (fault == "rate_limited")


def test_an_error_in_mid_stream_is_an_event(sandbox: SandboxProcess) -> None:
    answer = post_message(sandbox, message(stream=True, sandbox={"fault": "error_in_stream", "after_tokens": 2}))
    name, data = answer.named_events()[-1]
    assert (name, data["type"], data["error"]["type"]) == ("error", "error", "api_error")
    assert sandbox.settled()[0]["output_tokens"] == 2


@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_is_missing_zero_or_there_twice(sandbox: SandboxProcess, stream: bool) -> None:
    def ask(fault: str) -> bytes:
        return post_message(sandbox, message(stream=stream, sandbox={"fault": fault})).body

    assert b'"usage"' not in ask("no_usage")
    assert ask("usage_zero").count(b'"output_tokens":0') == 1 + stream
    assert ask("usage_twice").count(b'"usage"') == 2 + stream
    missing, free, twice = sandbox.settled(3)
    assert (int(missing["charge_nanos"]) > 0, free["charge_nanos"]) == (True, "0")
    assert int(twice["charge_nanos"]) > 0


def test_an_overrun_goes_beyond_its_limit(sandbox: SandboxProcess) -> None:
    body = post_message(sandbox, message(max_tokens=5, sandbox={"fault": "overrun", "by": 7})).json()
    assert (body["usage"]["output_tokens"], body["stop_reason"]) == (12, "max_tokens")


def test_a_cut_stream_bills_what_was_made(sandbox: SandboxProcess) -> None:
    wish = {"fault": "cut", "after_tokens": 4, "reasoning_tokens": 6, "output_tokens": 30}
    answer = post_message(sandbox, message(**THINKS | {"stream": True, "sandbox": wish}))
    assert answer.cut
    assert count_tokens(text_of(answer)) == 4
    [line] = sandbox.settled()
    assert (line["state"], line["output_tokens"], line["reasoning_tokens"]) == ("cut", 10, 6)
