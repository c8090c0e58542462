"""The surfaces on which things go wrong: how each is asked, how it ends well, and how it says that it did not."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.end_to_end.caller import Row
from tests.harness.forms import FORM_TYPE, form, wav

LIMIT = 16_000  # tokens of output that are asked for where that can be said
TEXT = "Tell me about holds, and about the budgets that they are taken on."
Events = Sequence[tuple[str, Any]]


class Surface(NamedTuple):
    """`ended`: whether these events are a whole answer. `failed`: what they say failed, if they end with that."""

    path: str
    model: str  # of the sandbox
    body: Callable[[bool], Row]  # as a stream, or whole
    ended: Callable[[Events], bool] = lambda events: False
    failed: Callable[[Events], str | None] = lambda events: None
    streams: bool = True
    whole: bool = True
    tokens: bool = True  # its output is text that is seen as it comes
    ends_with_usage: bool = False  # what reports the usage is the end mark as well
    is_form: bool = False
    passes_any_text: bool = False  # a whole answer may be a text, so that half a JSON body is one
    shows_what_it_made: bool = False  # so that tokens at zero are no price of it

    def asked(self, model: str, stream: bool, options: Row) -> tuple[str, bytes, Mapping[str, str]]:
        """Path, body and headers of a request."""
        path = self.path.format(model=model, act="streamGenerateContent" if stream else "generateContent")
        path += "?alt=sse" if stream and "{act}" in self.path else ""
        named = {} if "{model}" in self.path else {"model": model}
        if self.is_form:
            body = form({**named, **self.body(stream), "sandbox": json.dumps(options)})
            return path, body, {"content-type": FORM_TYPE.decode()}
        return path, json.dumps({**named, **self.body(stream), "sandbox": options}).encode(), {}


def events_of(stream: bytes) -> Events:
    """(name, data) of every whole event; data that is no JSON as text."""
    found: list[tuple[str, Any]] = []
    for block in stream.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
        lines = dict(line.split(b": ", 1) for line in block.split(b"\n") if b": " in line)
        data = lines.get(b"data", b"").decode()
        try:
            found.append((lines.get(b"event", b"").decode(), json.loads(data)))
        except json.JSONDecodeError:
            found.append((lines.get(b"event", b"").decode(), data))
    return found


def _last(events: Events) -> Any:
    return events[-1][1] if events else None


def _bare(events: Events) -> str | None:
    """OpenAI's and Google's: {"error": {"message"}}."""
    last = _last(events)
    return last["error"]["message"] if isinstance(last, dict) and "error" in last else None


def _messages_failed(events: Events) -> str | None:
    last = _last(events)
    failed = bool(events) and events[-1][0] == "error" and last["type"] == "error"
    return last["error"]["message"] if failed else None


def _response_failed(events: Events) -> str | None:
    last = _last(events)
    failed = isinstance(last, dict) and last.get("type") == "response.failed"
    return last["response"]["error"]["message"] if failed else None


def _ends_with(kind: str) -> Callable[[Events], bool]:
    return lambda events: isinstance(_last(events), dict) and _last(events).get("type") == kind


def _is_done(events: Events) -> bool:
    return _last(events) == "[DONE]"


def _has_finished(events: Events) -> bool:
    last = _last(events)
    return isinstance(last, dict) and any(each.get("finishReason") for each in last.get("candidates", []))


def _has_finished_or_reported(events: Events) -> bool:
    """A second report of the usage may follow the end."""
    return _has_finished(events) or _has_finished(events[:-1])


def _chat(stream: bool) -> Row:
    return {"messages": [{"role": "user", "content": TEXT}], "max_tokens": LIMIT, "stream": stream}


_GEMINI = {
    "contents": [{"role": "user", "parts": [{"text": TEXT}]}],
    "generationConfig": {"maxOutputTokens": LIMIT},
}

SURFACES: Mapping[str, Surface] = {
    "chat": Surface("/v1/chat/completions", "large", _chat, _is_done, _bare),
    "completions": Surface(
        "/v1/completions", "large", lambda stream: {"prompt": TEXT, "max_tokens": LIMIT, "stream": stream},
        _is_done, _bare,
    ),
    "messages": Surface("/v1/messages", "large", _chat, _ends_with("message_stop"), _messages_failed),
    "responses": Surface(
        "/v1/responses", "large",
        lambda stream: {"input": TEXT, "max_output_tokens": LIMIT, "stream": stream, "store": False},
        _ends_with("response.completed"), _response_failed, ends_with_usage=True,
    ),
    "gemini": Surface(
        "/v1beta/models/{model}:{act}", "large", lambda stream: _GEMINI, _has_finished_or_reported, _bare,
        ends_with_usage=True,
    ),
    "speech": Surface(
        "/v1/audio/speech", "voice", lambda stream: {"input": TEXT, "voice": "alloy", "stream_format": "sse"},
        _ends_with("speech.audio.done"), _bare, whole=False, tokens=False, ends_with_usage=True,
        shows_what_it_made=True,
    ),
    "images": Surface(
        "/v1/images/generations", "image",
        lambda stream: {"prompt": TEXT, "quality": "low", **({"stream": True, "partial_images": 2} if stream else {})},
        _ends_with("image_generation.completed"), _bare, tokens=False, ends_with_usage=True, shows_what_it_made=True,
    ),
    "transcriptions": Surface(
        "/v1/audio/transcriptions", "hearing",
        lambda stream: {"file": wav(1), **({"stream": "true"} if stream else {})},
        _ends_with("transcript.text.done"), _bare, tokens=False, ends_with_usage=True, is_form=True,
        passes_any_text=True,
    ),
    "embeddings": Surface(
        "/v1/embeddings", "large", lambda stream: {"input": TEXT}, streams=False, tokens=False,
    ),
}  # fmt: skip
STREAMS = [name for name, surface in SURFACES.items() if surface.streams]
WHOLE = [name for name, surface in SURFACES.items() if surface.whole]
