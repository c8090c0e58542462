"""The admin plane over HTTP: `/api/v1/...`, JSON in and out, for the CLI and the console.

A route here reads what was sent, calls one act of a noun beside this file, and writes what it returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import date, datetime
from typing import Annotated, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from comptroller.control import (
    bounds,
    budgets,
    calls,
    changes,
    correct,
    explain,
    findings,
    identities,
    keys,
    policy,
    prices,
    registry,
    reprice,
    sessions,
    status,
    tokens,
)
from comptroller.control.door import Door, json_response, read_body
from comptroller.control.interfaces import AdminCredential, CallFilter
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, invalid
from comptroller.core.instant import from_datetime
from comptroller.core.money import parse_usd
from comptroller.flow.outcome import OUTCOMES

ACTOR = "admin"  # the bootstrap credential; named admins come with logins
BODY_BYTES = 64 * 1024
DOCUMENT_BYTES = 8 * 1024 * 1024  # a registry of tens of thousands of identities
ROWS_MOST = 10_000  # in one answer; `before` gets the next ones

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

Act = Callable[[Office, Request], Awaitable[object]]
T = TypeVar("T")


class _Sent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whatever is sent: a field that nobody reads is an error."""


class MintRequest(_Sent, frozen=True):
    identity: str
    lifetime_s: int | None = None


class ReasonRequest(_Sent, frozen=True):
    reason: str


class CorrectRequest(_Sent, frozen=True):
    charge_usd: str
    reason: str


class ResumeRequest(_Sent, frozen=True):
    provider: str
    model: str
    reason: str


class RotateRequest(_Sent, frozen=True):
    reason: str
    distrust_old: bool = False


class DocumentsRequest(_Sent, frozen=True):
    """What is to be installed as one version."""

    registry: str  # the text of a registry.toml
    policies: dict[str, str] | None = None  # file name -> text; null: as they are installed


class CallsQuery(_Sent, frozen=True):
    identity: str | None = None
    team: str | None = None
    session: str | None = None
    model: str | None = None
    outcome: str | None = None
    since: str | None = None
    before: str | None = None
    limit: int = 100


class SessionsQuery(_Sent, frozen=True):
    identity: str | None = None
    all: bool = False
    limit: int = sessions.SESSIONS_SHOWN


class LimitQuery(_Sent, frozen=True):
    limit: int = 100


class PricesQuery(_Sent, frozen=True):
    model: str
    provider: str | None = None
    at: date | None = None


class RepriceQuery(_Sent, frozen=True):
    since: str
    identity: str | None = None
    model: str | None = None


class ApplyQuery(_Sent, frozen=True):
    expected_version: int | None = None


class NoQuery(_Sent, frozen=True):
    """Nothing can be asked for."""


def build(office: Office, admin: AdminCredential, own_hosts: Collection[str] = ()) -> ASGIApp:
    """The ASGI app of the admin plane.

    `own_hosts`: names and addresses, beside loopback ones, under which it may be addressed (the admin listen host).
    """
    routes = [_route(office, path, acts) for path, acts in _ROUTES.items()]
    return Door(office, admin, own_hosts, Router(routes, redirect_slashes=False, default=_no_route))


async def _status(office: Office, request: Request) -> object:
    _query(request, NoQuery)
    return await status.show_status(office)


async def _identities(office: Office, request: Request) -> object:
    _query(request, NoQuery)
    return identities.list_identities(office)


async def _budgets(office: Office, request: Request) -> object:
    _query(request, NoQuery)
    return await budgets.list_budgets(office)


async def _calls(office: Office, request: Request) -> object:
    query = _query(request, CallsQuery)
    if query.outcome is not None and query.outcome not in {*OUTCOMES, "refused", "open"}:
        raise invalid(f"{query.outcome!r} is not an outcome.", f"Known: {', '.join((*OUTCOMES, 'refused', 'open'))}.")
    wanted = CallFilter(
        identity=query.identity,
        team=query.team,
        session=query.session,
        model=query.model,
        outcome=query.outcome,
        since_ns=_instant(query.since) if query.since is not None else None,
        before=query.before,
        limit=_limit(query.limit),
    )
    return await calls.list_calls(office, wanted)


async def _explain(office: Office, request: Request) -> object:
    _query(request, NoQuery)
    return await explain.explain(office, request.path_params["call"])


async def _correct(office: Office, request: Request) -> object:
    sent = await _body(request, CorrectRequest)
    try:
        charge_nanos = parse_usd(sent.charge_usd)
    except ValueError as error:
        raise invalid(f"charge_usd: {error}.") from error
    return await correct.correct(office, request.path_params["call"], charge_nanos, sent.reason, ACTOR)


async def _sessions(office: Office, request: Request) -> object:
    query = _query(request, SessionsQuery)
    return await sessions.list_sessions(office, query.identity, every=query.all, limit=_limit(query.limit))


async def _mint(office: Office, request: Request) -> object:
    sent = await _body(request, MintRequest)
    return await tokens.mint(office, sent.identity, sent.lifetime_s, ACTOR)


async def _end_session(office: Office, request: Request) -> object:
    sent = await _body(request, ReasonRequest)
    return await sessions.end_session(office, request.path_params["session"], sent.reason, ACTOR)


