"""The official MCP SDK as a client, with a bearer and any other headers that it shall send."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

DEADLINE_S = 60.0
ERAS = {"modern": "2026-07-28", "legacy": "legacy"}
"""What each era is called where the SDK is told to speak it; "auto" asks the server."""


@asynccontextmanager
async def connected(url: str, bearer: str = "", *, mode: str = "auto", **options: Any) -> AsyncIterator[Client]:
    """A client that is connected. `options` are those of the SDK's `Client`."""
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    async with httpx2.AsyncClient(headers=headers, timeout=DEADLINE_S, trust_env=False) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=ERAS.get(mode, mode), cache=None, **options) as client:
            yield client


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine function, and give up after a while."""

    async def bounded() -> Any:
        with anyio.fail_after(DEADLINE_S):
            return await work()

    return anyio.run(bounded)


def text_of(result: Any) -> str:
    """The text of a result of a tool."""
    return "".join(part.text for part in result.content if part.type == "text")
