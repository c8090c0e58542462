"""The unmodified `openai` SDK as a caller, and what it saw of each call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.real.model import MODEL
from tests.real.tokens import Tokens


@dataclass(frozen=True)
class Answer:
    """One call as the caller saw it.

    `usage` is the usage that was reported to the caller, `timings` the model server's own count of the call where
    its bytes carry one, `pieces` the chunks that held text, `usage_chunks` how often a stream reported usage.
    """

    call_id: str | None = None
    charge_usd: str | None = None
    usage: Tokens | None = None
    timings: Tokens | None = None
    pieces: int = 0
    usage_chunks: int = 0
    asked_usage: bool = True
    status: int = 200
    code: str | None = None
    message: str = ""


def _usage(reported: Any) -> Tokens | None:
    if reported is None:
        return None
    details = reported.prompt_tokens_details
    return Tokens(reported.prompt_tokens, (details.cached_tokens or 0) if details else 0, reported.completion_tokens)


def _timings(extra: Mapping[str, Any] | None) -> Tokens | None:
    timings = (extra or {}).get("timings")
    if timings is None:
        return None
    return Tokens(timings["cache_n"] + timings["prompt_n"], timings["cache_n"], timings["predicted_n"])


def refused(error: openai.APIStatusError) -> Answer:
    """What the caller learns from an error answer."""
    return Answer(
        call_id=error.response.headers.get("x-comptroller-call-id"),
        status=error.status_code,
        code=error.code,
        message=error.message,
    )


class Caller:
    """An agent with one base URL and one API key; greedy decoding, so that every run asks for the same work."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self.client = openai.OpenAI(base_url=f"{base_url}/v1", api_key=api_key)

    def chat(self, prompt: str, max_tokens: int, **more: Any) -> Answer:
        """A JSON answer, or the error that the SDK raised for it."""
        create = self.client.chat.completions.with_raw_response.create
        try:
            raw = create(model=MODEL, messages=_ask(prompt), max_tokens=max_tokens, temperature=0, **more)
        except openai.APIStatusError as error:
            return refused(error)
        completion = raw.parse()
        assert isinstance(completion, ChatCompletion)
        return Answer(
            call_id=raw.headers.get("x-comptroller-call-id"),
            charge_usd=raw.headers.get("x-comptroller-charge-usd"),
            usage=_usage(completion.usage),
            timings=_timings(completion.model_extra),
            message=completion.choices[0].message.content or "",
        )

    def stream(self, prompt: str, max_tokens: int, *, usage: bool, hang_up_after: int | None = None) -> Answer:
        """A streamed answer read to its end, or closed after so many pieces of text."""
        options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
        events = self.client.chat.completions.create(
            model=MODEL, messages=_ask(prompt), max_tokens=max_tokens, temperature=0, stream=True, **options
        )
        chunks: list[ChatCompletionChunk] = []
        with events:
            for chunk in events:
                chunks.append(chunk)
                if hang_up_after is not None and _pieces(chunks) >= hang_up_after:
                    break
        return _streamed(chunks, events.response.headers.get("x-comptroller-call-id"), usage)

    def give_up(self, prompt: str, max_tokens: int, timeout_s: float) -> Answer:
        """A JSON call whose caller goes away before the answer."""
        client = self.client.with_options(timeout=timeout_s, max_retries=0)
        try:
            client.chat.completions.create(model=MODEL, messages=_ask(prompt), max_tokens=max_tokens, temperature=0)
        except openai.APITimeoutError as error:
            return Answer(status=0, message=str(error))
        return Answer(message="the answer came before the caller gave up")


def _ask(prompt: str) -> Any:
    return [{"role": "user", "content": prompt}]


def _pieces(chunks: list[ChatCompletionChunk]) -> int:
    return sum(1 for chunk in chunks if chunk.choices and chunk.choices[0].delta.content)


def _streamed(chunks: list[ChatCompletionChunk], call_id: str | None, asked_usage: bool) -> Answer:
    reports = [chunk.usage for chunk in chunks if chunk.usage is not None]
    timings = [found for chunk in chunks if (found := _timings(chunk.model_extra))]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return Answer(
        call_id=call_id,
        usage=_usage(reports[-1]) if reports else None,
        timings=timings[-1] if timings else None,
        pieces=_pieces(chunks),
        usage_chunks=len(reports),
        asked_usage=asked_usage,
        message=text,
    )