async def _bounds(office: Office, request: Request) -> object:
    _query(request, NoQuery)
    return bounds.list_bounds(office)


async def _resume(office: Office, request: Request) -> object:
    sent = await _body(request, ResumeRequest)
    return await bounds.resume(office, sent.provider, sent.model, sent.reason, ACTOR)


async def _rotate(office: Office, request: Request) -> object:
    sent = await _body(request, RotateRequest)
    return await keys.rotate(office, sent.reason, ACTOR, distrust_old=sent.distrust_old)


async def _findings(office: Office, request: Request) -> object:
    return await findings.list_findings(office, _limit(_query(request, LimitQuery).limit))


async def _changes(office: Office, request: Request) -> object:
    return await changes.list_changes(office, _limit(_query(request, LimitQuery).limit))


async def _prices(office: Office, request: Request) -> object:
    query = _query(request, PricesQuery)
    return prices.show_prices(office, query.model, query.provider, query.at)


async def _reprice(office: Office, request: Request) -> object:
    query = _query(request, RepriceQuery)
    return await reprice.reprice(office, _instant(query.since), query.identity, query.model)


async def _plan(office: Office, request: Request) -> object:
    _query(request, NoQuery)
    sent = await _documents(request)
    return await registry.show_plan(office, sent.registry, sent.policies)


async def _apply(office: Office, request: Request) -> object:
    query = _query(request, ApplyQuery)
    sent = await _documents(request)
    return await registry.apply(office, sent.registry, ACTOR, query.expected_version, sent.policies)


async def _explain_policy(office: Office, request: Request) -> object:
    return policy.explain(office, await _body(request, policy.Question))


_ROUTES: Mapping[str, Mapping[str, Act]] = {
    "/api/v1/status": {"GET": _status},
    "/api/v1/identities": {"GET": _identities},
    "/api/v1/budgets": {"GET": _budgets},
    "/api/v1/calls": {"GET": _calls},
    "/api/v1/calls/{call}/explanation": {"GET": _explain},
    "/api/v1/calls/{call}/corrections": {"POST": _correct},
    "/api/v1/sessions": {"GET": _sessions, "POST": _mint},
    "/api/v1/sessions/{session}/end": {"POST": _end_session},
    "/api/v1/bounds": {"GET": _bounds},
    "/api/v1/bounds/resume": {"POST": _resume},
    "/api/v1/keys/rotate": {"POST": _rotate},
    "/api/v1/findings": {"GET": _findings},
    "/api/v1/changes": {"GET": _changes},
    "/api/v1/prices": {"GET": _prices},
    "/api/v1/reprice": {"GET": _reprice},
    "/api/v1/registry/plan": {"POST": _plan},
    "/api/v1/registry/apply": {"POST": _apply},
    "/api/v1/policies/explanation": {"POST": _explain_policy},
}


def _route(office: Office, path: str, acts: Mapping[str, Act]) -> Route:
    async def endpoint(request: Request) -> Response:
        act = acts.get(request.method)
        if act is None:
            known = " or ".join(acts)
            raise ControlProblem(405, "method_not_allowed", f"{path} takes {known}, not {request.method}.")
        return json_response(await act(office, request))

    return Route(path, endpoint, methods=_METHODS)


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    raise ControlProblem(404, "route_unknown", f"There is no {scope['path']} here.", "The admin plane is /api/v1/.")


def _query(request: Request, kind: type[T]) -> T:
    """The query string as this kind; each key at most once."""
    pairs = request.query_params.multi_items()
    if len(dict(pairs)) != len(pairs):
        raise ControlProblem(400, "request_invalid", "A query parameter is given twice.")
    try:
        return msgspec.convert(dict(pairs), kind, strict=False)
    except msgspec.ValidationError as error:
        raise ControlProblem(400, "request_invalid", f"The query is not valid: {error}.") from error


async def _body(request: Request, kind: type[T]) -> T:
    _query(request, NoQuery)
    try:
        return msgspec.json.decode(await read_body(request, BODY_BYTES), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ControlProblem(400, "request_invalid", f"The body is not valid: {error}.") from error


async def _documents(request: Request) -> DocumentsRequest:
    """Registry and policies as JSON; or a registry.toml as it is, which never begins with a brace."""
    body = await read_body(request, DOCUMENT_BYTES)
    try:
        if body.lstrip().startswith(b"{"):
            return msgspec.json.decode(body, type=DocumentsRequest)
        return DocumentsRequest(body.decode())
    except UnicodeDecodeError as error:
        raise ControlProblem(400, "request_invalid", "The registry file is not UTF-8.") from error
    except msgspec.MsgspecError as error:
        raise ControlProblem(400, "request_invalid", f"The body is not valid: {error}.") from error


def _instant(text: str) -> int:
    """An RFC 3339 instant."""
    try:
        return from_datetime(msgspec.convert(text, Annotated[datetime, msgspec.Meta(tz=True)]))
    except (msgspec.ValidationError, OverflowError) as error:
        raise invalid(f"{text!r} is not an instant.", "Write it as 2026-11-22T05:47:11Z.") from error


def _limit(limit: int) -> int:
    if not 1 <= limit <= ROWS_MOST:
        raise invalid(f"A limit is between 1 and {ROWS_MOST}.")
    return limit
