"""What the smaller surfaces of OpenAI have in common: headers, refusals, and how their fields are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from comptroller.core.pricing.estimate import Asked
from comptroller.core.refusal import Refusal
from comptroller.wire.body import read_object
from comptroller.wire.checks import Invalid
from comptroller.wire.done_stream import DoneStream
from comptroller.wire.field_names import FieldNames
from comptroller.wire.head import JSON, PLAIN, Head
from comptroller.wire.openai_chat.contents import Contents
from comptroller.wire.openai_chat.dialect import REQUEST_HEADERS, RESPONSE_HEADERS
from comptroller.wire.openai_chat.fields import SERVER_SIDE
from comptroller.wire.openai_chat.refusals import refusal_body, refusal_event
from comptroller.wire.openai_chat.stream import StreamMeter

if TYPE_CHECKING:
    from comptroller.wire.openai_responses.stream import StreamMeter as ResponseMeter

_TOP_LEVEL = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()


class AskedRequest(Protocol):
    """A request as any dialect hands it on; ours comes back to us as it was."""

    @property
    def asked(self) -> Asked: ...


class JsonRequest(msgspec.Struct, frozen=True, gc=False):
    """A request that was read: its bounds, and its top-level fields as the bytes that came."""

    asked: Asked
    fields: dict[str, msgspec.Raw]


class OpenAISurface:
    """A dialect whose requests are JSON, with one path and no limit to write; surfaces say what is different."""

    family = "openai"
    request_headers = REQUEST_HEADERS
    default_headers = ()
    query_parameters: frozenset[bytes] = frozenset()
    response_headers = RESPONSE_HEADERS
    request_id_header: bytes | None = None
    path = ""

    def read_request(self, body: bytes, head: Head = PLAIN) -> AskedRequest | Refusal:
        """Read and check a body; `request_invalid` names the field and what was expected there."""
        read = read_body(body)
        if isinstance(read, Refusal):
            return read
        try:
            return JsonRequest(self.asked(read), read.fields)
        except Invalid as wrong:
            return wrong.refusal

    def asked(self, body: Body) -> Asked:
        """What bounds the cost of a request. Raises Invalid."""
        raise NotImplementedError

    def upstream_path(self, request: AskedRequest, model: str | None) -> str:
        """One path for every request."""
        return self.path

    def content_type(self, request: AskedRequest) -> bytes:
        """Of what `rewrite` returns."""
        return JSON

    def rewrite(
        self, request: AskedRequest, *, output_limit: int, field: str = "max_tokens", model: str | None = None
    ) -> bytes:
        """The request as it came: there is no output to limit. `model` replaces the model's name."""
        fields = own(request).fields
        return _ENCODER.encode(fields if model is None else {**fields, "model": encoded(model)})

    def stream_meter(self, request: AskedRequest) -> StreamMeter | DoneStream | ResponseMeter:
        """Events of these surfaces tell what was used, if they tell it, as those of chat completions do."""
        return StreamMeter(usage_asked=True)

    def refusal_body(self, refusal: Refusal, call_id: str) -> bytes:
        """See openai_chat/refusals.py."""
        return refusal_body(refusal, call_id)

    def refusal_event(self, refusal: Refusal, call_id: str, meter: object = None) -> bytes:
        """See openai_chat/refusals.py."""
        return refusal_event(refusal, call_id)


class Body(NamedTuple):
    """A body that is a JSON object: decoded, and its top-level fields as they came."""

    request: dict[str, object]
    fields: dict[str, msgspec.Raw]
    size: int  # bytes


class Outside(NamedTuple):
    """What a request can lead to beyond its body, in words: what has no bound, and what of it is billed apart."""

    unbounded: tuple[str, ...]
    fees: tuple[str, ...]


def own(request: AskedRequest) -> JsonRequest:
    """A request of ours, as it was handed on."""
    if not isinstance(request, JsonRequest):
        raise TypeError("a request of another dialect")
    return request


def encoded(value: str | int) -> msgspec.Raw:
    """A value as it stands in JSON."""
    return msgspec.Raw(_ENCODER.encode(value))


def read_body(body: bytes) -> Body | Refusal:
    """See `read_object`."""
    request = read_object(body)
    return request if isinstance(request, Refusal) else Body(request, _TOP_LEVEL.decode(body), len(body))


def field_names(*plain: str, other_names: Mapping[str, str] | None = None) -> FieldNames:
    """The fields of a surface. The switches of resellers and of other servers are those of chat completions."""
    return FieldNames(frozenset(plain), SERVER_SIDE, other_names or {})


def read_outside(request: Mapping[str, object], names: FieldNames, contents: Contents) -> Outside:
    """Check the names of all fields, and look into those that nobody here knows. Raises Invalid."""
    switches = names.switches(request, contents.read_unknown)
    if contents.files:
        named = contents.files[0].kind.replace("_", " ")
        raise Invalid(f"The request names a {named} by its id, and this route uses nothing stored.", "file_id")
    fees = tuple(dict.fromkeys(switch.words for switch in switches if switch.fees))
    return Outside(tuple(dict.fromkeys((*contents.unbounded, *(switch.words for switch in switches)))), fees)
