"""What a storm cannot show for certain: holds that stand still, and a quarantine from its beginning to its end."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.harness.gateway import GatewayProcess
from tests.torture import judge
from tests.torture.books import read_books
from tests.torture.judge import Verdict
from tests.torture.office import AdminOffice
from tests.torture.world import IDENTITIES, STEADY

_CALLS = 8
_TRIES = 10
_POLL_S = 0.05
_MODEL = "sandbox-reasoner-2026-01-01"  # which no plan asks for
_BEYOND = (200, 800, 3000)  # each above what the bound was raised to by the one before


async def standing_holds(gateway: GatewayProcess, office: AdminOffice) -> Verdict:
    """With calls in flight that do not move, what the gateway says is held is the sum of the open holds.

    Memory and tables cannot be read in one step, so both are read between two equal readings of memory.
    """
    await office.raise_limits()
    credentials = [await office.mint(identity) for identity in IDENTITIES]
    for _ in range(_TRIES):
        await _nothing_held(gateway)
        async with AsyncExitStack() as stack:
            for number in range(_CALLS):
                await stack.enter_async_context(_hanging(gateway.port, credentials[number % len(credentials)], number))
            verdict = await _compare(gateway, office)
        if verdict is not None:
            return verdict
    return judge.none_of("held = sum of open holds in scope", ["the calls never stood still"], _TRIES)


async def _nothing_held(gateway: GatewayProcess) -> None:
    """Until what an earlier try has left is over. The run itself has an end."""
    while (await asyncio.to_thread(read_books, gateway.state)).holds:  # noqa: ASYNC110 - another process
        await asyncio.sleep(_POLL_S)  # sleep: polling another process


async def _compare(gateway: GatewayProcess, office: AdminOffice) -> Verdict | None:
    for _ in range(_TRIES):
        before = await office.budgets()
        books = await asyncio.to_thread(read_books, gateway.state)
        if len(books.holds) == _CALLS and await office.budgets() == before:
            return judge.in_flight(books, before)
        await asyncio.sleep(_POLL_S)  # sleep: polling another process
    return None


@asynccontextmanager
async def _hanging(port: int, credential: str, number: int) -> Any:
    """A call that the provider never answers; leaving the block hangs up."""
    control: dict[str, Any] = {"fault": "hang"} | ({"after_tokens": 1} if number % 2 else {})
    body = _chat("sandbox-small", control, stream=bool(number % 2))
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_post(body, credential))
        await writer.drain()
        yield
    finally:
        writer.transport.abort()


async def quarantine(gateway: GatewayProcess, office: AdminOffice) -> Verdict:
    """Three overruns stop a model; a person reopens it with the command, and it serves again."""
    credential = await office.mint("agent/fox")
    overruns: list[dict[str, Any]] = [{"fault": "overrun", "by": beyond} for beyond in _BEYOND]
    said: list[int | str] = [await _status(gateway.port, credential, control) for control in (*overruns, {})]
    standing = [bound["quarantined"] for bound in await office.bounds() if bound["model"] == _MODEL]
    typed = ("resume", "bound", f"{STEADY}/{_MODEL}", "--reason", "drill")
    done = await asyncio.to_thread(gateway.command, *typed, check=False)
    said += [f"exit {done.returncode}", await _status(gateway.port, credential, {})]
    expected = [200, 200, 200, 402, "exit 0", 200]
    wrong = [f"{said}; bounds say {standing}"] if said != expected or standing != [True] else []
    return judge.judge("quarantined after three, reopened by `resume`", wrong, said, expected)


async def _status(port: int, credential: str, control: dict[str, Any]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_post(_chat(_MODEL, control, stream=False), credential))
        head = await reader.readuntil(b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1])
    finally:
        writer.transport.abort()


def _chat(model: str, control: dict[str, Any], *, stream: bool) -> bytes:
    messages: Sequence[dict[str, str]] = [{"role": "user", "content": "go"}]
    request = {"model": model, "messages": messages, "max_tokens": 30, "service_tier": "default", "stream": stream}
    return json.dumps(request | {"sandbox": control}).encode()


def _post(body: bytes, credential: str) -> bytes:
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {credential}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
