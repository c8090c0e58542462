"""What each client will do, drawn from the seed alone: the same seed is the same plan, whatever the machine does."""

import gzip
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.torture import messages, responses
from tests.torture.garbage import Garbage, garbage
from tests.torture.world import TAIL_TOKENS, VISIBLE_AHEAD, VISIBLE_MODEL, VISIBLE_TOKENS_PER_S, Mode

Manners = Literal["patient", "leaves_unanswered", "leaves_midway", "slow", "hangs_up_sending"]
Surface = Literal["chat", "responses", "messages"]

_STEADY_MODELS = ("sandbox-small", "sandbox-small-2026-01-01", "sandbox-reasoner", "sandbox-large-2026-01-01")
_TIERS = (None, None, None, "default", "auto", "priority", "flex")
# What a provider may serve instead of what was asked: never something dearer.
_SERVED_TIERS: Mapping[str | None, tuple[str | None, ...]] = {
    None: (None, None, "priority", "flex"),
    "auto": (None, None, "priority", "flex"),
    "default": (None,),
    "priority": (None, "default"),
    "flex": (None, "default"),
}
_SURFACES: Sequence[Surface] = ("chat", "responses", "messages")
_PATHS = ("/v1/chat/completions", "/openai/v1/chat/completions")
_SLOTS = ("authorization", "authorization", "x-api-key", "api-key")

# Fault -> weight. `overrun` is judged apart and comes in its own mode only.
FAULTS: Mapping[str, int] = {
    "bad_request": 2,
    "unauthorized": 1,
    "payment_required": 1,
    "forbidden": 1,
    "rate_limited": 3,
    "server_error": 3,
    "server_error_billed": 4,
    "overloaded": 2,
    "slow_first_byte": 2,
    "hang": 2,
    "cut": 6,
    "cut_before_headers": 3,
    "error_in_stream": 3,
    "no_usage": 3,
    "usage_zero": 2,
    "usage_twice": 3,
    "malformed_json": 3,
    "not_http": 2,
}
_MANNERS: Mapping[Manners, float] = {
    "patient": 72.5,
    "leaves_unanswered": 7,
    "leaves_midway": 17,
    "slow": 0.5,
    "hangs_up_sending": 3,
}
_VISIBLE_SHARE: Mapping[Manners, float] = {
    "patient": 0.25,
    "leaves_unanswered": 0.25,
    "leaves_midway": 0.6,
    "slow": 0.0,
    "hangs_up_sending": 0.25,
}
# More than all buffers between the gateway and a caller that does not read: some 4 MB of events.
_SLOW_TOKENS, _SLOW_CHOICES = 8_000, 2
_WORDS = "a call spends what its budget holds and no more than that whatever anybody does to either end of it".split()
_SHORT = [{"role": "user", "content": "go"}]
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Look something up.",
            "parameters": {"type": "object", "properties": {"what": {"type": "string"}, "times": {"type": "integer"}}},
        },
    }
]


@dataclass(frozen=True)
class Step:
    """One thing that a client does."""

    session: int  # which of the shared sessions
    renew: bool  # get a new session first
    body: bytes
    path: str = _PATHS[0]
    slot: str = _SLOTS[0]
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    credential: bool = True
    stream: bool = False
    surface: Surface = "chat"
    usage_asked: bool = False
    fault: str | None = None
    manners: Manners = "patient"
    leaves_after: int = 0  # reads of a stream
    pause_s: float = 0.0  # before the next step
    garbage: bool = False


