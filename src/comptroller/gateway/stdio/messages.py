"""Lines of JSON-RPC between us and a process: what each is, and its ids and tokens made ours or its caller's. Pure.

Many callers may speak to one process, and each numbers its requests as it likes. So a request goes in under a number
of ours, which is its progress token, too, and what comes out under that number is its caller's again. All else of a
message passes as it was written.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

META_VERSION = "io.modelcontextprotocol/protocolVersion"
META_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LEGACY_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
SESSION_LOST = -32001
METHOD_NOT_FOUND = -32601
INVALID_REQUEST = -32600
UNSUPPORTED_VERSION = -32022

_NOTHING = msgspec.Raw(b"")
_SPACES = bytes.maketrans(b"\r\n", b"  ")  # JSON has line ends between tokens only
_DIGITS_MOST = 15  # of a number of ours, or of an error's code

_Object = dict[str, msgspec.Raw]


class Message(msgspec.Struct, gc=False):
    """One message. `id` and what follows it are as they were written; empty: not there."""

    id: msgspec.Raw = _NOTHING
    method: str | None = None
    params: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING

    @property
    def is_request(self) -> bool:
        """It wants an answer."""
        return self.method is not None and bool(bytes(self.id))

    @property
    def is_response(self) -> bool:
        """It is an answer."""
        return self.method is None and bool(bytes(self.id)) and bool(bytes(self.result) or bytes(self.error))

    @property
    def error_code(self) -> int | None:
        """Of an answer that is an error."""
        return _number(_fields(self.error).get("code", _NOTHING)) if bytes(self.error) else None

    @property
    def number(self) -> int | None:
        """Its id, if that is a number as we give them."""
        return _number(self.id)

    @property
    def modern(self) -> bool:
        """It says which revision it is of: there is no handshake and no session."""
        return META_VERSION in _member(self.params, "_meta")


_MESSAGE = msgspec.json.Decoder(Message)
_OBJECT = msgspec.json.Decoder(_Object)
_encode = msgspec.json.encode


def read(line: bytes) -> Message | None:
    """The message in a line, or in a body; None if it is none."""
    try:
        found = _MESSAGE.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if found.method is not None or found.is_response else None


def to_line(body: bytes) -> bytes:
    """A body as one line."""
    return body.translate(_SPACES) + b"\n"


def numbered(message: Message, number: int) -> bytes:
    """A caller's request as a line, under a number of ours. A progress token becomes the same number."""
    params = message.params
    if "progressToken" in _member(params, "_meta"):
        params = _with(params, "_meta", "progressToken", number)
    return to_line(_joined(b"%d" % number, message.method or "", params))


def progress_token(message: Message) -> msgspec.Raw:
    """What a caller's request calls its progress; empty if it wants to hear of none."""
    return _member(message.params, "_meta").get("progressToken", _NOTHING)


def cancelled(message: Message) -> msgspec.Raw:
    """Of a notification that a request is not waited for any more: its id, as written."""
    return _fields(message.params).get("requestId", _NOTHING)


def cancellation(number: int) -> bytes:
    """The line that tells a process that nobody waits for this request any more."""
    params = {"requestId": number, "reason": "nobody waits for it any more"}
    return _encode({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}) + b"\n"


def ping(number: int) -> bytes:
    """A line that every server answers, if only by saying that it does not know it."""
    return b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n' % number


def refused(request: Message) -> bytes:
    """The line that answers a process which asked for something where there is nobody to ask."""
    error = {"code": METHOD_NOT_FOUND, "message": "Nobody can be asked here."}
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (bytes(request.id), _encode(error))


def addressed_to(message: Message) -> int | None:
    """Which of our requests a notification of a process is about, if it says so."""
    if message.method == "notifications/progress":
        return _number(_fields(message.params).get("progressToken", _NOTHING))
    return _number(_member(message.params, "_meta").get(META_SUBSCRIPTION, _NOTHING))


def readdressed(message: Message, id_of_caller: msgspec.Raw, token: msgspec.Raw) -> bytes:
    """A notification about a request, as its caller knows that."""
    params = message.params
    if message.method == "notifications/progress":
        params = _encode({**_fields(params), "progressToken": token})
    elif META_SUBSCRIPTION in _member(params, "_meta"):
        params = _with(params, "_meta", META_SUBSCRIPTION, id_of_caller)
    return _joined(bytes(message.id), message.method or "", params)


def answered(message: Message, number: int, id_of_caller: msgspec.Raw) -> bytes:
    """The answer to a request, under its caller's id."""
    if bytes(message.error):
        return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (bytes(id_of_caller), bytes(message.error))
    result = message.result
    if _number(_member(result, "_meta").get(META_SUBSCRIPTION, _NOTHING)) == number:
        result = _with(result, "_meta", META_SUBSCRIPTION, id_of_caller)
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (bytes(id_of_caller), bytes(result))


def error(id_of_caller: bytes, code: int, sentence: str, data: object = None) -> bytes:
    """An answer that says why there is none."""
    said: dict[str, object] = {"code": code, "message": sentence}
    if data is not None:
        said["data"] = data
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id_of_caller or b"null", _encode(said))


def event(message: bytes) -> bytes:
    """A message as an event of a stream (text/event-stream)."""
    return b"event: message\ndata: %b\n\n" % message.translate(_SPACES)


def _joined(id_: bytes, method: str, params: bytes | msgspec.Raw) -> bytes:
    parts = [b'{"jsonrpc":"2.0"', b',"method":', _encode(method)]
    if id_:
        parts += [b',"id":', id_]
    if bytes(params):
        parts += [b',"params":', bytes(params)]
    return b"".join((*parts, b"}"))


def _fields(raw: msgspec.Raw | bytes) -> Mapping[str, msgspec.Raw]:
    """The members of an object; none where it is no object."""
    try:
        return _OBJECT.decode(raw) if bytes(raw) else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _member(raw: msgspec.Raw | bytes, name: str) -> Mapping[str, msgspec.Raw]:
    return _fields(_fields(raw).get(name, _NOTHING))


def _with(raw: msgspec.Raw | bytes, inner: str, name: str, value: object) -> bytes:
    """The same object with one member of an inner object changed."""
    return _encode({**_fields(raw), inner: {**_member(raw, inner), name: value}})


def _number(raw: msgspec.Raw) -> int | None:
    text = bytes(raw)
    digits = text.removeprefix(b"-")
    return int(text) if digits.isdigit() and len(digits) <= _DIGITS_MOST else None
