"""Counting the tokens of a Messages request: POST /v1/messages/count_tokens, which Anthropic takes nothing for.

The whole request is the provider's to read. Ours is whom it is for, and whose what it names is: policies decide on the
model alone.
"""

from __future__ import annotations

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.anthropic_messages.contents import Contents
from comptroller.wire.anthropic_messages.dialect import AnthropicMessages, AskedRequest
from comptroller.wire.anthropic_messages.fields import FIELDS, check_who_pays
from comptroller.wire.anthropic_messages.request import MessagesRequest
from comptroller.wire.anthropic_messages.stored import refused_use, stored_use
from comptroller.wire.body import is_object, read_object
from comptroller.wire.checks import Invalid, array, model_name
from comptroller.wire.head import PLAIN, Head

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


class AnthropicCountTokens(AnthropicMessages):
    """The dialect of POST /v1/messages/count_tokens. What it shares with Messages is said there."""

    name = "anthropic_count_tokens"

    def read_request(self, body: bytes, head: Head = PLAIN) -> MessagesRequest | Refusal:
        """Its model; `request_invalid` where two parsers could read two of them."""
        return read_count(body)

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """One path for every request."""
        return "/v1/messages/count_tokens"

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_tokens", model: str | None = None
    ) -> bytes:
        """The request as it came: there is no output to limit. `model` replaces the model's name."""
        if not isinstance(request, MessagesRequest):
            raise TypeError("a request of another dialect")
        fields = request.fields if model is None else {**request.fields, "model": msgspec.Raw(_ENCODER.encode(model))}
        return _ENCODER.encode(fields)


def read_count(body: bytes) -> MessagesRequest | Refusal:
    """Read a request body as far as it says for which model tokens are counted."""
    request = read_object(body)
    if isinstance(request, Refusal):
        return request
    refused = refused_use(request)
    if refused is not None:
        return refused
    try:
        for name in request:
            FIELDS.check_spelling(name)
        check_who_pays(request)
        named = Contents()
        named.read_content(request.get("system"))
        named.read_messages(each for each in array(request, "messages") if is_object(each))
        use = stored_use(request, named)
        asked = Asked(model_name(request), False, len(body), output_limit=0, free=True, stored=use)
    except Invalid as wrong:
        return wrong.refusal
    return MessagesRequest(asked, _TOP_LEVEL.decode(body), None)