class Plan:
    """The steps of one client."""

    def __init__(self, seed: int, mode: Mode, client: int, sessions: int) -> None:
        self._dice = random.Random(f"{seed}/{mode}/client {client}")
        self._mode: Mode = mode
        self._sessions = sessions
        # Prompts that come again and grow, so that the provider's cache has something to find.
        self._prompts = random.Random(f"{seed}/{mode}/prompts")
        self._talks = [[_message(self._prompts, "system")] for _ in range(4)]

    def steps(self) -> Iterator[Step]:
        while True:
            yield self._nonsense() if self._dice.random() < 0.04 else self._call()

    def _nonsense(self) -> Step:
        made: Garbage = garbage(self._dice)
        return Step(
            session=self._dice.randrange(self._sessions),
            renew=False,
            body=made.body,
            path=made.path,
            headers=made.headers,
            method=made.method,
            credential=made.credential,
            pause_s=self._dice.uniform(0, 0.02),
            garbage=True,
        )

    def _call(self) -> Step:
        dice = self._dice
        fault = self._fault()
        # Of an answer that overruns its limit we must hear the end: else nobody can know what was billed.
        manners = dice.choices(list(_MANNERS), list(_MANNERS.values()))[0] if fault != "overrun" else "patient"
        visible = dice.random() < _VISIBLE_SHARE[manners]
        stream = manners in {"leaves_midway", "slow"} or dice.random() < 0.55
        request = self._request(visible=visible, stream=stream)
        control = self._control(visible=visible, stream=stream, fault=fault, manners=manners)
        request["sandbox"] = control | self._served_tier(request.get("service_tier"))
        if manners == "slow":
            request |= {"model": "sandbox-small", "max_tokens": _SLOW_TOKENS, "n": _SLOW_CHOICES}
            request.pop("max_completion_tokens", None)
        if fault == "overrun":
            request |= {"max_tokens": 30, "service_tier": "default", "messages": _SHORT}
        # A slow reader asks for several answers at once, which only Chat Completions makes.
        surface: Surface = "chat" if manners == "slow" else dice.choice(_SURFACES)
        paths: Sequence[str] = _PATHS
        if surface == "messages":
            paths, request = messages.PATHS, messages.as_messages(dice, request)
        elif surface == "responses":
            paths, request = responses.PATHS, responses.as_responses(dice, request)
        body, headers = _encoded(dice, request)
        if surface == "messages" and dice.random() < 0.8:
            headers |= messages.VERSION
        return Step(
            session=dice.randrange(self._sessions),
            renew=dice.random() < 0.01,
            body=body,
            path=dice.choice(paths),
            slot=dice.choice(_SLOTS),
            headers=headers,
            stream=stream,
            surface=surface,
            usage_asked="stream_options" in request,
            fault=fault,
            manners=manners,
            leaves_after=dice.choice((1, 1, 2, 3, 5, 8)),
            pause_s=dice.choice((0.0, 0.0, dice.uniform(0, 0.05))) if self._mode != "soak" else dice.uniform(0.5, 1.5),
        )

    def _fault(self) -> str | None:
        if self._mode == "overrun":
            drawn = self._dice.random()
            if drawn < 0.15:
                return "overrun"
            return self._drawn_fault() if drawn < 0.25 else None
        return self._drawn_fault() if self._dice.random() < 0.3 else None

    def _drawn_fault(self) -> str:
        return self._dice.choices(list(FAULTS), list(FAULTS.values()))[0]

    def _request(self, *, visible: bool, stream: bool) -> dict[str, Any]:
        dice = self._dice
        request: dict[str, Any] = {
            "model": VISIBLE_MODEL if visible else dice.choice(_STEADY_MODELS),
            "messages": self._messages(),
        }
        limit = dice.choice((None, 1, 30, 200, 400, 800, 800, 100_000))
        if limit is not None:
            request[dice.choice(("max_tokens", "max_completion_tokens"))] = limit
        if dice.random() < 0.1:
            request["n"] = dice.choice((2, 3))
        # The visible provider is asked for one tier in most calls: its hold has no slack then but the tail.
        tier = "default" if visible and dice.random() < 0.8 else dice.choice(_TIERS)
        if tier is not None:
            request["service_tier"] = tier
        if dice.random() < 0.1:
            request["tools"] = _TOOLS
            request["tool_choice"] = dice.choice(("auto", "required"))
        if stream:
            request["stream"] = True
            if dice.random() < 0.4:
                request["stream_options"] = {"include_usage": True}
        return request

    def _messages(self) -> Sequence[Mapping[str, Any]]:
        dice = self._dice
        if dice.random() < 0.4:
            return _SHORT
        talk = dice.choice(self._talks)
        if len(talk) < 6 and dice.random() < 0.2:
            talk.append(_message(dice, dice.choice(("user", "assistant"))))
        asked = _message(dice, "user")
        if dice.random() < 0.05:
            image = {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}}
            asked = {"role": "user", "content": [{"type": "text", "text": asked["content"]}, image]}
        return [*talk, asked]

    def _control(self, *, visible: bool, stream: bool, fault: str | None, manners: Manners) -> dict[str, Any]:
        dice = self._dice
        control: dict[str, Any] = {"output_tokens": dice.choice((0, 1, 10, 40, 80, 150))}
        if visible:
            # Whoever leaves midway leaves something behind: there the tail is what makes the charge true.
            control["output_tokens"] = dice.choice((250, 400) if manners == "leaves_midway" else (1, 5, 20, 60, 150))
            if stream and fault != "server_error_billed":
                control["tokens_per_s"] = VISIBLE_TOKENS_PER_S
                control["ahead"] = dice.choice((0, 40, VISIBLE_AHEAD, VISIBLE_AHEAD))
        else:
            control["tokens_per_s"] = dice.choice((0, 0, 0, 50, 200))
            control["ahead"] = dice.choice((0, 0, 20))
            control["abort_stops"] = dice.random() < 0.5
            control["reasoning_tokens"] = dice.choice((0, 0, 30))
        if manners == "slow":
            control |= {"output_tokens": _SLOW_TOKENS, "tokens_per_s": 0, "ahead": 0}
        if manners != "slow" and dice.random() < 0.3:
            control["tokens_per_chunk"] = dice.choice((2, 7, 50))
        if dice.random() < 0.3:
            control["first_byte_delay_s"] = round(dice.uniform(0, 0.3), 3)
        return control | self._fault_options(fault)

    def _fault_options(self, fault: str | None) -> dict[str, Any]:
        dice = self._dice
        if fault is None:
            return {}
        options: dict[str, Any] = {"fault": fault}
        if fault in {"cut", "cut_before_headers", "error_in_stream", "hang"}:
            options["after_tokens"] = dice.choice((0, 1, 5, 40))
        if fault in {"cut", "cut_before_headers"}:
            options["reset"] = dice.random() < 0.5
        if fault == "slow_first_byte":
            options["delay_s"] = dice.choice((0.3, 1.0, 3.0))
        if fault == "server_error_billed":
            # All of it is made before anything is seen: no more than the tail of `visible` allows.
            options |= {"output_tokens": dice.choice((10, TAIL_TOKENS)), "tokens_per_s": 0}
        if fault == "overrun":
            # Each may be larger than all before it: a bound that was raised is wrong again.
            options |= {"by": round(40 * 100 ** dice.random()), "tokens_per_s": 0, "ahead": 0}
        return options

    def _served_tier(self, asked: str | None) -> dict[str, Any]:
        tier = self._dice.choice(_SERVED_TIERS[asked])
        return {} if tier is None else {"served_tier": tier}


def _message(dice: random.Random, role: str) -> dict[str, Any]:
    return {"role": role, "content": " ".join(dice.choices(_WORDS, k=dice.choice((2, 8, 40))))}


def _encoded(dice: random.Random, request: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    body = json.dumps(request).encode()
    if dice.random() < 0.05:
        return gzip.compress(body, mtime=0), {"content-encoding": "gzip"}
    return body, {}
