"""What callers ask beside calls, as one table: `/oauth/...`, `/.well-known/...` and `/comptroller/v1/...`.

It stands on the data plane, behind the same door and bounds as calls (gateway/door.py), and costs nothing. To add a
route: write its act (caller_route.py says how) beside the noun that it is about, give it a line in the table and a row
in docs/reference/api.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from comptroller.control import (
    allowance,
    approval_page,
    caller_approvals,
    caller_requests,
    caller_sessions,
    credentials,
    exchange,
    metadata,
)
from comptroller.control.caller_route import Asked, CallerRoute, OAuthError, json_answer
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, ledger_unavailable
from comptroller.control.sessions import close_session
from comptroller.flow.door import Answered, CallerRequest
from comptroller.flow.fault import fault_facts
from comptroller.flow.journal import LedgerUnavailableError

TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
ROUTES: Sequence[CallerRoute] = (
    CallerRoute("POST", TOKEN_PATH, exchange.exchange),
    CallerRoute("POST", "/oauth/introspect", credentials.introspect),
    CallerRoute("POST", "/oauth/revoke", credentials.revoke),
    CallerRoute("POST", caller_sessions.PATH, caller_sessions.open_child),
    CallerRoute("GET", f"{caller_sessions.PATH}/{{session}}", caller_sessions.show),
    CallerRoute("POST", f"{caller_sessions.PATH}/{{session}}/credential", caller_sessions.issue),
    CallerRoute("POST", f"{caller_sessions.PATH}/{{session}}/close", caller_sessions.close),
    CallerRoute("POST", f"{caller_sessions.PATH}/{{session}}/narrow", caller_sessions.narrow),
    CallerRoute("POST", f"{caller_sessions.PATH}/{{session}}/renew", caller_sessions.renew),
    CallerRoute("GET", allowance.PATH, allowance.show),
    CallerRoute("GET", f"{caller_approvals.PATH}/{{ticket}}", caller_approvals.show),
    CallerRoute("POST", f"{caller_approvals.PATH}/{{ticket}}/withdraw", caller_approvals.withdraw),
    CallerRoute("GET", f"{approval_page.PATH}/{{ticket}}", approval_page.show),
    CallerRoute("POST", caller_requests.PATH, caller_requests.ask),
    CallerRoute("GET", f"{caller_requests.PATH}/self", caller_requests.show),
    CallerRoute("GET", metadata.SERVER_PATH, metadata.describe_server),
    CallerRoute("GET", metadata.KEYS_PATH, metadata.show_keys),
)
OAUTH = "/oauth/"
# How a problem of the control plane is said below /oauth, by its status; all else is the request's fault.
_ERRORS: Mapping[int, str] = {
    401: "invalid_client",
    403: "access_denied",
    409: "invalid_grant",
    410: "invalid_grant",
    500: "server_error",
    503: "temporarily_unavailable",
}


class _OAuthBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 6749 section 5.2, and beside it our code and way on."""

    error: str
    error_description: str
    code: str = ""
    hint: str = ""


class CallerApi:
    """Implements flow.door.CallerApi."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._places: dict[tuple[str, ...], dict[str, CallerRoute]] = {}
        for route in ROUTES:
            self._places.setdefault(tuple(route.path.split("/")), {})[route.method] = route

    async def __call__(self, method: str, path: str, request: CallerRequest) -> Answered:
        try:
            route, names = self._find(method, path)
            answered = await route.act(self._office, Asked(names, request))
            if answered.opened and _has_left(request):
                await _abandon(self._office, answered.opened)
            return answered
        except OAuthError as error:
            self._note(path, request, error.code or error.error, error.description)
            return _said(error)
        except ControlProblem as problem:
            self._note(path, request, problem.code, problem.message)
            return _problem(path, problem)
        except LedgerUnavailableError as error:
            return _problem(path, ledger_unavailable(f"{error}."))
        except Exception as error:  # noqa: BLE001 - the boundary: our fault is said kindly and logged without values
            self._office.gate.warn("caller_fault", fault_facts(error))
            return _problem(path, ControlProblem(500, "internal_error", "The gateway failed on this request."))

    def _note(self, path: str, request: CallerRequest, code: str, sentence: str) -> None:
        """Who tries to become somebody and may not is worth a line; nothing of a token or secret is in it."""
        if path == TOKEN_PATH:
            told = {"client.address": request.address or "", "error.type": code, "message": sentence}
            self._office.gate.warn("exchange_refused", told)

    def _find(self, method: str, path: str) -> tuple[CallerRoute, Mapping[str, str]]:
        parts = tuple(path.split("/"))
        exact = self._places.get(parts)
        places = [exact] if exact is not None else [at for form, at in self._places.items() if _fits(form, parts)]
        if not places:
            hint = "The caller API is /oauth/, /.well-known/ and /comptroller/v1/ (docs/reference/api.md)."
            raise ControlProblem(404, "route_unknown", "There is no such route here.", hint)
        route = places[0].get(method)
        if route is None:
            methods = sorted(places[0])
            sentence = f"This route takes {' or '.join(methods)}."
            hint = f"Send it as {methods[0]}: docs/reference/api.md says what this route takes."
            raise ControlProblem(405, "method_not_allowed", sentence, hint, headers={"allow": ", ".join(methods)})
        return route, _names(route.path.split("/"), parts)


def _has_left(request: CallerRequest) -> bool:
    """Whether the caller has hung up by now. Whoever does after this has been told, as far as anybody can know."""
    left: list[bool] = []
    request.watch(lambda: left.append(True))
    request.unwatch()
    return bool(left)


async def _abandon(office: Office, session: str) -> None:
    """End a session whose credential nobody was told: what is set aside for it comes back now, not when it is idle."""
    with suppress(ControlProblem):  # it is over in memory, and the end is written later
        await close_session(office, session, "abandoned", "whoever opened it hung up before it was told", "gateway")


def _fits(form: Sequence[str], parts: Sequence[str]) -> bool:
    return len(form) == len(parts) and all(
        name == part or (name.startswith("{") and part) for name, part in zip(form, parts, strict=True)
    )


def _names(form: Sequence[str], parts: Sequence[str]) -> Mapping[str, str]:
    return {name[1:-1]: part for name, part in zip(form, parts, strict=True) if name.startswith("{")}


def _problem(path: str, problem: ControlProblem) -> Answered:
    if path.startswith(OAUTH):
        error = OAuthError(
            _ERRORS.get(problem.status, "invalid_request"),
            problem.message,
            problem.hint,
            status=400 if problem.status in {409, 410, 422} else problem.status,
            headers=problem.headers,
            code=problem.code,
        )
        return _said(error)
    answer = json_answer(problem.body, problem.status)
    kind = (b"content-type", b"application/problem+json")
    return msgspec.structs.replace(answer, headers=[kind, *answer.headers[1:], *_header_lines(problem.headers)])


def _said(error: OAuthError) -> Answered:
    # RFC 6749 allows no quotation mark and no backslash in a description.
    words = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in error.description)
    answer = json_answer(_OAuthBody(error.error, words, error.code or error.error, error.hint), error.status)
    return msgspec.structs.replace(answer, headers=[*answer.headers, *_header_lines(error.headers)])


def _header_lines(headers: Mapping[str, str]) -> Sequence[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
