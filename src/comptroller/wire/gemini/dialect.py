"""The Gemini API as a small family of dialects: one a method, each in one version of the API.

The model and the method stand in the path. What a caller puts into the query never goes upstream: `key` is its
credential, `fields` could leave the usage out of the answer, and of `alt` a stream takes `sse` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeVar
from urllib.parse import parse_qsl, quote

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.body import invalid
from comptroller.wire.gemini.answer import Answer, read_answer
from comptroller.wire.gemini.counting import CountRequest, read_count, rewrite_count
from comptroller.wire.gemini.embeddings import EmbedRequest, read_embed, rewrite_embed
from comptroller.wire.gemini.refusals import refusal_body, refusal_event
from comptroller.wire.gemini.request import GenerateRequest, read_request, rewrite
from comptroller.wire.gemini.stream import StreamMeter
from comptroller.wire.head import JSON, PLAIN, Head

Version = Literal["v1", "v1beta"]
VERSIONS: tuple[Version, ...] = ("v1", "v1beta")

# Request headers that go upstream. Left out on purpose: credentials and x-goog-user-project (the gateway alone selects
# accounts), x-goog-fieldmask (it can leave the usage out of an answer), x-goog-api-client and user-agent (facts about
# the caller), x-goog-request-params, x-http-method-override, accept-encoding (we must be able to read the answer).
REQUEST_HEADERS = frozenset({b"accept"})

# Response headers that come back. Left out on purpose: cookies, and everything about the connection.
RESPONSE_HEADERS = frozenset({b"content-type", b"retry-after", b"server-timing", b"x-gemini-service-tier"})


R = TypeVar("R")


class AskedRequest(Protocol):
    """A request as any dialect hands it on; ours comes back to us as it was."""

    @property
    def asked(self) -> Asked: ...


class GeminiMethod:
    """What all methods have in common."""

    family = "gemini"  # what a provider's `dialects` setting must list
    request_headers = REQUEST_HEADERS
    default_headers = ()
    query_parameters: frozenset[bytes] = frozenset()
    response_headers = RESPONSE_HEADERS
    request_id_header: bytes | None = None

    def __init__(self, version: Version, method: str) -> None:
        self._version = version
        self._method = method

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """The path that names the model, and the method with what it needs of a query."""
        return f"/{self._version}/models/{quote(model or request.asked.model, safe='')}:{self._method}"

    def content_type(self, request: AskedRequest) -> bytes:
        """Of what `rewrite` returns."""
        return JSON

    def read_answer(self, request: AskedRequest, body: bytes) -> Answer:
        """See answer.py."""
        return read_answer(body)

    def stream_meter(self, request: AskedRequest) -> StreamMeter:
        """See stream.py."""
        return StreamMeter(request.asked.choices)

    def refusal_body(self, refusal: Refusal, call_id: str) -> bytes:
        """See refusals.py."""
        return refusal_body(refusal, call_id)

    def refusal_event(self, refusal: Refusal, call_id: str, meter: object = None) -> bytes:
        """See refusals.py. It says the same wherever a stream ends."""
        return refusal_event(refusal, call_id)


class GeminiGenerate(GeminiMethod):
    """The dialect of models/M:generateContent, and with `stream` of models/M:streamGenerateContent."""

    name = "gemini"

    def __init__(self, version: Version, *, stream: bool = False) -> None:
        super().__init__(version, "streamGenerateContent?alt=sse" if stream else "generateContent")
        self._stream = stream

    def read_request(self, body: bytes, head: Head = PLAIN) -> GenerateRequest | Refusal:
        """See request.py."""
        return unfit(head, stream=self._stream) or read_request(body, head, stream=self._stream)

    def rewrite(self, request: AskedRequest, *, output_limit: int, field: str = "", model: str | None = None) -> bytes:
        """See request.py. `field` is a choice of other dialects: this API has one name for its limit."""
        return rewrite(_own(request, GenerateRequest), output_limit=output_limit, model=model)


class GeminiCountTokens(GeminiMethod):
    """The dialect of models/M:countTokens, which is free."""

    name = "gemini_count_tokens"

    def __init__(self, version: Version) -> None:
        super().__init__(version, "countTokens")

    def read_request(self, body: bytes, head: Head = PLAIN) -> CountRequest | Refusal:
        """See counting.py."""
        return unfit(head, stream=False) or read_count(body, head)

    def rewrite(self, request: AskedRequest, *, output_limit: int, field: str = "", model: str | None = None) -> bytes:
        """See counting.py. There is no output to limit."""
        return rewrite_count(_own(request, CountRequest), model=model)


class GeminiEmbed(GeminiMethod):
    """The dialect of models/M:embedContent, and with `batch` of models/M:batchEmbedContents."""

    name = "gemini_embeddings"

    def __init__(self, version: Version, *, batch: bool = False) -> None:
        super().__init__(version, "batchEmbedContents" if batch else "embedContent")
        self._batch = batch

    def read_request(self, body: bytes, head: Head = PLAIN) -> EmbedRequest | Refusal:
        """See embeddings.py."""
        return unfit(head, stream=False) or read_embed(body, head, batch=self._batch)

    def rewrite(self, request: AskedRequest, *, output_limit: int, field: str = "", model: str | None = None) -> bytes:
        """See embeddings.py. There is no output to limit."""
        return rewrite_embed(_own(request, EmbedRequest), model=model)


Gemini = GeminiGenerate | GeminiCountTokens | GeminiEmbed
REFUSING = GeminiGenerate("v1beta")  # says refusals where no call is made

# By path, with {name} for the model.
CALLS: Mapping[str, Gemini] = {
    f"/{version}/models/{{name}}:{method}": dialect
    for version in VERSIONS
    for method, dialect in (
        ("generateContent", GeminiGenerate(version)),
        ("streamGenerateContent", GeminiGenerate(version, stream=True)),
        ("countTokens", GeminiCountTokens(version)),
        ("embedContent", GeminiEmbed(version)),
        ("batchEmbedContents", GeminiEmbed(version, batch=True)),
    )
}


def unfit(head: Head, *, stream: bool) -> Refusal | None:
    """Why the answer cannot have the form that the query asks for. A stream as a JSON array is not metered."""
    asked = {value.lower() for name, value in parse_qsl(head.query.decode("latin-1")) if name in {"alt", "$alt"}}
    if stream and asked != {"sse"}:
        sentence = "This gateway streams as server-sent events, and the query does not ask for them."
        return invalid(sentence, "Add `?alt=sse` to the address of streamGenerateContent.", "alt")
    if not stream and not all(each.partition(";")[0] == "json" for each in asked):
        return invalid("The query asks for an answer in another form than JSON.", "Leave `alt` out.", "alt")
    return None


def _own(request: AskedRequest, kind: type[R]) -> R:
    if not isinstance(request, kind):
        raise TypeError("a request of another dialect")
    return request
