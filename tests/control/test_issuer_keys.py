"""The keys of issuers: found, kept, fetched anew as seldom as possible; over real sockets, by a clock of the test's."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest
from joserfc import jwk

from comptroller.control.issuer_keys import BELIEVE_S, KEEP_S, MOST_BYTES, REFETCH_S, IssuerKeys
from comptroller.core.identity.federation import TrustedIssuer, Untrusted
from comptroller.flow.upstream import Exchange, Origin, UpstreamRequest
from comptroller.gateway.egress import Egress
from tests.harness.issuer import IssuerProcess


class Time:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
async def keys(tmp_path: Path, clock: Time) -> AsyncIterator[IssuerKeys]:
    egress = Egress()
    yield IssuerKeys(egress, tmp_path, clock)
    await egress.close()


@pytest.fixture
def running() -> Iterator[IssuerProcess]:
    with IssuerProcess() as issuer:
        yield issuer


def trusted(url: str, keys: str = "discovery", **more: Any) -> TrustedIssuer:
    known = {"name": "main", "kind": "oidc", "audience": "us", "algorithms": ("RS256",)}
    return TrustedIssuer(url=url, keys=keys, **{**known, **more})


def key_id(issuer: IssuerProcess) -> str:
    return next(key["kid"] for key in issuer.published() if key["kty"] == "RSA")


def why(found: object) -> str:
    assert isinstance(found, Untrusted), found
    return f"{found.code}: {found.sentence} {found.why}"


async def test_keys_that_rotate_are_followed_and_withdrawn_ones_are_forgotten(
    keys: IssuerKeys, running: IssuerProcess, clock: Time
) -> None:
    issuer, first = trusted(running.url), key_id(running)
    assert not isinstance(await keys.key(issuer, first), Untrusted)
    second = running.rotate()["RSA"]
    assert "does not publish" in why(await keys.key(issuer, second)), "asked a moment ago"
    clock.now_s += REFETCH_S
    assert not isinstance(await keys.key(issuer, second), Untrusted)
    assert not isinstance(await keys.key(issuer, first), Untrusted), "both are published"
    third = running.rotate(withdraw=True)["RSA"]
    clock.now_s += REFETCH_S
    assert not isinstance(await keys.key(issuer, second), Untrusted), "known, and kept for a while"
    clock.now_s += KEEP_S
    assert "does not publish" in why(await keys.key(issuer, second))
    assert not isinstance(await keys.key(issuer, third), Untrusted)


async def test_however_many_ask_at_once_the_issuer_is_asked_once(
    keys: IssuerKeys, running: IssuerProcess, clock: Time
) -> None:
    before = running.asked().get("/jwks.json", 0)
    issuer = trusted(running.url)
    for _ in range(3):
        found = await asyncio.gather(*(keys.key(issuer, f"k{n}") for n in range(100)))
        assert all(why(each).startswith("token_invalid") for each in found)
    assert running.asked()["/jwks.json"] - before == 1
    clock.now_s += REFETCH_S
    await asyncio.gather(*(keys.key(issuer, f"k{n}") for n in range(100)))
    assert running.asked()["/jwks.json"] - before == 2


async def test_while_an_issuer_is_down_its_last_keys_are_believed_for_a_bounded_time(
    keys: IssuerKeys, running: IssuerProcess, clock: Time
) -> None:
    issuer, known = trusted(running.url), key_id(running)
    assert not isinstance(await keys.key(issuer, known), Untrusted)
    running.stop()
    clock.now_s += BELIEVE_S
    assert not isinstance(await keys.key(issuer, known), Untrusted)
    clock.now_s += 1
    found = await keys.key(issuer, known)
    assert why(found).startswith("issuer_unavailable")
    assert isinstance(found, Untrusted)
    assert found.retry_after_s == REFETCH_S


async def test_an_issuer_that_was_never_reached_is_tried_again_only_after_a_while(
    keys: IssuerKeys, clock: Time
) -> None:
    issuer = trusted("http://127.0.0.1:9")
    for _ in range(20):
        assert why(await keys.key(issuer, "a")).startswith("issuer_unavailable")
    assert keys.fetches == 1
    clock.now_s += REFETCH_S
    await keys.key(issuer, "a")
    assert keys.fetches == 2


async def test_an_issuer_that_the_registry_changes_begins_anew(keys: IssuerKeys, running: IssuerProcess) -> None:
    assert why(await keys.key(trusted("http://127.0.0.1:9"), "a")).startswith("issuer_unavailable")
    assert not isinstance(await keys.key(trusted(running.url), key_id(running)), Untrusted)


# What an issuer may answer.


class Answers:
    """A server that answers what it is told to, whatever it is asked."""

    def __init__(self) -> None:
        self.status, self.bodies = 200, dict[str, bytes]()
        self.url = ""
        self.going_on, self.asked = Event(), Event()
        self.going_on.set()


@pytest.fixture
def answers() -> Iterator[Answers]:
    told = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.set()
            told.going_on.wait(10)
            body = told.bodies.get(self.path, b"{}")
            self.send_response(told.status)
            self.send_header("location", "/keys")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library has
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield told
        server.shutdown()
        thread.join()


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


GOOD = jwk.RSAKey.generate_key(2048, private=False).as_dict() | {"kid": "a"}
SHORT = {"kty": "RSA", "e": "AQAB", "n": base64.urlsafe_b64encode(b"\xc1" * 128).decode().rstrip("="), "kid": "a"}
CURVE = jwk.ECKey.generate_key("P-256", private=False).as_dict()


async def test_nobody_waits_for_a_slow_issuer_while_its_keys_are_known(
    keys: IssuerKeys, answers: Answers, clock: Time
) -> None:
    answers.bodies["/keys"] = key_set(GOOD)
    issuer = trusted(answers.url, f"{answers.url}/keys")
    assert not isinstance(await keys.key(issuer, "a"), Untrusted)
    answers.going_on.clear()
    answers.asked.clear()
    clock.now_s += KEEP_S + 1
    asking = asyncio.create_task(keys.key(issuer, "a"))
    unknown = asyncio.create_task(keys.key(issuer, "b"))
    await asyncio.to_thread(answers.asked.wait, 10)
    async with asyncio.timeout(1):
        assert not isinstance(await keys.key(issuer, "a"), Untrusted)
    assert not asking.done()
    answers.going_on.set()
    assert not isinstance(await asking, Untrusted)
    assert "does not publish" in why(await unknown)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, b"{}", "answered with status 404"),
        (302, b"", "answered with status 302"),
        (500, key_set(GOOD), "answered with status 500"),
        (200, b"<html>", "is not one"),
        (200, b'{"keys": 1}', "is not one"),
        (200, b"[" * 100_000, "is not one"),
        (200, b"\xff", "is not one"),
        (200, b" " * (MOST_BYTES + 1), "too_large"),
        (200, key_set(*[GOOD] * 101), "more than 100 keys"),
        (200, key_set(), "no key that could verify"),
        (200, key_set(GOOD | {"use": "enc"}), "no key that could verify"),
        (200, key_set({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}), "no key that could verify"),
        (200, key_set({"kty": "RSA", "kid": "a"}), "no key that could verify"),
        (200, key_set(SHORT), "no key that could verify"),
        (200, key_set({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "a"}), "no key that could verify"),
    ],
)
async def test_what_is_no_key_set_is_nothing(
    keys: IssuerKeys, answers: Answers, status: int, body: bytes, words: str
) -> None:
    answers.status, answers.bodies["/keys"] = status, body
    assert words in why(await keys.key(trusted(answers.url, f"{answers.url}/keys"), "a"))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "is not one"),
        ({"issuer": "https://other.example", "jwks_uri": "URL/keys"}, "another issuer"),
        ({"issuer": "URL/", "jwks_uri": "URL/keys"}, "another issuer"),
        ({"issuer": "URL", "jwks_uri": "http://keys.example/keys"}, "not https"),
        ({"issuer": "URL", "jwks_uri": "file:///etc/passwd"}, "not https"),
        ({"issuer": "URL", "jwks_uri": "https://169.254.169.254/keys"}, "forbidden_address"),
        ({"issuer": "URL", "jwks_uri": "https://10.0.0.1/keys"}, "forbidden_address"),
    ],
)
async def test_discovery_leads_nowhere_that_the_egress_would_not_go(
    keys: IssuerKeys, answers: Answers, document: dict[str, str], words: str
) -> None:
    said = {name: value.replace("URL", answers.url) for name, value in document.items()}
    answers.bodies["/.well-known/openid-configuration"] = json.dumps(said).encode()
    answers.bodies["/keys"] = key_set(GOOD)
    assert words in why(await keys.key(trusted(answers.url), "a"))


class Redirected:
    """The egress, with a public host of the test's behind a name: no name is resolved."""

    def __init__(self, egress: Egress, port: int) -> None:
        self._egress = egress
        self._port = port

    def open(self, request: UpstreamRequest, **named: Any) -> Exchange:
        if request.origin.host == "login.acme.example":
            here = Origin("http", "127.0.0.1", self._port, allow_private=True)
            request = msgspec.structs.replace(request, origin=here)
        return self._egress.open(request, **named)

    async def close(self) -> None:
        await self._egress.close()


