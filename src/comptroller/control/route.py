"""A route of the admin plane: how what was asked is read, and how the answer leaves.

The signature of its act says what a route takes and answers. Requests are read by it here and the document is
made from it (openapi.py), so neither can say what the other does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from comptroller.control.door import WHO, json_response
from comptroller.control.entry import WAY_IN
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem
from comptroller.core.identity.admin import NOBODY, Actor, Role

PREFIX = "/api/v1"
BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 30.0  # operators' documents are small, and their lines are good
JSON = "application/json"

Q = TypeVar("Q")
B = TypeVar("B")
T = TypeVar("T")


class Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whatever is sent: a field that nobody reads is an error."""


class NoQuery(Sent, frozen=True):
    """Nothing can be asked for."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[Q, B]):
    """What somebody asks of a route: the names in its path, its query, its body, and who it is."""

    path: Mapping[str, str]
    query: Q
    body: B
    actor: Actor

    @property
    def by(self) -> str:
        """The name for records."""
        return self.actor.name


Plain = Asked[NoQuery, None]

Act = Callable[[Office, Asked[Any, Any]], Awaitable[object]]


@dataclass(frozen=True)
class Takes:
    """What the signature of an act says, as types that msgspec knows."""

    query: type[Any]
    body: type[Any] | None
    answer: type[Any]


@dataclass(frozen=True)
class Route:
    """One act of the admin plane.

    `act` is `async def act(office: Office, asked: Asked[QUERY, BODY]) -> ANSWER`; BODY is None where none is taken.
    `role` is the least that may ask it (core/identity/admin.py).
    Its docstring is what the document says of the route.
    """

    method: Literal["GET", "POST"]
    path: str  # below PREFIX; what stands in braces is a name that the caller gives
    role: Role | None  # the least that may; None: whoever comes to say who it is
    act: Act
    also: Role | None = None  # another one that may, though it does not include the first
    problems: Sequence[int] = ()  # statuses of its own, beside those that every route has
    body_bytes: int = BODY_BYTES  # the most that is read of a body

    @property
    def whole_path(self) -> str:
        return PREFIX + self.path

    @property
    def roles(self) -> Sequence[Role]:
        """The least that may, each with those that include it; none: anybody."""
        return [role for role in (self.role, self.also) if role is not None]

    @cached_property
    def takes(self) -> Takes:
        hints = get_type_hints(self.act)
        query, body = get_args(hints["asked"])
        return Takes(query, None if body is type(None) else body, hints["return"])

    async def read(self, request: Request) -> Asked[Any, Any]:
        """What is asked. Raises ControlProblem for what the route does not take, or not from this actor."""
        who = request.scope[WHO]
        self._allowed(who())  # nobody else's body is read
        query = _query(request, self.takes.query)
        kind = self.takes.body
        body = None if kind is None else await _body(request, kind, self.body_bytes)
        return Asked(request.path_params, query, body, self._allowed(who()))  # as they stand once it has come

    def _allowed(self, actor: Actor | None) -> Actor:
        if actor is None:
            if self.role is None:
                return NOBODY
            raise ControlProblem(401, "credential_missing", "No admin credential was sent.", WAY_IN)
        if self.roles and not any(map(actor.may, self.roles)):
            raise ControlProblem(
                403,
                "role_forbidden",
                f"{actor.name} is {actor.role}, and this takes {' or '.join(self.roles)}.",
                "`comptroller admins list` shows who is that; or ask an admin for another role.",
            )
        return actor


class Place:
    """All that can be asked at one path, as an ASGI app."""

    def __init__(self, office: Office, routes: Sequence[Route]) -> None:
        self._office = office
        self._routes = {route.method: route for route in routes}
        self._path = routes[0].whole_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["method"])
        if route is None:
            raise self._wrong_method(scope["method"])
        asked = await route.read(Request(scope, receive))
        await json_response(await route.act(self._office, asked))(scope, receive, send)

    def _wrong_method(self, method: str) -> ControlProblem:
        message = f"{self._path} takes {' or '.join(self._routes)}, not {method}."
        return ControlProblem(405, "method_not_allowed", message, headers={"allow": ", ".join(self._routes)})


def _query(request: Request, kind: type[T]) -> T:
    """The query string as this kind; each key at most once."""
    pairs = request.query_params.multi_items()
    given = dict(pairs)
    if len(given) != len(pairs):
        raise _not_taken("A query parameter is given twice.")
    try:
        taken = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _not_taken(f"The query is not valid: {_unknown_word(given, kind) or error}.") from error
    for name in given:
        if getattr(taken, name) is None:  # the word null, which is no value of anything
            raise _not_taken(f"The query is not valid: leave `{name}` out rather than give it as null.")
    return taken


def _unknown_word(given: Mapping[str, str], kind: type[Any]) -> str | None:
    """The first value that is none of the words its parameter takes, with those words."""
    hints = get_type_hints(kind)
    for name, value in given.items():
        words = [word for word in _words(hints.get(name)) if isinstance(word, str)]
        if words and value not in words:
            return f"`{name}` is {value[:100]!r}, and not one of {', '.join(words)}"
    return None


def _words(hint: Any) -> Sequence[Any]:
    """The words of a type of words, and of none else; also where nothing may stand instead."""
    parts = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is Literal:
        return parts
    found = [_words(part) for part in parts]
    return [word for words in found for word in words] if all(found) else ()


async def _body(request: Request, kind: type[T], limit_bytes: int) -> T:
    media = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if media != JSON:
        message = f"The body is {media[:100]!r}, and this takes {JSON}."
        raise ControlProblem(415, "media_type_unsupported", message, f"Send `content-type: {JSON}`.")
    try:
        return msgspec.json.decode(await read_body(request, limit_bytes), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _not_taken(f"The body is not valid: {error}.") from error


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body, if it is not longer than this and comes in time."""
    chunks: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                length += len(chunk)
                if length > limit_bytes:
                    raise ControlProblem(413, "body_too_large", f"The body is longer than {limit_bytes} bytes.")
                chunks.append(chunk)
    except TimeoutError as error:
        message = f"The body did not arrive within {BODY_TIMEOUT_S:g} seconds."
        raise ControlProblem(408, "body_timeout", message, "Send it again.") from error
    except ClientDisconnect as error:
        raise _not_taken("The body broke off.") from error
    return b"".join(chunks)


def _not_taken(message: str) -> ControlProblem:
    return ControlProblem(400, "request_invalid", message, f"{PREFIX}/openapi.json says what each route takes.")
