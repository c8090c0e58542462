"""OpenAI Completions as a dialect: POST /v1/completions, as old models and most local servers speak it.

Field meanings: the OpenAI API reference; what compatible servers are known to read.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.wire.body import is_array
from comptroller.wire.checks import Invalid, boolean, expected, is_whole_number, model_name, whole_number, word
from comptroller.wire.openai_chat.answer import Answer, read_answer
from comptroller.wire.openai_chat.contents import Contents
from comptroller.wire.openai_chat.fields import OTHER_NAMES, SEARCH, searches
from comptroller.wire.openai_chat.request import MOST_CHOICES, usage_asked, with_usage
from comptroller.wire.openai_chat.stream import StreamMeter
from comptroller.wire.openai_surface import (
    AskedRequest,
    Body,
    OpenAISurface,
    encoded,
    field_names,
    own,
    read_outside,
)

DEFAULT_OUTPUT_TOKENS = 16  # of a request that sets no limit, by the API reference
MOST_PROMPTS = 2_048

_ENCODER = msgspec.json.Encoder()
_OTHER_NAMES: Mapping[str, str] = {
    **{name: "best_of" if usual == "n" else "max_tokens" for name, usual in OTHER_NAMES.items() if name != "best_of"},
    "max_completion_tokens": "max_tokens",
}
_FIELDS = field_names(
    *("model", "prompt", "suffix", "max_tokens", "n", "best_of", "echo", "stream", "stream_options", "logprobs"),
    *("stop", "temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "user"),
    "service_tier",
    other_names=_OTHER_NAMES,
)
_OPENING = b'data: {"id":"cmpl-cut","object":"text_completion"}\n\n'
_PROMPT = "a text, an array of texts, an array of token ids, or an array of such arrays"


class OpenAICompletions(OpenAISurface):
    """The dialect of POST /v1/completions."""

    name = "openai_completions"
    path = "/v1/completions"

    def asked(self, body: Body) -> Asked:
        """Its prompts, and how much may be made of each."""
        return _asked(body)

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_tokens", model: str | None = None
    ) -> bytes:
        """One binding output limit, usage asked for in streams, the rest as it came. The limit has one name here."""
        fields = {**own(request).fields, "max_tokens": encoded(output_limit)}
        if request.asked.stream:
            fields["stream_options"] = with_usage(fields.get("stream_options"))
        if model is not None:
            fields["model"] = encoded(model)
        return _ENCODER.encode(fields)

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """As in chat completions."""
        return read_answer(body)

    def stream_meter(self, request: AskedRequest) -> StreamMeter:
        """As in chat completions: the text is in another place of the same events."""
        asked = request.asked
        return StreamMeter(asked.usage_asked, input_bound=asked.text_tokens, opening=_OPENING)


def _asked(body: Body) -> Asked:
    request, contents = body.request, Contents()
    outside = read_outside(request, _FIELDS, contents)
    model, stream, prompts = model_name(request), boolean(request, "stream"), _prompts(request)
    boolean(request, "echo")  # what comes back of the prompt is not made, so it is not billed as output
    beside = (SEARCH,) if searches(model) else ()
    return Asked(
        model=model,
        stream=stream,
        text_tokens=body.size - contents.image_bytes,  # an id of a token has a byte and a comma at least
        images=contents.images,
        choices=prompts * max(whole_number(request, name, most=MOST_CHOICES) or 1 for name in ("n", "best_of")),
        output_limit=whole_number(request, "max_tokens") or DEFAULT_OUTPUT_TOKENS,
        service_tier=word(request, "service_tier", "auto"),
        unbounded=(*outside.unbounded, *beside),
        fees=(*outside.fees, *beside),
        usage_asked=usage_asked(request, stream),
        rounds=prompts,
    )


def _prompts(request: dict[str, object]) -> int:
    """How many prompts there are: each is answered for itself."""
    prompt = request.get("prompt")
    if prompt is None or isinstance(prompt, str):  # left out, it is the beginning of a document
        return 1
    if not is_array(prompt) or not prompt:
        raise expected(request, "prompt", _PROMPT)
    if all(is_whole_number(each, 0) for each in prompt):
        return 1
    texts = all(isinstance(each, str) for each in prompt)
    if not texts and not all(is_array(each) and all(is_whole_number(one, 0) for one in each) for each in prompt):
        raise expected(request, "prompt", _PROMPT)
    if len(prompt) > MOST_PROMPTS:
        raise Invalid(f"`prompt` has {len(prompt)} prompts, and at most {MOST_PROMPTS} are taken at once.", "prompt")
    return len(prompt)
