"""Answers that fail on the way: what is said, and that the provider may have seen the request."""

import asyncio

import pytest

from comptroller.flow.upstream import Timeouts, UpstreamFailure
from comptroller.gateway.egress import Egress
from comptroller.gateway.egress_pool import EgressLimits
from tests.gateway.egress_world import (
    LOOP_NAMES,
    LOOPS,
    PATIENCE_S,
    Talk,
    after_the_request,
    ask,
    ask_in_vain,
    egress_to,
    exchange,
    never,
    provider,
    respond,
    within,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


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
    async with (
        provider(after_the_request(answer)) as world,
        egress_to(Egress(EgressLimits(max_head_bytes=99))) as egress,
    ):
        assert (await ask_in_vain(egress, world.origin())).kind == "protocol"


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
    async with (
        provider(after_the_request(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")) as world,
        egress_to(Egress()) as egress,
    ):
        call = exchange(egress, world.origin())
        await call.start()
        assert await call.read(5) == b"hello"


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


@pytest.mark.parametrize(
    ("first", "drop", "kind"), [(b"1\r\nx\r\n1;", b"a", "idle_timeout"), (b"", b"1\r\nx\r\n", "total_timeout")]
)
async def test_a_drip_of_framing_is_silence_and_a_drip_of_body_ends_with_the_total(
    first: bytes, drop: bytes, kind: str
) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(CHUNKED + first)
        while True:
            await talk.say(drop)
            await asyncio.sleep(0.01)  # sleep: the pace of the drip

    async with provider(script) as world, egress_to(Egress()) as egress:
        limits = within(idle_s=0.1) if kind == "idle_timeout" else within(total_s=0.2)
        assert (await ask_in_vain(egress, world.origin(), timeouts=limits)).kind == kind


async def test_many_clocks_at_once() -> None:
    """One timer serves all: each call still ends by its own limit."""
    loop = asyncio.get_running_loop()

    async def one(limit_s: float) -> None:
        started = loop.time()
        failed = await ask_in_vain(egress, world.origin(), timeouts=within(first_byte_s=limit_s))
        assert failed.kind == "first_byte_timeout"
        assert limit_s - 0.005 < loop.time() - started < PATIENCE_S / 2

    async with provider(never) as world, egress_to(Egress()) as egress:
        await asyncio.gather(*(one(0.05 + 0.02 * number) for number in reversed(range(20))))


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
    script = after_the_request(CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n", b"0\r\n\r\n")
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

    def call_off() -> None:
        call.abort()

    async with provider(script) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin(), buffer_limit_bytes=10_000, on_overflow=call_off)
        await call.start()
        chunks = call.chunks()
        await world.all_left()
        got = await anext(chunks)
        assert 10_000 < len(got) < 10_000 + (4 << 20)
        with pytest.raises(UpstreamFailure, match="cut: aborted"):
            await anext(chunks)