async def test_a_public_issuer_leads_to_nothing_on_this_machine_and_nobody_who_asks_learns_what_is_there(
    answers: Answers, tmp_path: Path
) -> None:
    public = "https://login.acme.example"
    keys = IssuerKeys(Redirected(Egress(), int(answers.url.rpartition(":")[2])), tmp_path)
    document = {"issuer": public, "jwks_uri": f"{answers.url}/keys"}
    answers.bodies = {"/.well-known/openid-configuration": json.dumps(document).encode(), "/keys": key_set(GOOD)}
    found = await keys.key(trusted(public), "a")
    assert isinstance(found, Untrusted)
    assert "forbidden_address" in found.why
    assert "127.0.0.1" not in found.sentence + found.hint
    assert "forbidden" not in found.sentence + found.hint
    named = trusted(public, f"{answers.url}/keys", name="beside")
    assert not isinstance(await keys.key(named, "a"), Untrusted), "the registry itself names this machine"


async def test_the_only_key_needs_no_id_and_one_of_several_does(keys: IssuerKeys, answers: Answers) -> None:
    answers.bodies = {"/one": key_set(GOOD), "/two": key_set(GOOD, CURVE | {"kid": "b"})}
    assert not isinstance(await keys.key(trusted(answers.url, f"{answers.url}/one"), ""), Untrusted)
    assert "does not publish" in why(await keys.key(trusted(answers.url, f"{answers.url}/two"), ""))


async def test_a_trust_bundle_is_a_file_that_may_change(keys: IssuerKeys, tmp_path: Path, clock: Time) -> None:
    bundle = tmp_path / "bundle.json"
    issuer = trusted("spiffe://prod.example", "file:bundle.json", kind="spiffe")
    assert "bundle.json cannot be read" in why(await keys.key(issuer, "a"))
    x509 = CURVE | {"use": "x509-svid", "kid": "x"}
    bundle.write_bytes(key_set(x509, GOOD | {"use": "jwt-svid"}))
    clock.now_s += REFETCH_S
    assert not isinstance(await keys.key(issuer, "a"), Untrusted)
    assert "does not publish" in why(await keys.key(issuer, "x")), "a key of another use signs no token"
    bundle.write_bytes(key_set(CURVE | {"use": "jwt-svid", "kid": "c"}))
    clock.now_s += KEEP_S + 1
    assert not isinstance(await keys.key(issuer, "c"), Untrusted)
    assert "does not publish" in why(await keys.key(issuer, "a"))
