"""Answers that arrive: every framing, connections kept and not kept, answers that overtake their request."""

import asyncio
import socket
import threading
from typing import Literal

import pytest

from comptroller.flow.upstream import Origin
from comptroller.gateway.egress import Egress
from comptroller.gateway.egress_pool import EgressLimits, Site
from tests.gateway.egress_world import (
    LOOP_NAMES,
    LOOPS,
    PATIENCE_S,
    Script,
    Talk,
    ask,
    egress_to,
    exchange,
    provider,
    respond,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


def always(*answer: bytes) -> Script:
    async def script(talk: Talk) -> None:
        while True:
            await talk.hear()
            await talk.say(*answer)

    return script


async def test_the_request_as_the_provider_hears_it() -> None:
    heard: list[tuple[bytes, bytes]] = []

    async def script(talk: Talk) -> None:
        heard.append(await talk.hear())
        await talk.say(respond(b"hi", "X-Request-Id: r1"))

    async with provider(script) as world, egress_to(Egress()) as egress:
        answer = await ask(egress, world.origin(path_prefix="/openai/"), headers=[(b"authorization", b"Bearer k")])
        assert (answer.status, answer.body, answer.headers[b"x-request-id"]) == (200, b"hi", b"r1")
    head = (
        f"POST /openai/v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{world.port}\r\n"
        "content-length: 14\r\nauthorization: Bearer k\r\n\r\n"
    )
    assert heard == [(head.encode(), b'{"model": "m"}')]


@pytest.mark.parametrize(
    ("scheme", "host", "port", "line"),
    [
        ("https", "api.example", 443, b"host: api.example"),
        ("https", "api.example", 8443, b"host: api.example:8443"),
        ("http", "api.example", 443, b"host: api.example:443"),
        ("http", "::1", 80, b"host: [::1]"),
        ("http", "[::1]", 8080, b"host: [::1]:8080"),
    ],
)
def test_the_host_header(scheme: Literal["http", "https"], host: str, port: int, line: bytes) -> None:
    assert Site(Origin(scheme, host, port), max_idle=1, idle_lifetime_s=1.0, wake_by=print).host_line == line


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a@b", "a\r\nb", "ä.example", "a?b"])
def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="host"):
        exchange(Egress(), Origin("https", host, 443))


