"""Requests that must be refused before anything is held: bad bodies, bad credentials, bad routes."""

import gzip
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"


@dataclass(frozen=True)
class Garbage:
    body: bytes
    path: str = CHAT
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    credential: bool = True  # send a good one


def garbage(dice: random.Random) -> Garbage:
    """One of them."""
    return dice.choice(_MAKERS)(dice)


def chat(**changes: Any) -> bytes:
    request = {"model": "sandbox-small", "messages": [{"role": "user", "content": "go"}]} | changes
    return json.dumps(request).encode()


def _half(dice: random.Random) -> Garbage:
    body = chat()
    return Garbage(body[: dice.randrange(len(body) - 1)])


def _wrong_type(dice: random.Random) -> Garbage:
    wrong: tuple[dict[str, Any], ...] = (
        {"model": 7},
        {"messages": "go"},
        {"messages": [3]},
        {"messages": []},
        {"max_tokens": -1},
        {"max_tokens": 1.5},
        {"max_tokens": "many"},
        {"n": 10**9},
        {"n": 0},
        {"stream": "yes"},
        {"stream_options": {"include_usage": True}},
    )
    return Garbage(chat(**dice.choice(wrong)))


def _wrong_message(dice: random.Random) -> Garbage:
    wrong: tuple[dict[str, Any], ...] = (
        {},  # no max_tokens
        {"max_tokens": 1.5},
        {"max_tokens": 9, "n": 2},
        {"max_tokens": 9, "max_completion_tokens": 900},
        {"max_tokens": 9, "Max_Tokens": 900},
        {"max_tokens": 9, "system": 7},
        {"max_tokens": 9, "thinking": {"type": "enabled", "budget_tokens": "all"}},
        {"max_tokens": 9, "billing_policy": {"bill_to": "somebody"}},
    )
    return Garbage(chat(**dice.choice(wrong)), path=MESSAGES)


def _deep(dice: random.Random) -> Garbage:
    levels = dice.choice((101, 1_000, 100_000))
    return Garbage(b'{"model": "sandbox-small", "messages": ' + b"[" * levels + b"]" * levels + b"}")


def _not_text(dice: random.Random) -> Garbage:
    return Garbage(dice.randbytes(dice.choice((1, 100, 5_000))))


def _twice(_dice: random.Random) -> Garbage:
    return Garbage(chat()[:-1] + b', "max_tokens": 5, "max_tokens": 500}')


def _unknown_model(_dice: random.Random) -> Garbage:
    return Garbage(chat(model="nobody-serves-this"))


def _unbounded(_dice: random.Random) -> Garbage:
    return Garbage(chat(web_search_options={}))


def _broken_gzip(dice: random.Random) -> Garbage:
    body = gzip.compress(chat(), mtime=0)
    return Garbage(body[: dice.randrange(1, len(body) - 1)], headers={"content-encoding": "gzip"})


def _stranger(dice: random.Random) -> Garbage:
    made_up = ("nobody", "cptr_nobody", "cptr_" + ".".join(("e30", "e30", "")), "sandbox-key", "Bearer")
    return Garbage(chat(), headers={"authorization": f"Bearer {dice.choice(made_up)}"}, credential=False)


def _two_faces(_dice: random.Random) -> Garbage:
    return Garbage(chat(), headers={"x-api-key": "cptr_somebody-else"})


def _no_credential(_dice: random.Random) -> Garbage:
    return Garbage(chat(), credential=False)


def _lost(dice: random.Random) -> Garbage:
    path = dice.choice(
        (
            "/",
            "/v1/assistants",
            "/v1/chat/completions/",
            "/v1//chat/completions",
            "/api/v1/calls",
            "/v1/complete",
            "/v1/messages/batches",
            "/openai/v1/messages",
        )
    )
    return Garbage(chat(), path=path)


def _wrong_method(dice: random.Random) -> Garbage:
    return Garbage(b"", method=dice.choice(("GET", "PUT", "DELETE")))


_MAKERS: tuple[Callable[[random.Random], Garbage], ...] = (
    _half,
    _wrong_type,
    _wrong_message,
    _deep,
    _not_text,
    _twice,
    _unknown_model,
    _unbounded,
    _broken_gzip,
    _stranger,
    _two_faces,
    _no_credential,
    _lost,
    _wrong_method,
)
