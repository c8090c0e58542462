"""A request that turns thinking on, or says how it is shown, may be billed for what nobody sees."""

import json
from typing import Any

import pytest

from comptroller.core.refusal import Refusal
from comptroller.wire import anthropic_messages, openai_chat, openai_responses
from comptroller.wire.gemini import read_request as read_gemini
from comptroller.wire.head import Head

TURNS = [{"role": "user", "content": "go"}]


def hides(dialect: str, fields: dict[str, Any]) -> bool:
    found: Any
    if dialect == "gemini":
        body = {"contents": [{"parts": [{"text": "go"}]}], "generationConfig": fields}
        found = read_gemini(json.dumps(body).encode(), Head("m"), stream=True)
    elif dialect == "responses":
        found = openai_responses.read_request(json.dumps({"model": "m", "input": "go", **fields}).encode())
    else:
        read: Any = openai_chat.read_request if dialect == "chat" else anthropic_messages.read_request
        found = read(json.dumps({"model": "m", "max_tokens": 9, "messages": TURNS, **fields}).encode())
    assert not isinstance(found, Refusal), found
    hidden: bool = found.asked.hides_output
    return hidden


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        ("chat", {"reasoning_effort": "high"}),
        ("chat", {"reasoning_effort": "high", "n": 1}),
        ("chat", {"include_reasoning": False}),
        ("chat", {"reasoning_format": "hidden"}),
        ("chat", {"reasoning": {"exclude": True}}),
        ("chat", {"enable_thinking": True}),
        ("chat", {"chat_template_kwargs": {"enable_thinking": True}}),
        ("chat", {"extra_body": {"google": {"thinking_config": {}}}}),
        ("messages", {"thinking": {"type": "enabled", "budget_tokens": 1_024}}),
        ("messages", {"thinking": {"type": "adaptive", "display": "omitted"}}),
        ("responses", {"reasoning": {"effort": "high"}}),
        ("responses", {"reasoning": {"exclude": True}}),
        ("gemini", {"thinkingConfig": {"thinkingBudget": -1}}),
        ("gemini", {"thinking_config": {"include_thoughts": False}}),
    ],
)
def test_thinking_that_is_asked_for_may_be_hidden(dialect: str, fields: dict[str, Any]) -> None:
    assert hides(dialect, fields)


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        ("chat", {}),
        ("chat", {"reasoning_effort": None, "verbosity": "low"}),
        ("chat", {"reasoning_effort": "none"}),
        ("chat", {"enable_thinking": False}),
        ("messages", {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}),
        ("responses", {"reasoning": {"effort": "none"}}),
        ("gemini", {"thinkingConfig": {"thinkingBudget": 0}}),
        ("gemini", {"temperature": 1}),
    ],
)
def test_thinking_that_is_off_is_not(dialect: str, fields: dict[str, Any]) -> None:
    assert not hides(dialect, fields)
