"""Who may come in at all, and how every error leaves."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from comptroller.control import api, route, tokens
from comptroller.control.door import Outside, host_name, is_loopback
from tests.control.asgi import ADMIN, Admin, ask
from tests.control.house import House, opened

STATUS = "/api/v1/status"


@pytest.fixture(scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One for all tests here: strangers change nothing."""
    async with opened(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(autouse=True)
def nothing_failed_inside(house: House) -> Iterator[None]:
    yield
    said, house.warnings[:] = list(house.warnings), []
    assert said == []


def door(house: House) -> Any:
    return api.build(house.office, Outside(Admin(), {"admin.acme.example:8789"}))


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8789", "localhost", "LOCALHOST:1", "[::1]:8789", "127.9.9.9", "localhost."]
)
async def test_it_answers_to_its_own_names(house: House, host: str) -> None:
    assert (await ask(door(house), "GET", STATUS, headers={"host": host})).status == 200
    named = await ask(door(house), "GET", STATUS, headers={"host": "admin.acme.example"})
    assert named.status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8789", "127.0.0.1.evil.example", "10.0.0.1", "localhost.evil.example", "[::2]"],
)
async def test_a_rebound_name_gets_nothing(house: House, host: str) -> None:
    said = await ask(door(house), "GET", STATUS, headers={"host": host})
    assert (said.status, said.code) == (403, "host_forbidden")


async def test_a_request_without_host_or_with_two_is_no_request(house: House) -> None:
    assert (await ask(door(house), "GET", STATUS, headers={"host": ""})).code == "host_invalid"
    assert (await ask(door(house), "GET", STATUS, headers=[("host", "localhost")])).code == "host_invalid"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8789", 200),
        ("HTTP://127.0.0.1:8789", 200),
        ("http://127.0.0.1:8790", 403),
        ("https://127.0.0.1:8789", 403),
        ("http://localhost:8789", 403),
        ("http://evil.example", 403),
        ("null", 403),
    ],
)
async def test_only_our_own_pages_may_ask(house: House, origin: str, status: int) -> None:
    assert (await ask(door(house), "GET", STATUS, headers={"origin": origin})).status == status


@pytest.mark.parametrize("client", [("192.168.1.7", 1), ("10.0.0.1", 1), ("203.0.113.9", 1), None, ("unix", 0)])
async def test_other_machines_stay_outside(house: House, client: tuple[str, int] | None) -> None:
    said = await ask(door(house), "GET", STATUS, client=client)
    assert (said.status, said.code) == (403, "client_forbidden")


@pytest.mark.parametrize(
    "name", ["forwarded", "x-forwarded-for", "X-Forwarded-Proto", "x-forwarded-host", "x-real-ip", "X-Forwarded-Foo"]
)
async def test_whoever_comes_through_a_proxy_stays_outside(house: House, name: str) -> None:
    """The proxy is on this machine; who stands behind it is not known."""
    said = await ask(door(house), "GET", STATUS, headers={name: "127.0.0.1"})
    assert (said.status, said.code) == (403, "client_forbidden")
    assert "proxy" in said.body["detail"]
    assert ADMIN not in str(said)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"authorization": ""}, 401, "credential_missing"),
        ({"authorization": "Bearer"}, 401, "credential_missing"),
        ({"authorization": f"Basic {ADMIN}"}, 401, "credential_missing"),
        ({"authorization": ADMIN}, 401, "credential_missing"),
        ({"authorization": f"Bearer {ADMIN}x"}, 401, "credential_invalid"),
        ({"authorization": "Bearer cptradm_" + "guess"}, 401, "credential_invalid"),
        ({"authorization": "Bearer schl\u00fcssel"}, 401, "credential_invalid"),
        ({"authorization": "Bearer cptr_" + "eyJ"}, 403, "credential_forbidden"),
        ({"authorization": f"bearer {ADMIN}"}, 200, None),
    ],
)
async def test_the_credential(house: House, headers: dict[str, str], status: int, code: str | None) -> None:
    said = await ask(door(house), "GET", STATUS, headers=headers)
    assert said.status == status
    if code is not None:
        assert said.code == code
        assert ADMIN not in str(said)
        assert ("www-authenticate" in said.headers) == (status == 401)


@pytest.mark.parametrize(
    "name", ["via", "x-client-ip", "True-Client-IP", "CF-Connecting-IP", "x-envoy-external-address", "x-original-url"]
)
async def test_other_signs_of_a_proxy(house: House, name: str) -> None:
    said = await ask(door(house), "GET", STATUS, headers={name: "127.0.0.1"})
    assert (said.status, said.code) == (403, "client_forbidden")


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
)
async def test_a_page_of_another_site_may_not_even_ask(house: House, site: str, status: int) -> None:
    """Browsers say so on every request, also where they send no Origin."""
    assert (await ask(door(house), "GET", STATUS, headers={"sec-fetch-site": site})).status == status


