"""Attempts that fail: what is said, whether the provider can have seen anything, and that nothing stays behind."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest

from comptroller.flow.upstream import Timeouts, UpstreamFailure
from comptroller.gateway.egress import Egress, EgressLimits
from comptroller.gateway.egress_connect import tls_context
from tests.gateway.egress_world import (
    LOOP_NAMES,
    LOOPS,
    PATIENCE_S,
    Authority,
    Script,
    Talk,
    ask,
    ask_in_vain,
    egress_to,
    exchange,
    provider,
    respond,
    within,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


def after_the_request(*said: bytes, then: str = "wait") -> Script:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(*said)
        if then == "end":
            await talk.end()
        elif then == "reset":
            await talk.reset()

    return script


async def never(talk: Talk) -> None:
    """Takes the connection and says nothing."""


# Cut.


@pytest.mark.parametrize("then", ["end", "reset"])
@pytest.mark.parametrize(
    ("said", "before"),
    [
        (b"", b""),
        (b"HTT", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Le", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b""),
        (LONG, b""),
        (LONG + b"hello", b"hello"),
        (CHUNKED, b""),
        (CHUNKED + b"5\r\nhel", b"hel"),
        (CHUNKED + b"5\r\nhello\r\n", b"hello"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"hello"),
    ],
)
async def test_an_answer_that_breaks_off(said: bytes, before: bytes, then: str) -> None:
    async with provider(after_the_request(said, then=then)) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin())
        assert (failed.kind, failed.written) == ("cut", True)
        # A reset may overtake what was said before it; an orderly end may not.
        assert failed.before == before or (then == "reset" and before.startswith(failed.before))
        if then == "end":
            failed = await ask_in_vain(egress, world.origin(), stream=False)
            assert (failed.kind, failed.written) == ("cut", True)
        assert world.connections == (2 if then == "end" else 1)


async def test_a_cut_on_a_reused_connection_is_not_tried_again() -> None:
    heard: list[bytes] = []

    async def script(talk: Talk) -> None:
        heard.append((await talk.hear())[1])
        await talk.say(respond(b"hi"))
        heard.append((await talk.hear())[1])
        await talk.end()

    async with provider(script) as world, egress_to(Egress()) as egress:
        await ask(egress, world.origin(), body=b"1")
        failed = await ask_in_vain(egress, world.origin(), body=b"2")
        assert (failed.kind, failed.written, world.connections) == ("cut", True, 1)
    assert heard == [b"1", b"2"]


async def test_a_reset_ends_a_body_that_has_no_other_end() -> None:
    script = after_the_request(b"HTTP/1.1 200 OK\r\n\r\nhello", then="reset")
    async with provider(script) as world, egress_to(Egress()) as egress:
        assert (await ask_in_vain(egress, world.origin())).kind == "cut"


@pytest.mark.parametrize(
    ("said", "before"),
    [
        (b"SSH-2.0-x\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000, b""),
        (b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", b""),
        (CHUNKED + b"5\r\nhello\r\nnonsense", b"hello"),
    ],
)
async def test_what_is_not_http(said: bytes, before: bytes) -> None:
    async with provider(after_the_request(said)) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin())
        assert (failed.kind, failed.written, failed.before) == ("protocol", True, before)


async def test_the_bound_of_the_head_can_be_set() -> None:
    answer = respond(b"hi", "A: " + "b" * 100)
    async with provider(after_the_request(answer)) as world, egress_to(Egress(EgressLimits(max_head_bytes=99))) as egress:
        assert (await ask_in_vain(egress, world.origin())).kind == "protocol"


# Too large.


@pytest.mark.parametrize(
    "said",
    [
        LONG,
        LONG + b"x" * 100,
        CHUNKED + b"b\r\nhello world\r\n",
        CHUNKED + b"b\r\nhello world\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello world",
    ],
)
async def test_a_longer_answer_than_allowed(said: bytes) -> None:
    async with provider(after_the_request(said)) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin())
        await call.start()
        with pytest.raises(UpstreamFailure, match="too_large") as failure:
            await call.read(10)
        assert (failure.value.kind, call.written) == ("too_large", True)
        call.abort()


async def test_as_long_as_allowed() -> None:
    async with provider(after_the_request(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin())
        await call.start()
        assert await call.read(5) == b"hello"


# Time.


@pytest.mark.parametrize(
    ("said", "limits", "kind", "before"),
    [
        (b"", within(first_byte_s=0.05), "first_byte_timeout", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20", within(first_byte_s=0.05), "first_byte_timeout", b""),
        (LONG + b"hello", within(idle_s=0.05), "idle_timeout", b"hello"),
        (CHUNKED + b"5\r\nhello\r\n5;x=", within(idle_s=0.05), "idle_timeout", b"hello"),
        (b"", within(total_s=0.05), "total_timeout", b""),
        (LONG + b"hello", within(total_s=0.05), "total_timeout", b"hello"),
    ],
)
async def test_silence(said: bytes, limits: Timeouts, kind: str, before: bytes) -> None:
    async with provider(after_the_request(said)) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(), timeouts=limits)
        assert (failed.kind, failed.written, failed.before) == (kind, True, before)
        if before:
            failed = await ask_in_vain(egress, world.origin(), timeouts=limits, stream=False)
            assert (failed.kind, failed.written) == (kind, True)


async def test_a_slow_answer_that_goes_on_is_not_silence() -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(CHUNKED)
        for _ in range(12):
            await asyncio.sleep(0.05)  # sleep: a provider that takes its time between tokens
            await talk.say(b"1\r\nx\r\n")
        await talk.say(b"0\r\n\r\n")

    async with provider(script) as world, egress_to(Egress()) as egress:
        answer = await ask(egress, world.origin(), stream=True, timeouts=within(first_byte_s=0.5, idle_s=0.5))
        assert answer.body == b"x" * 12


async def test_drops_of_framing_are_silence_and_drops_of_body_end_with_the_total() -> None:
    async def drip(talk: Talk, drop: bytes) -> None:
        await talk.hear()
        await talk.say(CHUNKED)
        while True:
            await talk.say(drop)
            await asyncio.sleep(0.01)  # sleep: the pace of the drip

    async def framing(talk: Talk) -> None:
        await drip(talk, b"000001\r\nx\r\n0" if (first := not seen) and not seen.append(first) else b"0")

    async def body(talk: Talk) -> None:
        await drip(talk, b"1\r\nx\r\n")

    seen: list[bool] = []
    async with provider(framing) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(), timeouts=within(idle_s=0.1, total_s=5))
        assert failed.kind in {"idle_timeout", "protocol"}
    async with provider(body) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(), timeouts=within(idle_s=2, total_s=0.2))
        assert failed.kind == "total_timeout"


async def test_many_clocks_at_once() -> None:
    """One timer serves all: each call still ends by its own limit, the nearest first."""
    ended: list[int] = []

    async def one(number: int) -> None:
        limits = within(first_byte_s=0.05 + 0.02 * number)
        assert (await ask_in_vain(egress, world.origin(), timeouts=limits)).kind == "first_byte_timeout"
        ended.append(number)

    async with provider(never) as world, egress_to(Egress()) as egress:
        await asyncio.gather(*(one(number) for number in reversed(range(20))))
        assert ended == list(range(20))


# No connection.


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def test_nobody_listens() -> None:
    async with provider(never) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(port=free_port()))
        assert (failed.kind, failed.written) == ("connect", False)


async def test_a_name_that_does_not_exist() -> None:
    async with provider(never) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(host="nobody.invalid"))
        assert (failed.kind, failed.written) == ("connect", False)


@pytest.mark.parametrize("limits", [within(connect_s=0.1), within(total_s=0.1)])
async def test_a_connection_that_does_not_come(limits: Timeouts) -> None:
    """A listener whose queue is full drops what asks to come in."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        async with provider(never) as world, egress_to(Egress()) as egress:
            failed = await ask_in_vain(egress, world.origin(port=port), timeouts=limits)
            assert failed.kind == ("connect" if limits.connect_s == 0.1 else "total_timeout")
            assert not failed.written
        for one in crowd:
            one.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "::ffff:127.0.0.1"])
