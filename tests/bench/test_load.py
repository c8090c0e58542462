"""The load counts right answers only: a number about wrong ones would mean nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from tests.bench import provider
from tests.bench.load import LoadFailed, closed_loop, open_loop
from tests.bench.servers import Contestant
from tests.bench.streams import listen

EVENTS = 5
STREAM = provider.STREAM_HEAD + provider.FIRST + provider.WORD * 2 + provider.LAST


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """A server that gives this answer to whatever comes; its port."""

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)

        def data_received(self, data: bytes) -> None:
            for byte in range(0, len(answer), 100):  # in pieces: an answer is not always one read
                self.transport.write(answer[byte : byte + 100])

    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_right_answers_are_counted() -> None:
    async with answering(provider.WHOLE) as port:
        closed = await closed_loop(port, [b"one", b"two"], connections=3, seconds=0.1)
        steady = await open_loop(port, [b"one"], rate_per_s=100, seconds=0.1, connections=3)
    assert closed.checked("all").calls == len(closed.latencies_ns) >= 3
    assert steady.checked("all").calls == 10


async def test_the_first_word_of_a_stream_is_heard_before_its_end() -> None:
    async with answering(STREAM) as port:
        steady = await open_loop(port, [b"one"], rate_per_s=100, seconds=0.1, connections=3)
    assert len(steady.checked("all").first_ns) == 10
    assert all(0 < first < whole for first, whole in zip(steady.first_ns, steady.latencies_ns, strict=True))


WRONG: dict[str, Callable[[bytes], bytes]] = {
    "another status": lambda answer: answer.replace(b"200 OK", b"402 Payment Required"),
    "another text": lambda answer: answer.replace(provider.MARK, b"x" * len(provider.MARK)),
}


@pytest.mark.parametrize("how", WRONG)
async def test_a_wrong_answer_fails_the_run(how: str) -> None:
    async with answering(WRONG[how](provider.WHOLE)) as port:
        load = await closed_loop(port, [b"one"], connections=2, seconds=0.1)
    with pytest.raises(LoadFailed, match="0 right answers, 2 wrong"):
        load.checked("all")


async def test_every_event_of_a_stream_is_heard() -> None:
    async with answering(STREAM) as port:
        heard = await listen(Contestant("all", port, ["nobody"], 0), "bench-burst", EVENTS, number=3, seconds=0.1)
    assert heard.streams >= 3
    assert heard.events == EVENTS * heard.streams


WRONG_STREAMS = WRONG | {
    "an event less": lambda stream: stream.replace(provider.WORD, b"", 1),
    "no end": lambda stream: stream.replace(b"[DONE]", b"[LATE]"),
}


@pytest.mark.parametrize("how", WRONG_STREAMS)
async def test_a_wrong_stream_fails_the_run(how: str) -> None:
    async with answering(WRONG_STREAMS[how](STREAM)) as port:
        with pytest.raises(LoadFailed, match="status"):
            await listen(Contestant("all", port, ["nobody"], 0), "bench-burst", EVENTS, number=2, seconds=0.1)
