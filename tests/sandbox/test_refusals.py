"""Requests that the real provider would refuse: its error shape, its status, and nothing billed."""

from typing import Any

import pytest

from tests.sandbox.process import SandboxProcess
from tests.sandbox.raw import Response, chat, post

pytestmark = pytest.mark.processes

DEEP = b'{"model":"sandbox-large","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
DEEP_UNKNOWN = b'{"model":"sandbox-large","messages":[],"zebra":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def assert_refused(sandbox: SandboxProcess, answer: Response, status: int, param: str | None) -> None:
    assert answer.status == status
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["param"] == param
    [line] = sandbox.settled()
    assert (line["status"], line["charge_nanos"], line["input_tokens"]) == (status, "0", 0)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 5}, "model"),
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_completion_tokens": 10**9}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": 10**9}, "n"),
        ({"n": 1.5}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"service_tier": "turbo"}, "service_tier"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [5]}, None),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"sandbox": {"fault": "nonsense"}}, "sandbox.fault"),
        ({"sandbox": {"zebra": 1}}, "sandbox"),
        ({"sandbox": {"output_tokens": -1}}, "sandbox.output_tokens"),
        ({"sandbox": {"served_tier": "turbo"}}, "sandbox.served_tier"),
    ],
)
def test_a_wrong_field_is_named(sandbox: SandboxProcess, fields: dict[str, Any], param: str | None) -> None:
    assert_refused(sandbox, post(sandbox, chat() | fields), 400, param)


@pytest.mark.parametrize(
    "choice",
    ["sometimes", {"type": "function", "function": {"name": "g"}}],
)
def test_a_wrong_tool_choice(sandbox: SandboxProcess, choice: object) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert_refused(sandbox, post(sandbox, chat(tools=tools, tool_choice=choice)), 400, "tool_choice")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"model":"sandbox-large"',
        DEEP_UNKNOWN,
        b'{"model":"sandbox-large","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"sandbox-large","messages":[{"role":"user","content":"x","tool_calls":[{"a":"\xff"}]}]}',
        rb'{"model":"sandbox-large","messages":[{"role":"user","content":"\ud800"}]}',
        b'{"model":"sandbox-large","messages":[{"role":"user","content":"x"}],"tools":[{"function":{"name":"\\ud800"}}]}',
    ],
)
def test_what_is_not_json(sandbox: SandboxProcess, body: bytes) -> None:
    assert_refused(sandbox, post(sandbox, body), 400, None)


@pytest.mark.parametrize("body", [b"[]", b"5", b'"x"', b"null"])
def test_what_is_not_an_object(sandbox: SandboxProcess, body: bytes) -> None:
    assert_refused(sandbox, post(sandbox, body), 400, None)


def test_deep_nesting(sandbox: SandboxProcess) -> None:
    assert post(sandbox, DEEP).status == 400


def test_a_body_that_is_too_large(sandbox: SandboxProcess) -> None:
    assert_refused(sandbox, post(sandbox, b" " * (33 * 1024 * 1024)), 413, None)


def test_an_unknown_model(sandbox: SandboxProcess) -> None:
    answer = post(sandbox, chat(model="sandbox-huge"))
    assert answer.json()["error"]["code"] == "model_not_found"
    assert_refused(sandbox, answer, 404, None)


@pytest.mark.parametrize("key", [None, "", "sk-real-looking-key"])
def test_a_key_that_is_not_accepted(sandbox: SandboxProcess, key: str | None) -> None:
    answer = post(sandbox, chat(), key=key)
    assert b"real-looking" not in answer.body
    assert_refused(sandbox, answer, 401, None)
    assert sandbox.requests()[0]["key"] is None
    assert sandbox.bill()["keys"] == {}


def test_only_configured_keys_are_accepted() -> None:
    with SandboxProcess("--key", "one", "--key", "two") as sandbox:
        assert [post(sandbox, chat(), key=key).status for key in ("one", "two", "sandbox-x")] == [200, 200, 401]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/uploads", 404),
        ("GET", "/", 404),
        ("GET", "/v1/models/gpt-4o", 404),
        ("GET", "/sandbox/bill/requests?after=x", 400),
    ],
)
def test_what_is_not_there(sandbox: SandboxProcess, method: str, path: str, status: int) -> None:
    answer = post(sandbox, b"", method=method, path=path)
    assert answer.status == status
    assert answer.json()["error"]["message"]
    assert sandbox.count() == 0


def test_models_need_a_key(sandbox: SandboxProcess) -> None:
    assert post(sandbox, b"", method="GET", path="/v1/models", key=None).status == 401
    assert post(sandbox, b"", method="GET", path="/v1/models", key="sk-x").status == 401
