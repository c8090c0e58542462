"""The admin plane over HTTP: `/api/v1/...`, JSON in and out, for the CLI and the console.

ROUTES is all of it, each with the least role that may ask it. An act here takes what was sent, calls a noun beside
this file, and returns what that says. To add a route: write its act, with a docstring that says what it is for and a
signature that says what it takes and answers (requests.py has what may be sent), and give it a line in the table. The
document at `/api/v1/openapi.json` follows by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette import routing
from starlette.types import ASGIApp, Receive, Scope, Send

from comptroller.control import (
    admins,
    allowance,
    approval_routes,
    bootstrap,
    bounds,
    break_glass,
    calls,
    changes,
    correct,
    explain,
    findings,
    identities,
    identity_requests,
    keys,
    limit_routes,
    login,
    notify_routes,
    openapi,
    policy,
    prices,
    registry,
    report_routes,
    reprice,
    session_changes,
    session_rows,
    sessions,
    status,
    stops,
    tokens,
    tool_routes,
    tree,
)
from comptroller.control.door import Door, Outside
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem
from comptroller.control.reading import read_instant, read_usd
from comptroller.control.requests import (
    AdminRequest,
    ApplyQuery,
    ApproveRequest,
    BreakGlassRequest,
    CallsQuery,
    CorrectRequest,
    DocumentsRequest,
    LimitQuery,
    LoginRequest,
    MintRequest,
    PricesQuery,
    ReasonRequest,
    RepriceQuery,
    RequestsQuery,
    ResumeRequest,
    RotateAdminRequest,
    RotateRequest,
    SecretRequest,
    SecretsQuery,
    SessionsQuery,
    StopRequest,
    StopsQuery,
)
from comptroller.control.route import PREFIX, Asked, NoQuery, Place, Plain, Route
from comptroller.control.session_requests import CloseSent, NarrowSent, OpenSent, RenewSent, open_request

DOCUMENT_BYTES = 32 * 1024 * 1024  # a registry of a hundred thousand identities


def build(office: Office, outside: Outside) -> ASGIApp:
    """The ASGI app of the admin plane."""
    paths = dict.fromkeys(route.whole_path for route in ROUTES)
    places = {path: Place(office, [route for route in ROUTES if route.whole_path == path]) for path in paths}
    found = [routing.Route(path, place) for path, place in places.items()]
    inner = routing.Router(found, redirect_slashes=False, default=_no_route)
    return Door(office, outside, inner, {route.whole_path for route in ROUTES if route.role is None})


async def _document(office: Office, asked: Plain) -> Mapping[str, Any]:
    """This document."""
    return openapi.document(ROUTES, office.process.version)


async def _status(office: Office, asked: Plain) -> status.Status:
    """What this process is, and whether it is well."""
    return await status.show_status(office)


async def _identities(office: Office, asked: Plain) -> Sequence[identities.IdentityRow]:
    """Who may create cost, who answers for it, and what will stop it soon."""
    return identities.list_identities(office)


async def _requests(office: Office, asked: Asked[RequestsQuery, None]) -> Sequence[identity_requests.RequestRow]:
    """Who asks for an identity, the oldest first."""
    return await identity_requests.list_requests(office, every=asked.query.all, limit=asked.query.limit)


async def _approve(office: Office, asked: Asked[NoQuery, ApproveRequest]) -> identity_requests.IdentityApproval:
    """Install the identity that somebody has asked for: from now on they are it."""
    sent, request = asked.body, asked.path["request"]
    return await identity_requests.approve(office, request, sent.name, sent.team, sent.reason, asked.actor)


async def _deny(office: Office, asked: Asked[NoQuery, ReasonRequest]) -> identity_requests.RequestRow:
    """Say no to a request for an identity, and end the sandbox of whoever asked."""
    return await identity_requests.deny(office, asked.path["request"], asked.body.reason, asked.actor)


async def _calls(office: Office, asked: Asked[CallsQuery, None]) -> Sequence[calls.CallRow]:
    """The governed calls, refused ones too, newest first."""
    return await calls.list_calls(office, asked.query.read())


async def _explain(office: Office, asked: Plain) -> explain.Explanation:
    """The whole story of one call, with the facts that it is told from."""
    return await explain.explain(office, asked.path["call"])


async def _correct(office: Office, asked: Asked[NoQuery, CorrectRequest]) -> correct.Correction:
    """Post the true charge of a call: an adjusting row, never an edit."""
    sent = asked.body
    charge_nanos = read_usd(sent.charge_usd, "charge_usd")
    return await correct.correct(office, asked.path["call"], charge_nanos, sent.reason, asked.by)


async def _sessions(office: Office, asked: Asked[SessionsQuery, None]) -> Sequence[session_rows.SessionRow]:
    """The active sessions, newest first."""
    query = asked.query
    return await sessions.list_sessions(office, query.identity, every=query.all, limit=query.limit)


async def _mint(office: Office, asked: Asked[NoQuery, MintRequest]) -> tokens.Minted:
    """Open a session for an identity and mint its credential, which is shown this once."""
    return await tokens.mint(office, asked.body.identity, asked.body.lifetime_s, asked.by)


async def _open_session(office: Office, asked: Asked[NoQuery, OpenSent]) -> tokens.Minted:
    """Open a session for some work, or below another session, and mint its credential, which is shown this once."""
    request = open_request(asked.body, asked.body.parent, agreed=True, by_operator=True)
    return await tokens.open_session(office, request, asked.by)


async def _session(office: Office, asked: Plain) -> session_rows.SessionRow:
    """One session, open or over."""
    return await sessions.show_session(office, asked.path["session"])


async def _tree(office: Office, asked: Plain) -> tree.TreeNode:
    """A session and all below it, with what each has spent."""
    return await tree.show_tree(office, asked.path["session"])


async def _close_session(office: Office, asked: Asked[NoQuery, CloseSent]) -> sessions.SessionEnd:
    """Say that a session is done, and how it came out: its credentials end, and all below it."""
    sent = asked.body
    return await sessions.close_session(office, asked.path["session"], sent.outcome, sent.reason, asked.by)


async def _narrow_session(office: Office, asked: Asked[NoQuery, NarrowSent]) -> session_rows.SessionRow:
    """Take something away from a session and all below it, at once."""
    sent, session = asked.body, asked.path["session"]
    return await session_changes.narrow(
        office, session, sent.bounds.read(), sent.models, sent.tools, sent.reason, asked.by, by_operator=True
    )


async def _renew_session(office: Office, asked: Asked[NoQuery, RenewSent]) -> session_rows.SessionRow:
    """Give a session other bounds, up to those of the session above it."""
    sent = asked.body
    return await session_changes.renew(office, asked.path["session"], sent.bounds.read(), sent.reason, asked.by)


async def _end_session(office: Office, asked: Asked[NoQuery, ReasonRequest]) -> sessions.SessionEnd:
    """End a session at once: its next call is refused, its calls in flight are cut."""
    return await sessions.end_session(office, asked.path["session"], asked.body.reason, asked.by)


async def _stops(office: Office, asked: Asked[StopsQuery, None]) -> Sequence[stops.StopRow]:
    """What is stopped now, newest first: by a person (suspend) or a rule (quarantine)."""
    return await stops.list_stops(office, every=asked.query.all, limit=asked.query.limit)


async def _suspend(office: Office, asked: Asked[NoQuery, StopRequest]) -> stops.StopMade:
    """Stop something at once: its next call is refused, its calls in flight are cut. Twice does no more than once."""
    sent = asked.body
    return await stops.suspend(office, sent.scope, sent.value, sent.reason, asked.by)


async def _resume_stop(office: Office, asked: Asked[NoQuery, StopRequest]) -> stops.StopRow:
    """Lift a stop: the next call works again, unless another stop or rule says no."""
    sent = asked.body
    return await stops.resume(office, sent.scope, sent.value, sent.reason, asked.by)


async def _bounds(office: Office, asked: Plain) -> Sequence[bounds.BoundRow]:
    """Every provider and model that was ever billed above its hold."""
    return bounds.list_bounds(office)


async def _resume(office: Office, asked: Asked[NoQuery, ResumeRequest]) -> Sequence[bounds.BoundRow]:
    """Reopen a quarantined model on a provider. Its raised factor stays."""
    sent = asked.body
    return await bounds.resume(office, sent.provider, sent.model, sent.reason, asked.by)


async def _secrets(office: Office, asked: Asked[SecretsQuery, None]) -> Sequence[bootstrap.SecretRow]:
    """The bootstrap secrets that can be used, newest first."""
    query = asked.query
    return await bootstrap.list_secrets(office, query.identity, every=query.all, limit=query.limit)


async def _issue_secret(office: Office, asked: Asked[NoQuery, SecretRequest]) -> bootstrap.IssuedSecret:
    """Issue a bootstrap secret for an identity, which is shown this once."""
    return await bootstrap.issue_secret(office, asked.body.identity, asked.body.expires_s, asked.by)


async def _revoke_secret(office: Office, asked: Asked[NoQuery, ReasonRequest]) -> bootstrap.SecretRow:
    """Take a bootstrap secret back. Sessions that it opened go on."""
    return await bootstrap.revoke_secret(office, asked.path["secret"], asked.body.reason, asked.by)


async def _rotate(office: Office, asked: Asked[NoQuery, RotateRequest]) -> keys.Rotation:
    """Sign session credentials with a new key from now on."""
    return await keys.rotate(office, asked.body.reason, asked.by, distrust_old=asked.body.distrust_old)


async def _login(office: Office, asked: Asked[NoQuery, LoginRequest]) -> login.LoggedIn:
    """A credential for a while, for an admin who proves who it is by a token of a trusted issuer."""
    return await login.login(office, asked.body.token, asked.body.lifetime_s)


async def _admins(office: Office, asked: Plain) -> Sequence[admins.AdminRow]:
    """Who may steer the gateway, in which role, and until when."""
    return admins.list_admins(office)


async def _add_admin(office: Office, asked: Asked[NoQuery, AdminRequest]) -> admins.AdminMade:
    """Make an admin. Its credential is shown this once. The first of role admin ends the bootstrap credential."""
    sent = asked.body
    return await admins.add(office, sent.name, sent.role, sent.lifetime_s, sent.issuer, sent.subject, asked.by)


async def _rotate_admin(office: Office, asked: Asked[NoQuery, RotateAdminRequest]) -> admins.AdminMade:
    """Give an admin a new credential, shown this once. The old one ends at once, and its logins."""
    return await admins.rotate(office, asked.path["admin"], asked.body.lifetime_s, asked.by)


async def _disable_admin(office: Office, asked: Asked[NoQuery, ReasonRequest]) -> admins.AdminRow:
    """Let an admin in no longer, from now on."""
    return await admins.disable(office, asked.path["admin"], asked.body.reason, asked.by)


async def _break_glass(office: Office, asked: Asked[LimitQuery, None]) -> Sequence[break_glass.BreakGlassRow]:
    """For whom policies are, were or shall be skipped, newest first."""
    return await break_glass.list_grants(office, asked.query.limit)


async def _ask_break_glass(office: Office, asked: Asked[NoQuery, BreakGlassRequest]) -> break_glass.BreakGlassRow:
    """Ask that policies be skipped for a while. Nothing changes until another admin confirms it."""
    sent = asked.body
    limit_nanos = read_usd(sent.limit_usd, "limit_usd")
    return await break_glass.ask(office, sent.scope, sent.value, sent.lasts_s, limit_nanos, sent.reason, asked.actor)


async def _confirm_break_glass(office: Office, asked: Plain) -> break_glass.BreakGlassRow:
    """Put into force what another admin has asked for."""
    return await break_glass.confirm(office, asked.path["grant"], asked.actor)


async def _end_break_glass(office: Office, asked: Plain) -> break_glass.BreakGlassRow:
    """End a grant at once, or take back what was asked for."""
    return await break_glass.end(office, asked.path["grant"], asked.actor)


async def _findings(office: Office, asked: Asked[LimitQuery, None]) -> Sequence[findings.FindingRow]:
    """What a person should look at, newest first."""
    return await findings.list_findings(office, asked.query.limit)


async def _changes(office: Office, asked: Asked[LimitQuery, None]) -> Sequence[changes.ChangeRow]:
    """Who changed what, outside of calls, newest first."""
    return await changes.list_changes(office, asked.query.limit)


async def _prices(office: Office, asked: Asked[PricesQuery, None]) -> prices.PriceSheet:
    """What a model costs on a day, meter by meter, and where each price is from."""
    query = asked.query
    return prices.show_prices(office, query.model, query.provider, query.at)


async def _reprice(office: Office, asked: Asked[RepriceQuery, None]) -> reprice.Repricing:
    """What today's price book would have charged for calls that are settled. Nothing is changed by asking.

    An answer is about 20,000 calls at most, the newest first. `next` says where the next one begins; add them up.
    """
    query = asked.query
    return await reprice.reprice(office, read_instant(query.since), query.identity, query.model, query.before)


async def _plan(office: Office, asked: Asked[NoQuery, DocumentsRequest]) -> registry.PlanRow:
    """What a registry and policies would change. Nothing is changed by asking."""
    return await registry.show_plan(office, asked.body.registry, asked.body.policies)


async def _apply(office: Office, asked: Asked[ApplyQuery, DocumentsRequest]) -> registry.PlanRow:
    """Install a registry and policies as the next version."""
    sent = asked.body
    return await registry.apply(office, sent.registry, asked.by, asked.query.expected_version, sent.policies)


ROUTES: Sequence[Route] = (
    Route("GET", "/openapi.json", "viewer", _document),
    Route("GET", "/status", "viewer", _status),
    Route("GET", "/identities", "viewer", _identities),
    Route("GET", "/identity-requests", "viewer", _requests),
    Route("POST", "/identity-requests/{request}/approve", "approver", _approve, problems=(404, 409, 422)),
    Route("POST", "/identity-requests/{request}/deny", "approver", _deny, problems=(404, 409, 422)),
    *limit_routes.ROUTES,
    Route("GET", "/calls", "viewer", _calls, problems=(422,)),
    *report_routes.ROUTES,
    Route("GET", "/calls/{call}/explanation", "viewer", _explain, problems=(404, 410)),
    Route("POST", "/calls/{call}/corrections", "operator", _correct, problems=(404, 409, 410, 422)),
    Route("GET", "/sessions", "viewer", _sessions),
    Route("POST", "/sessions", "operator", _mint, problems=(404, 409, 422)),
    Route("POST", "/sessions/open", "operator", _open_session, problems=(404, 409, 422)),
    Route("GET", "/sessions/{session}", "viewer", _session, problems=(404,)),
    Route("GET", "/sessions/{session}/tree", "viewer", _tree, problems=(404,)),
    Route("POST", "/sessions/{session}/close", "operator", _close_session, problems=(404, 422)),
    Route("POST", "/sessions/{session}/narrow", "operator", _narrow_session, problems=(404, 409, 422)),
    Route("POST", "/sessions/{session}/renew", "operator", _renew_session, problems=(404, 409, 422)),
    Route("POST", "/sessions/{session}/end", "operator", _end_session, problems=(404, 422)),
    Route("GET", "/stops", "viewer", _stops),
    Route("POST", "/stops", "operator", _suspend, problems=(404, 422)),
    Route("POST", "/stops/resume", "operator", _resume_stop, problems=(409, 422)),
    Route("GET", "/bounds", "viewer", _bounds),
    Route("POST", "/bounds/resume", "operator", _resume, problems=(404, 409, 422)),
    Route("GET", "/secrets", "viewer", _secrets),
    Route("POST", "/secrets", "operator", _issue_secret, problems=(404, 409, 422)),
    Route("POST", "/secrets/{secret}/revoke", "operator", _revoke_secret, problems=(404, 422)),
    Route("POST", "/login", None, _login, problems=(409, 422)),
    Route("GET", "/admins", "viewer", _admins),
    Route("POST", "/admins", "admin", _add_admin, problems=(404, 409, 422)),
    Route("POST", "/admins/{admin}/rotate", "admin", _rotate_admin, problems=(404, 409, 422)),
    Route("POST", "/admins/{admin}/disable", "admin", _disable_admin, problems=(404, 409, 422)),
    Route("GET", "/break-glass", "viewer", _break_glass),
    Route("POST", "/break-glass", "operator", _ask_break_glass, problems=(404, 422)),
    Route("POST", "/break-glass/{grant}/confirm", "approver", _confirm_break_glass, problems=(404, 409)),
    Route("POST", "/break-glass/{grant}/end", "operator", _end_break_glass, "approver", problems=(404,)),
    *approval_routes.ROUTES,
    *tool_routes.ROUTES,
    Route("POST", "/keys/rotate", "admin", _rotate, problems=(422,)),
    Route("GET", "/findings", "viewer", _findings),
    Route("GET", "/changes", "viewer", _changes),
    *notify_routes.ROUTES,
    Route("GET", "/prices", "viewer", _prices, problems=(404, 422)),
    Route("GET", "/reprice", "viewer", _reprice, problems=(422,)),
    Route("POST", "/registry/plan", "viewer", _plan, problems=(422,), body_bytes=DOCUMENT_BYTES),
    Route("POST", "/registry/apply", "admin", _apply, problems=(409, 422), body_bytes=DOCUMENT_BYTES),
    *policy.ROUTES,
    *allowance.ROUTES,
)


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    raise ControlProblem(404, "route_unknown", f"There is no {scope['path']} here.", f"The admin plane is {PREFIX}/.")