FRAMINGS = {
    "length": (respond(b"hello\r\n"), b"hello\r\n"),
    "chunks": (CHUNKED + b"3\r\nhel\r\n4\r\nlo\r\n\r\n0\r\n\r\n", b"hello\r\n"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "after hints": (b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + respond(b"hi"), b"hi"),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("stream", [True, False], ids=["chunks", "read"])
async def test_each_framing_at_every_cut_on_one_connection(framing: str, stream: bool) -> None:
    raw, body = FRAMINGS[framing]
    cuts = iter(range(1, len(raw)))

    async def script(talk: Talk) -> None:
        for at in cuts:
            await talk.hear()
            await talk.say(raw[:at], raw[at:])

    async with provider(script) as world, egress_to(Egress()) as egress:
        for _ in range(1, len(raw)):
            assert (await ask(egress, world.origin(), stream=stream)).body == body
        assert world.connections == 1


@pytest.mark.parametrize("stream", [True, False], ids=["chunks", "read"])
async def test_a_body_until_the_end_of_the_connection(stream: bool) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")
        await talk.end()

    async with provider(script) as world, egress_to(Egress()) as egress:
        for calls in (1, 2):
            assert (await ask(egress, world.origin(), stream=stream)).body == b"hello"
            assert world.connections == calls


async def test_a_redirect_is_an_answer() -> None:
    raw = respond(b"go", "Location: http://127.0.0.1:1/", status="307 Temporary Redirect")
    async with provider(always(raw)) as world, egress_to(Egress()) as egress:
        answer = await ask(egress, world.origin())
        assert (answer.status, answer.headers[b"location"], world.connections) == (307, b"http://127.0.0.1:1/", 1)


async def test_a_head_request_has_no_body_and_keeps_the_connection() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
    async with provider(always(raw)) as world, egress_to(Egress()) as egress:
        for _ in range(2):
            assert (await ask(egress, world.origin(), method="HEAD", body=b"")).body == b""
        assert world.connections == 1


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (respond(b"hi"), 1),
        (respond(b"hi", "Keep-Alive: timeout=60"), 1),
        (respond(b"hi", "Keep-Alive: timeout=1"), 3),
        (respond(b"hi", "Connection: close"), 3),
        (respond(b"hi").replace(b"1.1", b"1.0"), 3),
        (respond(b"hi") + b"\r\n", 3),
        (respond(b"hi") + respond(b"more"), 3),
        (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n", 1),
        (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n\r\n", 3),
        (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n" + respond(b"more"), 3),
    ],
)
async def test_a_connection_is_kept_only_after_a_clean_end(answer: bytes, connections: int) -> None:
    async with provider(always(answer)) as world, egress_to(Egress()) as egress:
        for _ in range(3):
            assert (await ask(egress, world.origin())).body == b"hi"
        assert world.connections == connections


async def test_origins_that_differ_in_what_they_allow_share_no_connection() -> None:
    async with provider(always(respond(b"hi"))) as world, egress_to(Egress()) as egress:
        await ask(egress, world.origin())
        await ask(egress, world.origin(path_prefix="/x"))
        assert world.connections == 2


@pytest.mark.parametrize("last_word", [b"", b"x", b"HTTP/1.1 408 Too late\r\n\r\n"])
async def test_a_connection_that_ended_or_spoke_while_idle_is_not_used(last_word: bytes) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(respond(b"hi"))
        await gate.wait()
        await (talk.say(last_word) if last_word else talk.end())

    gate = asyncio.Event()
    async with provider(script) as world, egress_to(Egress()) as egress:
        await ask(egress, world.origin())
        gate.set()
        await world.all_left()  # our side closes on its own, before anybody wants the connection
        assert (await ask(egress, world.origin())).body == b"hi"
        assert world.connections == 2


async def test_a_connection_that_ended_unseen_is_not_used() -> None:
    """The provider closes while our loop is busy: the news waits on the socket, and no request follows it."""
    listener = socket.create_server(("127.0.0.1", 0))
    gone = threading.Event()

    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            connection.recv(1 << 16)
            connection.sendall(respond(b"hi"))
            connection.shutdown(socket.SHUT_WR)
            gone.set()
            connection.recv(1)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    async with provider(always(b"")) as world, egress_to(Egress()) as egress:
        origin = world.origin(port=listener.getsockname()[1])
        for _ in range(2):
            call = exchange(egress, origin)
            await call.start()
            assert await call.read(10) == b"hi"
            gone.wait()  # the loop stands still here, on purpose
            gone.clear()
    thread.join(PATIENCE_S)
    listener.close()
    assert not thread.is_alive()


async def test_idle_connections_are_closed_after_their_time() -> None:
    limits = EgressLimits(idle_lifetime_s=0.05)
    async with provider(always(respond(b"hi"))) as world, egress_to(Egress(limits)) as egress:
        await ask(egress, world.origin())
        assert world.open == 1
        await world.all_left()
        await ask(egress, world.origin())
        assert world.connections == 2


async def test_each_idle_connection_has_its_own_time() -> None:
    async def script(talk: Talk) -> None:
        _, body = await talk.hear()
        await asyncio.sleep(float(body))  # sleep: so that the connections are not idle from the same moment
        await talk.say(respond(b"hi"))

    limits = EgressLimits(idle_lifetime_s=0.2)
    async with provider(script) as world, egress_to(Egress(limits)) as egress:
        await asyncio.gather(*(ask(egress, world.origin(), body=after) for after in (b"0", b"0.05", b"0.1")))
        assert world.open == 3
        await world.all_left()


async def test_no_more_idle_connections_than_allowed() -> None:
    async with (
        provider(always(respond(b"hi"))) as world,
        egress_to(Egress(EgressLimits(max_idle_per_origin=2))) as egress,
    ):
        await asyncio.gather(*(ask(egress, world.origin()) for _ in range(5)))
        await world.all_left(but=2)
        assert (world.connections, world.open) == (5, 2)


async def test_an_answer_that_overtakes_a_large_request() -> None:
    async def script(talk: Talk) -> None:
        await talk.hear_head()
        await talk.say(respond(b"too much", status="413 Too Large"))

    async with provider(script) as world, egress_to(Egress()) as egress:
        for calls in (1, 2):
            answer = await ask(egress, world.origin(), body=b"x" * (32 << 20))
            assert (answer.status, answer.body, world.connections) == (413, b"too much", calls)


@pytest.mark.parametrize("stream", [True, False], ids=["chunks", "read"])
async def test_five_megabytes_both_ways(stream: bool) -> None:
    sent = bytes(range(256)) * (5 << 12)

    async def script(talk: Talk) -> None:
        while True:
            _, body = await talk.hear()
            await talk.say(CHUNKED)
            for at in range(0, len(body), 70_001):
                piece = body[at : at + 70_001]
                await talk.say(b"%x\r\n%b\r\n" % (len(piece), piece))
            await talk.say(b"0\r\n\r\n")

    async with provider(script) as world, egress_to(Egress()) as egress:
        for _ in range(2):
            assert (await ask(egress, world.origin(), stream=stream, body=sent)).body == sent
        assert world.connections == 1


async def test_two_hundred_at_once() -> None:
    async def script(talk: Talk) -> None:
        while True:
            _, body = await talk.hear()
            await talk.say(CHUNKED, *(b"1\r\n%c\r\n" % byte for byte in body), b"0\r\n\r\n")

    async with provider(script) as world, egress_to(Egress()) as egress:
        for _ in range(3):
            bodies = [b"call %d" % number for number in range(200)]
            answers = await asyncio.gather(
                *(ask(egress, world.origin(), body=body, stream=body[-1] % 2 == 0) for body in bodies)
            )
            assert [answer.body for answer in answers] == bodies
        assert 200 <= world.connections <= 200 + 2 * (200 - EgressLimits().max_idle_per_origin)


async def test_one_piece_for_each_wake_up_in_order() -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(CHUNKED + b"1\r\na\r\n1\r\nb\r\n")
        await gate.wait()
        await talk.say(b"1\r\nc\r\n0\r\n\r\n")

    gate = asyncio.Event()
    async with provider(script) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin())
        await call.start()
        chunks = call.chunks()
        assert await anext(chunks) == b"ab"
        gate.set()
        assert await anext(chunks) == b"c"
        with pytest.raises(StopAsyncIteration):
            await anext(chunks)


async def test_an_exchange_is_used_in_order() -> None:
    async with provider(always(respond(b"hi"))) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin())
        with pytest.raises(RuntimeError):
            await call.read(10)
        with pytest.raises(RuntimeError):
            call.chunks()
        await call.start()
        with pytest.raises(RuntimeError):
            await call.start()
        assert await call.read(10) == b"hi"
        call.abort()
        assert (await ask(egress, world.origin())).body == b"hi"
        assert world.connections == 1