async def test_two_credentials_are_none(house: House) -> None:
    said = await ask(door(house), "GET", STATUS, headers=[("authorization", f"Bearer {ADMIN}")])
    assert said.code == "credential_missing"


async def test_a_session_credential_administers_nothing(house: House) -> None:
    minted = await tokens.mint(house.office, "agent/ant", None, "test")
    said = await ask(door(house), "GET", STATUS, credential=minted.credential)
    assert (said.status, said.code) == (403, "credential_forbidden")
    assert "makes model calls and administers nothing" in said.body["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/v1/nothing", b"", 404, "route_unknown"),
        ("GET", "/", b"", 404, "route_unknown"),
        ("GET", "/api/v1/status/", b"", 404, "route_unknown"),
        ("DELETE", "/api/v1/status", b"", 405, "method_not_allowed"),
        ("GET", "/api/v1/registry/plan", b"", 405, "method_not_allowed"),
        ("GET", "/api/v1/status?x=1", b"", 400, "request_invalid"),
        ("GET", "/api/v1/calls?colour=red", b"", 400, "request_invalid"),
        ("GET", "/api/v1/calls?limit=1&limit=2", b"", 400, "request_invalid"),
        ("GET", "/api/v1/calls?limit=many", b"", 400, "request_invalid"),
        ("GET", "/api/v1/calls?limit=0", b"", 400, "request_invalid"),
        ("GET", "/api/v1/calls?limit=10001", b"", 400, "request_invalid"),
        ("GET", "/api/v1/calls?outcome=null", b"", 400, "request_invalid"),
        ("GET", "/api/v1/prices?model=m&at=null", b"", 400, "request_invalid"),
        ("GET", "/api/v1/calls?since=yesterday", b"", 422, "invalid"),
        ("GET", "/api/v1/calls?since=0001-01-01T00:00:00%2B14:00", b"", 422, "invalid"),
        ("GET", "/api/v1/calls?since=9999-12-31T23:59:59Z", b"", 422, "invalid"),
        ("GET", "/api/v1/reprice?since=9999-12-31T23:59:59Z", b"", 422, "invalid"),
        (
            "POST",
            "/api/v1/policies/explanation",
            {"identity": "agent/ant", "model": "sandbox-large", "estimate_usd": "9" * 40},
            422,
            "invalid",
        ),
        ("POST", "/api/v1/calls/call_nope/corrections", {"charge_usd": "9" * 40, "reason": "x"}, 422, "invalid"),
        ("GET", "/api/v1/calls?since=2026-11-22T05:47:11", b"", 422, "invalid"),
        ("GET", "/api/v1/calls?outcome=fine", b"", 400, "request_invalid"),
        ("GET", "/api/v1/calls/call_nope/explanation", b"", 404, "not_found"),
        ("POST", "/api/v1/sessions", b"", 400, "request_invalid"),
        ("POST", "/api/v1/sessions", b"{", 400, "request_invalid"),
        ("POST", "/api/v1/sessions", b"\xff\xfe", 400, "request_invalid"),
        ("POST", "/api/v1/sessions", b"[" * 100_000, 413, "body_too_large"),
        ("POST", "/api/v1/sessions", b"[" * 60_000, 400, "request_invalid"),
        ("POST", "/api/v1/sessions", {"identity": 7}, 400, "request_invalid"),
        ("POST", "/api/v1/sessions", {"identity": "agent/ant", "colour": 1}, 400, "request_invalid"),
        ("POST", "/api/v1/sessions", {"identity": "agent/ants"}, 404, "not_found"),
        ("POST", "/api/v1/sessions", {"identity": "agent/ant", "lifetime_s": 86_401}, 422, "invalid"),
        ("POST", "/api/v1/sessions", {"identity": "agent/ant", "lifetime_s": 0}, 422, "invalid"),
        ("POST", "/api/v1/sessions", {"identity": "agent/ant", "lifetime_s": 10**30}, 422, "invalid"),
        ("POST", "/api/v1/sessions/ses_nope/end", {"reason": "x"}, 404, "not_found"),
        ("POST", "/api/v1/sessions/ses_nope/end", {"reason": " "}, 422, "invalid"),
        ("POST", "/api/v1/sessions/ses_nope/end", {"reason": "a\nb"}, 422, "invalid"),
        ("POST", "/api/v1/sessions/ses_nope/end", {"reason": "\x1b[2J"}, 422, "invalid"),
        ("POST", "/api/v1/sessions/ses_nope/end", {"reason": "x" * 501}, 422, "invalid"),
        ("POST", "/api/v1/calls/call_nope/corrections", {"charge_usd": "1", "reason": "x"}, 404, "not_found"),
        ("POST", "/api/v1/calls/call_nope/corrections", {"charge_usd": "-1", "reason": "x"}, 422, "invalid"),
        ("POST", "/api/v1/calls/call_nope/corrections", {"charge_usd": "much", "reason": "x"}, 422, "invalid"),
        ("POST", "/api/v1/calls/call_nope/corrections", {"charge_usd": 1, "reason": "x"}, 400, "request_invalid"),
        ("POST", "/api/v1/bounds/resume", {"provider": "p", "model": "m", "reason": "x"}, 404, "not_found"),
        ("POST", "/api/v1/keys/rotate", {"distrust_old": True}, 400, "request_invalid"),
        ("POST", "/api/v1/keys/rotate", {"distrust_old": 1, "reason": "x"}, 400, "request_invalid"),
        ("GET", "/api/v1/keys/rotate", b"", 405, "method_not_allowed"),
        ("POST", "/api/v1/registry/plan", b"\xff", 400, "request_invalid"),
        ("POST", "/api/v1/registry/plan", b"[organization]", 400, "request_invalid"),
        ("POST", "/api/v1/registry/plan", {"registry": "= 1"}, 422, "registry_invalid"),
        ("POST", "/api/v1/registry/plan", {"registry": "x = " + "[" * 5_000}, 422, "registry_invalid"),
        ("POST", "/api/v1/registry/apply", {"registry": "x = 1"}, 422, "registry_invalid"),
        ("POST", "/api/v1/registry/apply", b"#" * (api.DOCUMENT_BYTES + 1), 413, "body_too_large"),
    ],
)
async def test_what_is_wrong_is_said(house: House, method: str, path: str, body: Any, status: int, code: str) -> None:
    said = await ask(door(house), method, path, body)
    assert (said.status, said.code) == (status, code), said.body
    assert said.body["detail"]