async def test_an_address_that_was_not_named_is_not_visited(host: str) -> None:
    async with provider(never) as world, egress_to(Egress()) as egress:
        for scheme in ("http", "https"):
            failed = await ask_in_vain(egress, world.origin(host=host, scheme=scheme, allow_private=False))
            assert (failed.kind, failed.written) == ("forbidden_address", False)
        assert world.connections == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "0.0.0.0", "::ffff:169.254.169.254", "1.1.1.1", "fe80::1%lo"])
async def test_an_address_that_no_naming_opens_to_plain_http(host: str) -> None:
    async with provider(never) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(host=host))
        assert (failed.kind, failed.written) == ("forbidden_address", False)


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """From now on every name has these addresses; returns the names asked for."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    return asked


async def test_a_name_is_asked_for_once_and_each_address_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider(after_the_request(respond(b"hi"))) as world, egress_to(Egress()) as egress:
        asked = answers(monkeypatch, "169.254.169.254", "1.1.1.1", "127.0.0.1")
        assert (await ask(egress, world.origin(host="provider.example"))).body == b"hi"
        assert asked == ["provider.example"]
        answers(monkeypatch, "169.254.169.254", "1.1.1.1")
        failed = await ask_in_vain(egress, world.origin(host="provider.example", path_prefix="/x"))
        assert (failed.kind, world.connections) == ("forbidden_address", 1)
        assert "169.254.169.254 is link-local" in failed.detail


async def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider(after_the_request(respond(b"hi"))) as world, egress_to(Egress()) as egress:
        answers(monkeypatch, "127.0.0.2", "127.0.0.1")  # the provider listens on the second only
        assert (await ask(egress, world.origin(host="provider.example"))).body == b"hi"


async def test_a_server_that_speaks_first_gets_no_request() -> None:
    async def script(talk: Talk) -> None:
        await talk.say(respond(b"go away", status="503 Busy"))
        assert await talk._reader.read() == b""

    async with provider(script) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin())
        try:
            await call.start()
        except UpstreamFailure as failure:
            assert (failure.kind, call.written) == ("connect", False)
        call.abort()


# Too slow a reader.


async def test_overflow_is_said_once_and_loses_nothing() -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(CHUNKED)
        for _ in range(50):
            await talk.say(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        await talk.say(b"0\r\n\r\n")
        done.set()

    done = asyncio.Event()
    calls: list[int] = []
    async with provider(script) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin(), buffer_limit_bytes=10_000, on_overflow=lambda: calls.append(1))
        await call.start()
        chunks = call.chunks()
        got = await anext(chunks)
        assert calls == []
        await asyncio.wait_for(done.wait(), PATIENCE_S)
        got += b"".join([chunk async for chunk in chunks])
        assert (len(got), calls) == (50_000, [1])


async def test_a_large_piece_is_no_overflow_for_a_reader_who_waits() -> None:
    calls: list[int] = []
    script = after_the_request(CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n")
    async with provider(script) as world, egress_to(Egress()) as egress:
        answer = await ask(
            egress, world.origin(), stream=True, buffer_limit_bytes=10, on_overflow=lambda: calls.append(1)
        )
        assert (len(answer.body), calls) == (1000, [])


async def test_an_abort_on_overflow_keeps_what_came_and_takes_no_more() -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(CHUNKED)
        while True:
            await talk.say(b"3e8\r\n" + b"x" * 1000 + b"\r\n")

    async with provider(script) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin(), buffer_limit_bytes=10_000, on_overflow=lambda: call.abort())
        await call.start()
        chunks = call.chunks()
        await world.all_left()
        got = await anext(chunks)
        assert 10_000 < len(got) < 10_000 + (4 << 20)
        with pytest.raises(UpstreamFailure, match="cut: aborted"):
            await anext(chunks)


# Giving up.


async def give_up(task: asyncio.Task[None], call: object) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    call.abort()  # pyright: ignore[reportAttributeAccessIssue]


async def start_only(call: object) -> None:
    await call.start()  # pyright: ignore[reportAttributeAccessIssue]


async def start_and_read(call: object) -> None:
    await call.start()  # pyright: ignore[reportAttributeAccessIssue]
    await call.read(1000)  # pyright: ignore[reportAttributeAccessIssue]


async def start_and_stream(call: object) -> None:
    await call.start()  # pyright: ignore[reportAttributeAccessIssue]
    async for _ in call.chunks():  # pyright: ignore[reportAttributeAccessIssue]
        pass


@pytest.mark.parametrize(
    ("use", "said"), [(start_only, b""), (start_and_read, LONG + b"hi"), (start_and_stream, LONG + b"hi")]
)
@pytest.mark.parametrize("way", ["cancel", "abort", "close"])
async def test_giving_up_leaves_nothing_open(use: Callable[[object], Awaitable[None]], said: bytes, way: str) -> None:
    reached = asyncio.Event()

    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(said)
        reached.set()

    async with provider(script) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin())
        task = asyncio.ensure_future(use(call))
        await asyncio.wait_for(reached.wait(), PATIENCE_S)
        if way == "cancel":
            await give_up(task, call)  # pyright: ignore[reportArgumentType]
        else:
            await egress.close() if way == "close" else call.abort()
            with pytest.raises(UpstreamFailure, match="cut: aborted"):
                await task
        await world.all_left()
        assert call.written
        call.abort()


@pytest.mark.parametrize("way", ["cancel", "abort", "close", "timeout"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, None])
async def test_giving_up_while_connecting_leaves_nothing_open(way: str, turns: int | None) -> None:
    """A provider that takes the connection and never answers the TLS handshake."""
    arrived = asyncio.Event()

    async def script(talk: Talk) -> None:
        arrived.set()

    limits = within(connect_s=0.05 if way == "timeout" else PATIENCE_S)
    async with provider(script) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin(scheme="https"), timeouts=limits)
        task = asyncio.ensure_future(call.start())
        if turns is None:
            await asyncio.wait_for(arrived.wait(), PATIENCE_S)
        for _ in range(turns or 0):
            await asyncio.sleep(0)
        if way == "cancel":
            await give_up(task, call)
        else:
            if way != "timeout":
                await egress.close() if way == "close" else call.abort()
            with pytest.raises(UpstreamFailure, match="connect"):
                await task
        await world.all_left()
        assert not call.written


@pytest.mark.parametrize("turns", range(8))
async def test_giving_up_at_each_turn_of_a_plain_call(turns: int) -> None:
    async with provider(after_the_request(respond(b"hi"))) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin())
        task = asyncio.ensure_future(start_and_read(call))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        call.abort()


async def test_after_close_nothing_starts() -> None:
    egress = Egress()
    async with provider(after_the_request(respond(b"hi"))) as world:
        await ask(egress, world.origin())
        late = exchange(egress, world.origin())
        await egress.close()
        await world.all_left()
        with pytest.raises(UpstreamFailure, match="connect"):
            await late.start()
        assert (late.written, world.connections) == (False, 1)


async def test_an_exchange_aborted_before_its_start_does_not_start() -> None:
    async with provider(never) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin())
        call.abort()
        with pytest.raises(UpstreamFailure, match="connect"):
            await call.start()
        assert (call.written, world.connections) == (False, 0)


# TLS.


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def trusting(authority: Authority) -> Egress:
    def tls() -> ssl.SSLContext:
        context = tls_context()
        context.load_verify_locations(authority.file)
        return context

    return Egress(tls=tls)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls(authority: Authority, host: str) -> None:
    async def script(talk: Talk) -> None:
        assert talk._writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        for _ in range(3):
            _, body = await talk.hear()
            await talk.say(CHUNKED, b"%x\r\n%b\r\n" % (len(body), body), b"0\r\n\r\n")
        await talk.hear()
        await talk.say(b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"the end")
        await talk.end()

    async with provider(script, tls=authority.server(host), host=host) as world, egress_to(trusting(authority)) as egress:
        origin = world.origin(scheme="https")
        for body in (b"small", b"large" * 200_000, b"small"):
            assert (await ask(egress, origin, body=body, stream=True)).body == body
        assert (await ask(egress, origin, stream=True)).body == b"until the end"
        assert world.connections == 1


async def test_tls_cut_in_the_middle(authority: Authority) -> None:
    script = after_the_request(LONG + b"hello", then="reset")
    async with (
        provider(script, tls=authority.server("localhost"), host="localhost") as world,
        egress_to(trusting(authority)) as egress,
    ):
        failed = await ask_in_vain(egress, world.origin(scheme="https"))
        assert (failed.kind, failed.written) == ("cut", True)


async def test_a_certificate_for_another_name(authority: Authority) -> None:
    heard: list[bytes] = []

    async def script(talk: Talk) -> None:
        heard.append(await talk._reader.read(1))

    async with (
        provider(script, tls=authority.server("other.example"), host="localhost") as world,
        egress_to(trusting(authority)) as egress,
    ):
        failed = await ask_in_vain(egress, world.origin(scheme="https"))
        assert (failed.kind, failed.written) == ("connect", False)
        assert "localhost" in failed.detail
    assert not any(heard)


async def test_a_certificate_that_nobody_vouches_for(authority: Authority) -> None:
    tls = authority.server("localhost")
    async with provider(never, tls=tls, host="localhost") as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(scheme="https"))
        assert (failed.kind, failed.written) == ("connect", False)


async def test_old_tls_is_refused(authority: Authority) -> None:
    tls = authority.server("localhost")
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    async with provider(never, tls=tls, host="localhost") as world, egress_to(trusting(authority)) as egress:
        failed = await ask_in_vain(egress, world.origin(scheme="https"))
        assert (failed.kind, failed.written) == ("connect", False)


async def test_plain_http_behind_https(authority: Authority) -> None:
    async with provider(never) as world, egress_to(trusting(authority)) as egress:
        failed = await ask_in_vain(
            egress, world.origin(scheme="https", host="localhost"), timeouts=within(connect_s=0.1)
        )
        assert (failed.kind, failed.written) == ("connect", False)


