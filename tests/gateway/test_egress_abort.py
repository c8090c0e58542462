"""Giving up at any moment leaves nothing open."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from comptroller.flow.upstream import Exchange, UpstreamFailure
from comptroller.gateway.egress import Egress
from tests.gateway.egress_world import (
    LOOP_NAMES,
    LOOPS,
    PATIENCE_S,
    Talk,
    after_the_request,
    ask,
    egress_to,
    exchange,
    never,
    provider,
    respond,
    within,
)

LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


async def give_up(task: asyncio.Task[None], call: Exchange) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    call.abort()


async def start_only(call: Exchange) -> None:
    await call.start()


async def start_and_read(call: Exchange) -> None:
    await call.start()
    await call.read(1000)


async def start_and_stream(call: Exchange) -> None:
    await call.start()
    async for _ in call.chunks():
        pass


@pytest.mark.parametrize(
    ("use", "said"), [(start_only, b""), (start_and_read, LONG + b"hi"), (start_and_stream, LONG + b"hi")]
)
@pytest.mark.parametrize("way", ["cancel", "abort", "close"])
async def test_giving_up_leaves_nothing_open(use: Callable[[Exchange], Awaitable[None]], said: bytes, way: str) -> None:
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
            await give_up(task, call)
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
        if turns is None:  # once the connection is there, or the attempt is already over on a slow machine
            there = asyncio.ensure_future(arrived.wait())
            await asyncio.wait([there, task], return_when=asyncio.FIRST_COMPLETED)
            there.cancel()
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
        assert not egress._active


async def read_the_first(call: Exchange) -> None:
    """Reads what came, and lets go of the rest."""
    await call.start()
    async for chunk in call.chunks():
        assert chunk == b"hi"
        break
    call.let_go()


async def test_a_connection_is_kept_if_the_rest_comes_at_once() -> None:
    after = asyncio.Event()

    async def script(talk: Talk) -> None:
        while True:
            await talk.hear()
            await talk.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
            await after.wait()
            await talk.say(b"0\r\n\r\n")

    async with provider(script) as world, egress_to(Egress()) as egress:
        await read_the_first(exchange(egress, world.origin()))
        after.set()
        async with asyncio.timeout(PATIENCE_S):
            while not egress.idle:  # noqa: ASYNC110 - nothing is told when a connection is free again
                await asyncio.sleep(0)  # sleep: a turn of the loop
        await ask(egress, world.origin())
        assert world.connections == 1


async def test_a_connection_is_closed_if_the_rest_does_not_come() -> None:
    async with provider(after_the_request(LONG + b"hi")) as world, egress_to(Egress()) as egress:
        await read_the_first(exchange(egress, world.origin()))
        assert egress.active == 1
        await world.all_left()
        assert egress.active == 0
