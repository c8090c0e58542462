"""The same request in the words of the other dialect: a chat request as a Messages request."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

PATHS = ("/v1/messages", "/anthropic/v1/messages", "/v1/messages?beta=true")
VERSION = {"anthropic-version": "2023-06-01"}

_LEAST_THINKING = 1_024
_DEFAULT_LIMIT = 800
# Every tier but the open ones is standard capacity: this API has no other to ask for.
_OPEN_TIERS = (None, "auto")


def as_messages(dice: random.Random, request: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a request, and mark what the provider's cache is to keep."""
    limits = [request[name] for name in ("max_tokens", "max_completion_tokens") if name in request]
    limit: int = limits[0] if limits else _DEFAULT_LIMIT
    control = dict(request["sandbox"])
    made: dict[str, Any] = {
        "model": request["model"],
        "max_tokens": limit,
        "messages": [_turn(turn) for turn in request["messages"] if turn["role"] != "system"],
    }
    systems = [turn["content"] for turn in request["messages"] if turn["role"] == "system"]
    if systems:
        made["system"] = [{"type": "text", "text": systems[0], **_mark(dice, 0.6)}]
    if dice.random() < 0.2:
        # What is kept for an hour must stand before what is kept for five minutes.
        hour_before = not systems or made["system"][0].get("cache_control", {}).get("ttl", "1h") == "1h"
        made |= _mark(dice, 1.0, ("5m", "1h") if hour_before else ("5m",))
    if request.get("stream"):
        made["stream"] = True
    tier = request.get("service_tier")
    if tier is not None:
        made["service_tier"] = "auto" if tier == "auto" else "standard_only"
    if tier not in _OPEN_TIERS or control.get("served_tier") != "priority":
        control.pop("served_tier", None)
    if "tools" in request:
        made |= _tools(request["tools"], request["tool_choice"])
    if control.get("reasoning_tokens") and made.get("tool_choice", {}).get("type") != "any":
        budgeted = limit > _LEAST_THINKING
        made["thinking"] = {"type": "enabled", "budget_tokens": _LEAST_THINKING} if budgeted else {"type": "adaptive"}
    return made | {"sandbox": control}


def _mark(dice: random.Random, share: float, lifetimes: Sequence[str] = ("5m", "1h")) -> dict[str, Any]:
    """For so many of the parts a mark that the provider's cache is to keep what stands up to there."""
    if dice.random() >= share:
        return {}
    return {"cache_control": {"type": "ephemeral", "ttl": dice.choice(lifetimes)}}


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    content = turn["content"]
    if isinstance(content, list):
        content = [_block(part) for part in content]
    return {"role": turn["role"], "content": content}


def _block(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "image_url":
        return {"type": "image", "source": {"type": "url", "url": part["image_url"]["url"]}}
    return {"type": "text", "text": part["text"]}


def _tools(tools: Sequence[Mapping[str, Any]], choice: str) -> dict[str, Any]:
    functions = [tool["function"] for tool in tools]
    offered = [
        {"name": each["name"], "description": each["description"], "input_schema": each["parameters"]}
        for each in functions
    ]
    return {"tools": offered, "tool_choice": {"type": "any" if choice == "required" else "auto"}}
