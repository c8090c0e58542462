"""The door of the admin plane: who may come in at all, and how every error leaves.

Checks before any handler sees a request: the Host header names us, so that a web page which points its own name at
our address (DNS rebinding) gets nothing; an Origin header, where a browser sends one, is our own; the credential is
an admin's, and the bootstrap one comes from this machine, and through no proxy that speaks for others (a tunnel adds no
header, a proxy says for whom it asks). Before there is a named admin, nobody from elsewhere is even asked who it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import IPv6Address, ip_address

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from comptroller.control.entry import WAY_IN, actor_of, is_guess
from comptroller.control.interfaces import AdminCredential
from comptroller.control.office import Office
from comptroller.control.problem import ControlProblem, ledger_unavailable
from comptroller.core.identity.admin import Actor
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
WHO = "comptroller.who"  # in the scope of what is let through: says who asks, as they stand then; None: anybody may


class Outside(msgspec.Struct, frozen=True):
    """What the door is told of the world: how it is addressed, who asks, and what the bootstrap credential is.

    `own_hosts`: names and addresses, beside loopback ones. `address_of`: who is at the other end, by scope.
    """

    bootstrap: AdminCredential
    own_hosts: Collection[str] = ()
    address_of: Callable[[Scope], str] = lambda scope: (scope["client"] or ("",))[0]


class Door:
    """Lets an admin through to `inner`, and nobody else. `open_paths` are for whoever comes to say who it is."""

    def __init__(self, office: Office, outside: Outside, inner: ASGIApp, open_paths: Collection[str] = ()) -> None:
        self._office = office
        self._outside = outside
        self._own_hosts = frozenset(host_name(host) for host in outside.own_hosts)
        self._inner = inner
        self._open_paths = frozenset(open_paths)

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
            if problem.status == 401 and scope["path"] in self._open_paths:
                self._count_wrong(scope)
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
        if not self._office.admins.known:
            _check_near(scope, headers)
        self._check_host(headers)
        _check_origin(scope, headers)
        if scope["path"] in self._open_paths:
            self._check_attempts(scope)
            scope[WHO] = lambda: None
            return
        actor = self._actor(scope, headers)
        if not actor.named:
            _check_near(scope, headers)
        scope[WHO] = lambda: self._actor(scope, headers)

    def _actor(self, scope: Scope, headers: Headers) -> Actor:
        """Whose credential it is. A good one is always let in: who guesses keeps nobody from stopping things."""
        presented = _bearer(headers)
        try:
            return actor_of(self._office, self._outside.bootstrap, presented)
        except ControlProblem as problem:
            if problem.code == "credential_invalid" and is_guess(presented):
                self._check_attempts(scope)
                self._count_wrong(scope)
            raise

    def _check_attempts(self, scope: Scope) -> None:
        wait_s = self._office.attempts.wait_s(self._outside.address_of(scope), self._office.gate.clock.expiry_ns())
        if wait_s:
            after = {"retry-after": str(wait_s)}
            sentence, hint = "Too many wrong credentials came from this address.", f"Wait {wait_s} s."
            raise ControlProblem(429, "too_many_attempts", sentence, hint, headers=after)

    def _count_wrong(self, scope: Scope) -> None:
        address = self._outside.address_of(scope)
        if self._office.attempts.wrong(address, self._office.gate.clock.expiry_ns()):
            self._office.gate.warn("admin_guessed", {"client.address": address})

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
                "Address it as 127.0.0.1 or localhost, or as a host that [admin] listen or hosts names.",
            )


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


def _bearer(headers: Headers) -> str:
    """The credential that was sent."""
    values = headers.getlist("authorization")
    scheme, _, presented = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    presented = presented.strip()
    if scheme.lower() != "bearer" or not presented:
        raise ControlProblem(401, "credential_missing", "No admin credential was sent.", WAY_IN)
    return presented


def problem_response(problem: ControlProblem) -> Response:
    """An error as every route says it (RFC 9457)."""
    challenge = {"www-authenticate": "Bearer"} if problem.status == 401 else {}
    headers = {**_HEADERS, **challenge, **problem.headers}
    return Response(msgspec.json.encode(problem.body), problem.status, headers, PROBLEM)


def json_response(value: object) -> Response:
    return Response(msgspec.json.encode(value), 200, _HEADERS, "application/json")


def _check_near(scope: Scope, headers: Headers) -> None:
    client = scope.get("client")
    if client is None or not is_loopback(client[0]):
        raise _not_here("Until there is a named admin, this plane is for this machine only.")
    # nginx asks so unless it is told otherwise, and adds nothing by which it could be known; nobody else does.
    old = scope.get("http_version") == "1.0"
    if old or any(name in _FORWARDED or name.startswith(_FORWARDED_BEGIN) for name in headers):
        raise _not_here("This came through a proxy, and the bootstrap credential works on this machine only.")


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
