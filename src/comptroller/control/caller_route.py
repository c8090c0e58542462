"""A route of the caller API, which stands on the data plane beside the calls: what its act gets, and how it is read.

An act is `async def act(office, asked) -> Answered`. It raises `OAuthError` or `ControlProblem` for an expected no;
caller_api.py says both in the words of the path: RFC 6749 section 5.2 below /oauth, RFC 9457 elsewhere.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from comptroller.control.office import Office
from comptroller.control.problem import NO_HEADERS, ControlProblem
from comptroller.core.refusal import Refusal
from comptroller.flow.caller import Caller
from comptroller.flow.decide import standing
from comptroller.flow.door import Answered, CallerRequest
from comptroller.flow.identify import identify

JSON = b"application/json"
FORM = b"application/x-www-form-urlencoded"
MOST_FIELDS = 32
NEVER_KEPT = (b"cache-control", b"no-store")
_FORBIDDEN = 403  # on model routes these are 402, because of how SDKs take a 403; nobody's SDK asks here

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks: the names in the path, and the request."""

    path: Mapping[str, str]
    request: CallerRequest


@dataclass(frozen=True, slots=True)
class CallerRoute:
    """One act of the caller API. What stands in braces in the path is a name that the caller gives."""

    method: Literal["GET", "POST"]
    path: str
    act: Callable[[Office, Asked], Awaitable[Answered]]


class OAuthError(Exception):
    """An expected no below /oauth (RFC 6749 section 5.2). `code` and `hint` are ours: what it is, and what to do."""

    def __init__(
        self,
        error: str,
        description: str,
        hint: str = "",
        *,
        code: str = "",
        status: int = 400,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.hint = hint
        self.code = code
        self.status = status
        self.headers = headers


def json_answer(value: object, status: int = 200, kept: bytes = b"no-store", opened: str = "") -> Answered:
    """A JSON answer. `kept`: what caches may do with it; `opened`: the session whose first credential it tells."""
    headers = [(b"content-type", JSON), (b"cache-control", kept), (b"x-content-type-options", b"nosniff")]
    return Answered(status, headers, msgspec.json.encode(value), opened)


async def read_json(request: CallerRequest, kind: type[T]) -> T:
    """The body as this kind. Raises ControlProblem."""
    body = await request.body()
    if isinstance(body, Refusal):
        raise _unread(body)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        hint = "docs/reference/api.md says which fields this route takes, and of which type."
        raise ControlProblem(400, "request_invalid", f"The body is not valid: {error}.", hint) from error


async def read_as_caller(office: Office, request: CallerRequest, kind: type[T]) -> tuple[Caller, T]:
    """Whoever asks, as they stand once the body has come, and the body. Raises ControlProblem.

    Nothing may wait between this and what is done for them: a stop that comes while somebody sends slowly holds.
    """
    caller_of(office, request)  # nobody else's body is read
    sent = await read_json(request, kind)
    return caller_of(office, request), sent


async def read_form(request: CallerRequest) -> Mapping[str, str]:
    """The fields of a form (RFC 6749 appendix B). One without a value counts as left out. Raises OAuthError."""
    named = dict(request.headers)
    if named.get(b"content-type", b"").partition(b";")[0].strip().lower() != FORM:
        raise OAuthError("invalid_request", "The body is not a form.", f"Send `content-type: {FORM.decode()}`.")
    body = await request.body()
    if isinstance(body, Refusal):
        raise OAuthError("invalid_request", body.sentence, body.hint, status=body.status)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:  # UnicodeDecodeError too; neither is repeated: tokens stand in there
        hint = f"Send at most {MOST_FIELDS} fields, in UTF-8, encoded as a form."
        raise OAuthError("invalid_request", "The form cannot be read.", hint) from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise OAuthError("invalid_request", "A parameter is given twice.", "Send each parameter once.")
    return {name: value for name, value in fields.items() if value}


def read_client(request: CallerRequest, form: Mapping[str, str]) -> tuple[str, str]:
    """The client's name and secret, from the form or from HTTP Basic (RFC 6749 section 2.3.1). Raises OAuthError."""
    sent = [value for name, value in request.headers if name == b"authorization"]
    found = [_basic(value) for value in sent]
    if "client_secret" in form:
        found.append((form.get("client_id", ""), form["client_secret"]))
    if len(found) != 1 or found[0] is None or not all(found[0]):
        hint = "Send `client_id` and `client_secret` in the form, or both as HTTP Basic, and not in two ways."
        headers = {"www-authenticate": "Basic"}
        raise OAuthError("invalid_client", "It is not clear who asks.", hint, status=401, headers=headers)
    return found[0]


def _basic(value: bytes) -> tuple[str, str] | None:
    scheme, _, encoded = value.strip().partition(b" ")
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return (unquote_plus(name), unquote_plus(secret)) if scheme.lower() == b"basic" and colon else None


def caller_of(office: Office, request: CallerRequest) -> Caller:
    """Whoever asks, by a session credential that works now. Raises ControlProblem."""
    caller = identify(office.gate, request.credentials)
    if isinstance(caller, Refusal):
        raise problem_of(caller)
    no = standing(office.gate, caller)
    if no is not None:
        raise problem_of(no)
    return caller


def problem_of(refusal: Refusal) -> ControlProblem:
    """A refusal of the story of a call, as this API says it."""
    status = _FORBIDDEN if refusal.status == 402 else refusal.status
    headers = {} if refusal.retry_after_s is None else {"retry-after": str(refusal.retry_after_s)}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return ControlProblem(status, refusal.code, refusal.sentence, refusal.hint, headers=headers)


def _unread(refusal: Refusal) -> ControlProblem:
    hint = "Send less." if refusal.code == "body_too_large" else refusal.hint
    return ControlProblem(refusal.status, refusal.code, refusal.sentence, hint)
