"""OpenAI Completions as a surface: prompts in, texts out, of old models."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Annotated

import msgspec

from comptroller.sandbox.bill import Line
from comptroller.sandbox.chat.answers import Envelope, usage_of
from comptroller.sandbox.chat.request import StreamOptions
from comptroller.sandbox.chat.surface import OpenAISpoken
from comptroller.sandbox.compose import Answer
from comptroller.sandbox.errors import Refusal, invalid, not_found
from comptroller.sandbox.faults import Control, check_control
from comptroller.sandbox.inputs import Input, Inputs, each_of
from comptroller.sandbox.order import Order
from comptroller.sandbox.prices import TIERS, find_model
from comptroller.sandbox.prompt import Segment
from comptroller.sandbox.tokens import count_tokens
from comptroller.sandbox.wire import Headers

DEFAULT_OUTPUT_TOKENS = 16
_DONE = b"data: [DONE]\n\n"
_BROKEN_EVENT = b'data: {"id":"cmpl-broken","object":"text_completion","choices":[{"index":0,"te\n\n'
_Many = Annotated[int, msgspec.Meta(ge=1, le=128)]


class Prompted(msgspec.Struct):
    """A request body; fields not named here are accepted and ignored."""

    model: str
    prompt: Inputs | None = None
    suffix: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    n: _Many | None = None
    best_of: _Many | None = None
    echo: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    sandbox: Control | None = None


_DECODER = msgspec.json.Decoder(Prompted)


class CompletionsSurface(OpenAISpoken):
    """POST /v1/completions."""

    name = "completions"

    def read(self, headers: Mapping[bytes, bytes], body: bytes) -> Order:
        """Read and check a request. Raises ApiError."""
        del headers
        return read_order(body)

    def writer(self, order: Order, answer: Answer, line: Line, usages: int) -> CompletionsWriter:
        """Whatever writes the answer."""
        return CompletionsWriter(order, answer, line, usages)


def read_order(body: bytes) -> Order:
    """The order in a request body. Raises ApiError."""
    try:
        body.decode()
        asked = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(f"Invalid request: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid("We could not parse the JSON body of your request.") from None
    model = find_model(asked.model)
    if model is None:
        raise not_found("The model does not exist or you do not have access to it.", "model_not_found")
    control = asked.sandbox or Control()
    check_control(control, TIERS)
    shown, made = asked.n or 1, asked.best_of or asked.n or 1
    if made < shown:
        raise invalid("You requested that the server return more choices than it will generate.", param="best_of")
    if asked.stream and made > shown:
        raise invalid("best_of is not supported with streaming.", param="best_of")
    if asked.stream_options is not None and not asked.stream:
        raise invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    prompts = each_of(asked.prompt or "")
    return Order(
        model=model,
        tier=control.served_tier or "default",
        control=control,
        stream=bool(asked.stream),
        output_limit=asked.max_tokens or DEFAULT_OUTPUT_TOKENS,
        segments=tuple(_segment(each, asked.suffix or "") for each in prompts),
        usage_asked=asked.stream_options is not None and asked.stream_options.include_usage is True,
        choices=len(prompts) * made,
        shown=tuple(range(len(prompts) * made)) if made == shown else _best(len(prompts), made, shown),
        echoed=tuple(each if isinstance(each, str) else "" for each in prompts) if asked.echo else (),
        reasoning_tokens=control.reasoning_tokens or 0,
    )


def _segment(prompt: Input, suffix: str) -> Segment:
    tokens = len(prompt) if isinstance(prompt, list) else max(1, count_tokens(prompt))
    return Segment(msgspec.json.encode([prompt, suffix]), tokens + count_tokens(suffix))


def _best(prompts: int, made: int, shown: int) -> tuple[int, ...]:
    """Of so many that are made for each prompt the first ones are the best."""
    return tuple(prompt * made + place for prompt in range(prompts) for place in range(shown))


class CompletionsWriter:
    """Writes one answer."""

    broken_event = _BROKEN_EVENT

    def __init__(self, order: Order, answer: Answer, line: Line, usages: int) -> None:
        self._envelope = Envelope(f"cmpl-{uuid.uuid4().hex}", int(time.time()), order.model.dated_name, order.tier)
        self.headers: Headers = ((b"x-request-id", self._envelope.id.encode()),)
        self._order = order
        self._choices = answer.choices
        self._line = line
        self._usages = usages

    def whole(self) -> bytes:
        """The answer as JSON; only the best of each prompt are in it."""
        order = self._order
        choices = [
            self._choice(place, self._echo(made) + self._choices[made].text, self._choices[made].finish_reason)
            for place, made in enumerate(order.shown)
        ]
        fields = self._envelope.fields("text_completion") | {"choices": choices}
        usage = b',"usage":' + msgspec.json.encode(usage_of(self._line))
        return msgspec.json.encode(fields)[:-1] + usage * self._usages + b"}"

    def opening(self) -> bytes:
        """The prompts, where they are to be repeated."""
        if not self._order.echoed:
            return b""
        return b"".join(self._event(index, self._echo(index)) for index in range(len(self._choices)))

    def reasoning(self, tokens: tuple[str, ...]) -> bytes:
        """Nothing: this API does not show reasoning."""
        del tokens
        return b""

    def piece(self, index: int, tokens: tuple[str, ...]) -> bytes:
        """The event of some tokens."""
        return self._event(index, "".join(tokens))

    def closing(self) -> bytes:
        """How each choice finished, then the usage in an event without choices."""
        events = [self._event(index, "", choice.finish_reason) for index, choice in enumerate(self._choices)]
        last: dict[str, object] = {
            **self._envelope.fields("text_completion"),
            "choices": (),
            "usage": usage_of(self._line),
        }
        return b"".join(events) + (b"data: " + msgspec.json.encode(last) + b"\n\n") * self._usages + _DONE

    def failure(self, refusal: Refusal) -> bytes:
        """The event of an error."""
        return b"data: " + refusal.body() + b"\n\n"

    def _echo(self, made: int) -> str:
        echoed = self._order.echoed
        return echoed[made * len(echoed) // len(self._choices)] if echoed else ""

    def _choice(self, index: int, text: str, finish_reason: str | None) -> dict[str, object]:
        return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}

    def _event(self, index: int, text: str, finish_reason: str | None = None) -> bytes:
        fields = self._envelope.fields("text_completion") | {"choices": [self._choice(index, text, finish_reason)]}
        return b"data: " + msgspec.json.encode(fields) + b"\n\n"
