"""The channel beside ASGI: whole bodies, whole answers, and whatever it leaves to the usual way."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from comptroller.gateway.channel import Channel, channel_of
from comptroller.gateway.reply import AsgiReply
from tests.gateway.connection import PATIENCE_S, calling, listening

POST = b"POST /%d HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n"
HEADERS = [(b"content-type", b"application/json")]


class App:
    """Answers each request with its path, and what the channel said of its body at first."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self.at_once: list[bytes | None] = []
        self.came = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        channel = channel_of(scope)
        self.channels.append(channel)
        self.came.set()
        self.at_once.append(channel.body())
        await self.go.wait()
        body = json.dumps([scope["path"], []]).encode()
        length = (b"content-length", str(len(body)).encode())
        await AsgiReply(channel, send).respond(200, [*HEADERS, length], body)


async def test_requests_that_come_together_are_answered_in_turn() -> None:
    app = App()
    async with listening(app) as port, calling(port) as caller:
        await caller.say(b"".join(POST % number + b"{}" for number in range(5)))
        assert [(await caller.answer())[1][0] for _ in range(5)] == ["/0", "/1", "/2", "/3", "/4"]
    assert app.at_once == [b"{}"] * 5


async def test_a_body_in_pieces_is_not_whole_until_its_end() -> None:
    app = App()
    app.go.clear()
    async with listening(app) as port, calling(port) as caller:
        await caller.say(POST % 1)
        await app.came.wait()
        await caller.say(b"{")
        await asyncio.sleep(0.05)  # sleep: until the first half has come
        assert app.channels[0].body() is None
        await caller.say(b"}")
        async with asyncio.timeout(PATIENCE_S):
            while (whole := app.channels[0].body()) is None:  # noqa: ASYNC110 - nothing is told when the rest has come
                await asyncio.sleep(0.01)  # sleep: the pause of a poll
        app.go.set()
        await caller.answer()
    assert (app.at_once, whole) == ([None], b"{}")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", b"connection: close"),
        (b"GET / HTTP/1.0\r\n\r\n", b"connection: close"),
    ],
)
async def test_a_caller_who_wants_the_connection_closed_is_told_and_obeyed(head: bytes, said: bytes) -> None:
    async with listening(App()) as port, calling(port) as caller:
        await caller.say(head)
        answer = await caller.everything()
    assert said in answer
    assert answer.endswith(b'["/", []]')


async def test_a_head_request_is_answered_without_a_body() -> None:
    async with listening(App()) as port, calling(port) as caller:
        await caller.say(b"HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        answer = await caller.everything()
    assert b"content-length: 9\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("spoilt", [b"a\r\nx: y", b"a\nb", b"a\rb"])
async def test_a_header_that_would_end_its_line_is_not_sent(spoilt: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        channel = channel_of(scope)
        with pytest.raises(ValueError, match="CR or LF"):
            channel.respond(200, [(b"content-length", b"0"), (b"x-model", spoilt)], b"")
        channel.respond(500, [(b"content-length", b"0")], b"")

    async with listening(app) as port, calling(port) as caller:
        await caller.say(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        answer = await caller.everything()
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"x-model" not in answer
