"""The same request in the words of a third dialect: a chat request as a Responses request."""

import random
from collections.abc import Mapping
from typing import Any

PATHS = ("/v1/responses", "/openai/v1/responses")

_LEAST_LIMIT = 16  # the API refuses a smaller one
_COPIED = ("model", "stream", "service_tier", "tool_choice", "sandbox")


def as_responses(dice: random.Random, request: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a request; at times what it says before the last message is what was said in earlier turns."""
    made = {name: request[name] for name in _COPIED if name in request}
    limits = [request[name] for name in ("max_tokens", "max_completion_tokens") if name in request]
    if limits:
        made["max_output_tokens"] = max(_LEAST_LIMIT, limits[0])
    turns = request["messages"]
    if turns[0]["role"] == "system":
        made["instructions"], turns = turns[0]["content"], turns[1:]
    made["input"] = [_item(turn) for turn in turns]
    if dice.random() < 0.2:
        call = {"call_id": "call_1", "name": "look_up", "arguments": '{"what": "it"}'}
        output = {"type": "function_call_output", "call_id": "call_1", "output": "found"}
        made["input"] += [{"type": "function_call", **call}, output]
    if isinstance(made["input"][0]["content"], str) and len(made["input"]) == 1 and dice.random() < 0.3:
        made["input"] = made["input"][0]["content"]
    if dice.random() < 0.3:
        made["include"] = ["reasoning.encrypted_content"]
    if dice.random() < 0.3:
        made["store"] = False
    if dice.random() < 0.3:
        made["reasoning"] = {"summary": "auto"}
    if "tools" in request:
        made["tools"] = [{"type": "function", **tool["function"]} for tool in request["tools"]]
    return made


def _item(turn: Mapping[str, Any]) -> dict[str, Any]:
    content = turn["content"]
    if isinstance(content, list):
        content = [_part(part) for part in content]
    return {"role": turn["role"], "content": content}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "image_url":
        return {"type": "input_image", "detail": "auto", "image_url": part["image_url"]["url"]}
    return {"type": "input_text", "text": part["text"]}
