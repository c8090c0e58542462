"""The door of the admin plane: who may come in at all, and how every error leaves.

Four checks before any handler sees a request: the client is on this machine, and no proxy that speaks for
others (a tunnel adds no header, a proxy says for whom it asks); the Host header names us, so
that a web page which points its own name at our address (DNS rebinding) gets nothing; an Origin header, where
a browser sends one, is our own; the credential is the admin's.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv6Address, ip_address

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comptroller.control.interfaces import AdminCredential
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, ledger_unavailable
from comptroller.core.identity.credential import ADMIN_PREFIX, PREFIX
from comptroller.flow.fault import fault_facts
from comptroller.flow.journal import LedgerUnavailableError

PROBLEM = "application/problem+json"
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
# What proxies add. What stands in it is not looked at: somebody stands behind them, and that is enough.
_FORWARDED = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip"})
_FORWARDED_BEGIN = ("x-forwarded", "x-original-", "x-envoy-", "cf-", "cdn-")
_WAY_IN = "Send `Authorization: Bearer` with the admin credential, which stands in the state folder."


class Door:
    """Lets an operator through to `inner`, and nobody else."""

    def __init__(self, office: Office, admin: AdminCredential, own_hosts: Collection[str], inner: ASGIApp) -> None:
        self._office = office
        self._admin = admin
        self._own_hosts = frozenset(host_name(host) for host in own_hosts)
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answered = False

        async def remember(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            self._check(scope)
            await self._inner(scope, receive, remember)
        except ControlProblem as problem:
            await problem_response(problem)(scope, receive, send)
        except LedgerUnavailableError as error:
            await problem_response(ledger_unavailable(f"{error}."))(scope, receive, send)
        except Exception as error:
            self._office.gate.warn("control_fault", {"url.path": scope["path"], **fault_facts(error)})
            if answered:
                raise
            await problem_response(_fault())(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        _check_client(scope, headers)
        self._check_host(headers)
        _check_origin(scope, headers)
        self._check_credential(headers)

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            raise ControlProblem(400, "host_invalid", "The request needs exactly one Host header.")
        name = host_name(hosts[0])
        if not is_loopback(name) and name not in self._own_hosts:
            raise ControlProblem(
                403,
                "host_forbidden",
                f"The admin plane is not known as {name!r}.",
                "Address it as 127.0.0.1 or localhost, or as the host that [admin] listen names.",
            )

    def _check_credential(self, headers: Headers) -> None:
        values = headers.getlist("authorization")
        scheme, _, presented = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        presented = presented.strip()
        if scheme.lower() != "bearer" or not presented:
            raise ControlProblem(401, "credential_missing", "No admin credential was sent.", _WAY_IN)
        if self._admin.matches(presented):
            return
        if presented.startswith(PREFIX) and not presented.startswith(ADMIN_PREFIX):
            raise ControlProblem(
                403,
                "credential_forbidden",
                "This is a session credential: it makes model calls and administers nothing.",
                _WAY_IN,
            )
        raise ControlProblem(401, "credential_invalid", "This is not the admin credential of this gateway.", _WAY_IN)


def host_name(host: str) -> str:
    """The name or address in a Host header or a listen setting, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0].removesuffix(".")


def is_loopback(name: str) -> bool:
    """True for localhost and loopback addresses."""
    if name == "localhost":
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None  # on a listener that takes both
    return (mapped or address).is_loopback


def problem_response(problem: ControlProblem) -> Response:
    """An error as every route says it (RFC 9457)."""
    challenge = {"www-authenticate": "Bearer"} if problem.status == 401 else {}
    headers = {**_HEADERS, **challenge, **problem.headers}
    return Response(msgspec.json.encode(problem.body), problem.status, headers, PROBLEM)


def json_response(value: object) -> Response:
    return Response(msgspec.json.encode(value), 200, _HEADERS, "application/json")


def _check_client(scope: Scope, headers: Headers) -> None:
    client = scope.get("client")
    if client is None or not is_loopback(client[0]):
        raise _not_here("The bootstrap admin credential works on this machine only.")
    # nginx asks so unless it is told otherwise, and adds nothing by which it could be known; nobody else does.
    old = scope.get("http_version") == "1.0"
    if old or any(name in _FORWARDED or name.startswith(_FORWARDED_BEGIN) for name in headers):
        raise _not_here("This came through a proxy, and the bootstrap admin credential works on this machine only.")


def _not_here(message: str) -> ControlProblem:
    hint = "Run the command beside the gateway, or through a tunnel that ends there (ssh -L)."
    return ControlProblem(403, "client_forbidden", message, hint)


def _check_origin(scope: Scope, headers: Headers) -> None:
    if any(site not in {"same-origin", "none"} for site in headers.getlist("sec-fetch-site")):
        raise ControlProblem(403, "origin_forbidden", "A web page of another site may not speak to the admin plane.")
    own = f"{scope['scheme']}://{headers['host']}".lower()
    if any(origin.lower() != own for origin in headers.getlist("origin")):
        raise ControlProblem(403, "origin_forbidden", "A web page of another origin may not speak to the admin plane.")


def _fault() -> ControlProblem:
    return ControlProblem(
        500, "internal_error", "The gateway failed on this request.", "Its log names the fault (`control_fault`)."
    )
