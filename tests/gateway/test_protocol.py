"""A connection that leads nowhere is not kept, and a target with a host in it names the host."""

import asyncio
import json
from typing import Any

import pytest

from comptroller.gateway.protocol import BoundedProtocol
from tests.gateway.connection import calling, listening

WAITING_S = 0.3
IDLE_S = 1.0
HEAD = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    """Answers without a look at the body, as the data plane does without a credential."""
    names = [[name.decode(), value.decode()] for name, value in scope["headers"]]
    body = json.dumps([scope["path"], names]).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Slow:
    """Answers when it is told to; reads the whole body first."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.asked.set()
        await self.go.wait()
        await refusing(scope, receive, send)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "waiting_s", WAITING_S)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("said", "drip"),
    [
        ([], b""),
        ([b"POST /x HT"], b""),
        ([b"POST /x HTTP/1.1\r\n"], b"x: y\r\n"),
        ([b"POST /x HTTP/1.1\r\nx: "], b"y"),
        ([], b"\r\n"),
        ([HEAD % 10**9], b"x"),  # the rest of a body that nobody reads
        ([b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"], b"1\r\nx\r\n"),
        ([b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"], b"x: y\r\n"),
        ([HEAD % 5, b"hel", b"lo"], b"\r\n"),  # after its end, line ends that lead to no head
        ([HEAD % 5, b"hello", b"GE"], b"T"),
    ],
)
async def test_a_connection_that_leads_nowhere_is_closed(said: list[bytes], drip: bytes) -> None:
    async with listening(refusing) as port, calling(port) as caller:
        await caller.say(*said)
        if any(b"\r\n\r\n" in piece for piece in said):
            assert (await caller.answer())[0] == b"HTTP/1.1 401"
        await caller.drip(drip)


@pytest.mark.usefixtures("impatient")
async def test_a_request_that_is_being_answered_is_not_hurried() -> None:
    app = Slow()
    async with listening(app) as port, calling(port) as caller:
        await caller.say(HEAD % 5, b"hel")
        await asyncio.sleep(2 * WAITING_S)  # sleep: longer than a connection may wait for a head
        await caller.say(b"lo")
        await app.asked.wait()
        await asyncio.sleep(2 * WAITING_S)  # sleep: the same, for the answer
        app.go.set()
        assert (await caller.answer())[0] == b"HTTP/1.1 401"
        await caller.say(HEAD % 0)
        assert (await caller.answer())[0] == b"HTTP/1.1 401"


async def test_a_connection_is_idle_from_the_end_of_its_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "idle_s", IDLE_S)
    app = Slow()
    app.go.set()
    async with listening(app) as port, calling(port) as caller:
        for _ in range(4):
            await caller.say(HEAD % 0)
            assert (await caller.answer())[0] == b"HTTP/1.1 401"
            await asyncio.sleep(0.4 * IDLE_S)  # sleep: shorter than a connection may be idle
        app.go.clear()
        await caller.say(HEAD % 0)
        await asyncio.sleep(2 * IDLE_S)  # sleep: longer, but it waits for us
        app.go.set()
        assert (await caller.answer())[0] == b"HTTP/1.1 401"
        await caller.say((HEAD % 0)[:-2])
        await asyncio.sleep(2 * IDLE_S)  # sleep: longer, but the next head is on its way
        await caller.say(b"\r\n")
        assert (await caller.answer())[0] == b"HTTP/1.1 401"
        await caller.closed()


async def test_a_body_that_comes_after_the_refusal_does_not_spoil_the_next_request() -> None:
    late = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"
    async with listening(refusing) as port, calling(port) as caller:
        await caller.say(HEAD % len(late))
        assert (await caller.answer())[0] == b"HTTP/1.1 401"
        await caller.say(late, b"POST /next HTTP/1.1\r\nhost: a\r\n\r\n")
        _, (path, _) = await caller.answer()
        assert path == "/next"


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"/x?y=http://evil.example/", "/x", ["mine"]),
        (b"http://evil.example/x", "/x", ["evil.example"]),
        (b"http://evil.example:81/x", "/x", ["evil.example:81"]),
        (b"https://[::1]:8/x", "/x", ["[::1]:8"]),
        (b"HTTP://Evil.Example/x", "/x", ["Evil.Example"]),
        (b"http://127.0.0.1@evil.example/x", "/x", ["evil.example"]),
        (b"//evil.example/x", "//evil.example/x", ["mine"]),
        (b"*", "*", ["mine"]),
    ],
)
async def test_a_target_with_a_host_counts_and_the_header_does_not(target: bytes, path: str, host: list[str]) -> None:
    """RFC 9112, section 3.2.2."""
    async with listening(refusing) as port, calling(port) as caller:
        await caller.say(b"OPTIONS " + target + b" HTTP/1.1\r\nhost: mine\r\nHOST: mine too\r\n\r\n")
        _, (found, headers) = await caller.answer()
        assert found == path
        hosts = [value for name, value in headers if name == "host"]
        assert hosts == (host if host != ["mine"] else ["mine", "mine too"])


@pytest.mark.parametrize("target", [b"evil.example:443", b"http://", b"http:///x", b"mailto:a@b", b"\xff", b"?x"])
async def test_a_target_without_a_path_is_no_request(target: bytes) -> None:
    async with listening(refusing) as port, calling(port) as caller:
        await caller.say(b"GET " + target + b" HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await caller._reader.readuntil(b"\r\n"))[:12] == b"HTTP/1.1 400"
        await caller.closed()


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nhost: a\r\n\r\n"],
        [b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 200 + b"\r\n"],
        [b"GET / HTTP/1.1\r\nhost: a\r\nx: ", *[b"y" * 1000] * 6],  # one header that never ends
        [b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nx: ", *[b"y" * 1000] * 6],
    ],
)
async def test_a_head_beyond_its_bounds_is_refused_before_it_ends(pieces: list[bytes]) -> None:
    async with listening(refusing) as port, calling(port) as caller:
        for piece in pieces:
            await caller.say(piece)
            await asyncio.sleep(0.01)  # sleep: so that the pieces come apart
        assert b"HTTP/1.1 400" in await caller.everything()


async def test_bytes_of_a_body_do_not_count_as_head() -> None:
    async with listening(refusing) as port, calling(port) as caller:
        for _ in range(3):
            await caller.say(HEAD % 6000 + b"x" * 6000)
            assert (await caller.answer())[0] == b"HTTP/1.1 401"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
        b"POST /x HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
async def test_what_asks_for_another_protocol_is_answered_in_this_one_and_says_that_it_is_the_last(head: bytes) -> None:
    """The parser reads nothing after such a request: on a connection that is kept the next one would wait for ever."""
    async with listening(refusing) as port, calling(port) as caller:
        await caller.say(head)
        said = await caller.everything()
    assert said.startswith(b"HTTP/1.1 401 ")
    assert said.count(b"HTTP/1.1") == 1
    assert b"\r\nconnection: close\r\n" in said