async def test_a_fault_of_ours_tells_nothing(house: House) -> None:
    office = dataclasses.replace(house.office, ledger=None)  # type: ignore[arg-type]
    said = await ask(api.build(office, Outside(Admin())), "GET", "/api/v1/findings")
    assert (said.status, said.code) == (500, "internal_error")
    assert "NoneType" not in str(said.body)
    event, logged = house.warnings.pop()
    assert event == "control_fault"
    assert (logged["url.path"], logged["exception.type"]) == ("/api/v1/findings", "AttributeError")
    assert logged["code.file.path"].endswith("/control/office.py")
    assert logged["code.line.number"].isdigit()
    assert "NoneType" not in str(logged), "a message could hold a value"


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("", 404),
        ("application/json", 404),
        ("Application/JSON; charset=utf-8", 404),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
    ],
)
async def test_a_body_is_json_or_nothing(house: House, media: str, status: int) -> None:
    """A page of another origin can send any text without being asked for leave, but not as JSON."""
    said = await ask(door(house), "POST", "/api/v1/sessions", {"identity": "no"}, headers={"content-type": media})
    assert said.status == status


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_a_wrong_method_is_told_the_right_ones(house: House, method: str) -> None:
    said = await ask(door(house), method, "/api/v1/sessions")
    assert (said.status, said.code) == (405, "method_not_allowed")
    assert said.headers["allow"] == "GET, POST"


async def test_a_body_that_does_not_come_is_not_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "BODY_TIMEOUT_S", 0.05)
    sent: list[dict[str, Any]] = []

    async def never() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()

    async def keep(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {ADMIN}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/api/v1/sessions", "query_string": b"", "headers": headers}
    scope |= {"scheme": "http", "client": ("127.0.0.1", 1), "http_version": "1.1", "root_path": ""}
    await door(house)(scope, never, keep)
    assert sent[0]["status"] == 408
    assert b"body_timeout" in sent[1]["body"]


async def test_every_answer_is_private_json(house: House) -> None:
    for path, media in ((STATUS, "application/json"), ("/api/v1/nothing", "application/problem+json")):
        said = await ask(door(house), "GET", path)
        assert said.headers["content-type"] == media
        assert said.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a.example:1", "a.example"),
        ("[::1]:5", "::1"),
        ("::1", "::1"),
        ("", ""),
        ("LocalHost.", "localhost"),
        ("[", ""),
    ],
)
def test_the_name_in_a_host_header(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("name", "loopback"),
    [
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("0.0.0.0", False),
        ("a", False),
    ],
)
def test_what_is_loopback(name: str, loopback: bool) -> None:
    assert is_loopback(name) is loopback
