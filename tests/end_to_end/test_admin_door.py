"""The admin plane's door on a real socket: rebound names, pages of others, proxies on this machine, odd requests."""

import pytest

from tests.end_to_end.plug import exchange
from tests.harness.gateway import GatewayProcess

pytestmark = pytest.mark.processes

STATUS = "/api/v1/status"
PRIVATE = (
    b"cache-control: no-store",
    b"x-content-type-options: nosniff",
    b"content-security-policy: default-src 'none'",
)


def say(gateway: GatewayProcess, line: str, *headers: str, credential: bool = True, body: bytes = b"") -> bytes:
    """A request written by hand; OWN stands for the plane's own address."""
    own = f"127.0.0.1:{gateway.admin_port}"
    given = [f"authorization: Bearer {gateway.admin_token()}"] if credential else []
    head = "\r\n".join([line, *given, *headers, "connection: close", "", ""]).replace("OWN", own)
    return exchange(gateway.admin_port, [head.encode() + body])


GET = f"GET {STATUS} HTTP/1.1"
MINT = "POST /api/v1/sessions HTTP/1.1"

REQUESTS: dict[str, tuple[str, list[str], bytes]] = {
    "its own name": (GET, ["host: OWN"], b"200"),
    "localhost": (GET, ["host: localhost"], b"200"),
    "an IPv6 name": (GET, ["host: [::1]:8789"], b"200"),
    "its own page": (GET, ["host: OWN", "origin: http://OWN"], b"200"),
    # DNS rebinding: a page points its own name at our address.
    "a rebound name": (GET, ["host: evil.example"], b"403"),
    "a rebound name, its own origin": (GET, ["host: evil.example", "origin: http://evil.example"], b"403"),
    "a name that begins like ours": (GET, ["host: 127.0.0.1.evil.example"], b"403"),
    "an IPv6 name that is not ours": (GET, ["host: [2001:db8::1]"], b"403"),
    "no name": (GET, [], b"400"),
    "two names": (GET, ["host: OWN", "host: evil.example"], b"400"),
    # A target with a host in it: that counts.
    "a foreign target": (f"GET http://evil.example{STATUS} HTTP/1.1", ["host: OWN"], b"403"),
    "our own target, a foreign name": (f"GET http://OWN{STATUS} HTTP/1.1", ["host: evil.example"], b"200"),
    "a target with a user": (f"GET http://127.0.0.1@evil.example{STATUS} HTTP/1.1", ["host: OWN"], b"403"),
    # Pages of others.
    "a cross-site post": (MINT, ["host: OWN", "origin: https://evil.example", "content-length: 0"], b"403"),
    "a form of another site": (MINT, ["host: OWN", "origin: null", "content-type: text/plain"], b"403"),
    "another port": (GET, ["host: OWN", "origin: http://127.0.0.1:1"], b"403"),
    "another scheme": (GET, ["host: OWN", "origin: https://OWN"], b"403"),
    "an image of another site": (GET, ["host: OWN", "sec-fetch-site: cross-site"], b"403"),
    "a preflight": (f"OPTIONS {STATUS} HTTP/1.1", ["host: OWN", "origin: http://evil.example"], b"403"),
    # A proxy on this machine.
    "a proxy that says so": (GET, ["host: OWN", "x-forwarded-for: 127.0.0.1"], b"403"),
    "a proxy by the standard": (GET, ["host: OWN", "forwarded: for=127.0.0.1"], b"403"),
    "nginx as it comes": (f"GET {STATUS} HTTP/1.0", ["host: OWN"], b"403"),
    # Methods.
    "another method": (f"DELETE {STATUS} HTTP/1.1", ["host: OWN"], b"405"),
    "options": (f"OPTIONS {STATUS} HTTP/1.1", ["host: OWN"], b"405"),
    "no such page": ("GET /api/v1/nothing HTTP/1.1", ["host: OWN"], b"404"),
    # Bounds.
    "a huge head": (GET, ["host: OWN", "x: " + "y" * 70_000], b"400"),
    "many headers": (GET, ["host: OWN", *[f"x-{number}: y" for number in range(200)]], b"400"),
    "a huge body": (MINT, ["host: OWN", "content-type: application/json", "content-length: 300000"], b"413"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_who_may_come_in(gateway: GatewayProcess, name: str) -> None:
    line, headers, status = REQUESTS[name]
    answer = say(gateway, line, *headers, body=b"[" * 300_000 if status == b"413" else b"")
    assert answer[9:12] == status, answer[:300]
    assert gateway.admin_token().encode() not in answer
    if status != b"400":
        assert [each for each in PRIVATE if each not in answer] == []
    if status == b"405":
        assert b"allow: GET\r\n" in answer
    assert b"access-control-allow" not in answer.lower()


@pytest.mark.parametrize("path", [STATUS, "/api/v1/nothing", "/metrics", "/"])
def test_without_the_credential_nothing_is_told(gateway: GatewayProcess, path: str) -> None:
    answer = say(gateway, f"GET {path} HTTP/1.1", "host: OWN", credential=False)
    assert answer[9:12] == b"401", answer[:300]
    assert b"www-authenticate: Bearer" in answer
