"""Tools that the next answers call, on every surface that has tools."""

import json
from typing import Any

import pytest

from tests.sandbox.process import SandboxProcess
from tests.sandbox.raw import chat, message, post, post_message

pytestmark = pytest.mark.processes

ARGUMENTS = {"text": "hello"}


@pytest.fixture(autouse=True)
def script(sandbox: SandboxProcess) -> None:
    calls = [{"tool": "echo", "arguments": ARGUMENTS}]
    assert post(sandbox, {"calls": calls}, path="/sandbox/script").json() == {"calls": calls}


def left(sandbox: SandboxProcess) -> int:
    return len(post(sandbox, b"", method="GET", path="/sandbox/script").json()["calls"])


def test_chat_calls_it_once(sandbox: SandboxProcess) -> None:
    other = {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}
    tool = {"type": "function", "function": {"name": "files_echo", "parameters": {"type": "object"}}}
    assert "tool_calls" not in post(sandbox, chat(tools=[other])).json()["choices"][0]["message"]
    assert left(sandbox) == 1
    [call] = post(sandbox, chat(tools=[other, tool])).json()["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("files_echo", ARGUMENTS)
    assert left(sandbox) == 0
    assert "tool_calls" not in post(sandbox, chat(tools=[tool])).json()["choices"][0]["message"]


def test_messages(sandbox: SandboxProcess) -> None:
    tool = {"name": "mcp__files__echo", "input_schema": {"type": "object"}}
    [block] = post_message(sandbox, message(tools=[tool])).json()["content"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "mcp__files__echo", ARGUMENTS)


def test_responses_look_into_namespaces(sandbox: SandboxProcess) -> None:
    inner = {"type": "function", "name": "echo", "parameters": {"type": "object"}}
    body: dict[str, Any] = {
        "model": "sandbox-large",
        "input": "go",
        "tools": [{"type": "namespace", "name": "mcp__files", "tools": [inner]}],
    }
    [item] = post(sandbox, body, path="/v1/responses").json()["output"]
    assert (item["namespace"], item["name"], json.loads(item["arguments"])) == ("mcp__files", "echo", ARGUMENTS)


def test_gemini(sandbox: SandboxProcess) -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"text": "go"}]}],
        "tools": [{"functionDeclarations": [{"name": "echo", "parameters": {"type": "OBJECT"}}]}],
    }
    path = "/v1beta/models/sandbox-large:generateContent"
    answer = post(sandbox, body, path=path, key=None, headers={"x-goog-api-key": "sandbox-test"}).json()
    assert answer["candidates"][0]["content"]["parts"] == [{"functionCall": {"name": "echo", "args": ARGUMENTS}}]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"calls": [{"tol": 1}]}'])
def test_a_script_that_cannot_be_is_refused(sandbox: SandboxProcess, body: bytes) -> None:
    assert post(sandbox, body, path="/sandbox/script").status == 400
    assert left(sandbox) == 1
