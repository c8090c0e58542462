"""A call leaves no ring of objects behind: the collector of the gateway is set to look for rings only seldom (app.py).

The gateway runs in this process here, so that its objects can be seen.
"""

import asyncio
import gc
import http.client
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comptroller import app
from comptroller.control.tokens import mint
from comptroller.gateway.serving import Listener
from comptroller.settings import load_settings
from tests.end_to_end.caller import CHAT, Row, chat
from tests.harness.configuration import KEY_VARIABLE, budget, process, registry
from tests.harness.toml import to_toml
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

BUDGETS = [budget("all", "100.00 USD"), budget("each", "10_000 calls", per="identity")]
CALLS = 20

Call = Callable[[http.client.HTTPConnection, str], None]


def send(connection: http.client.HTTPConnection, credential: str, body: Row) -> http.client.HTTPResponse:
    headers = {"content-type": "application/json", "authorization": f"Bearer {credential}"}
    connection.request("POST", CHAT, json.dumps(body).encode(), headers)
    return connection.getresponse()


def whole(connection: http.client.HTTPConnection, credential: str) -> None:
    answer = send(connection, credential, chat(max_tokens=5))
    assert (answer.status, bool(answer.read())) == (200, True)


def streamed(connection: http.client.HTTPConnection, credential: str) -> None:
    answer = send(connection, credential, chat(max_tokens=5, stream=True))
    assert answer.read().endswith(b"data: [DONE]\n\n")


def left(connection: http.client.HTTPConnection, credential: str) -> None:
    answer = send(connection, credential, chat(max_tokens=4000, stream=True))
    assert answer.read(1)
    answer.close()
    connection.close()


def refused(connection: http.client.HTTPConnection, credential: str) -> None:
    answer = send(connection, credential, chat(model="nobody-knows-it"))
    assert (answer.status, bool(answer.read())) == (404, True)


@contextmanager
def collected() -> Iterator[Counter[str]]:
    """What of ours only the garbage collector could free, by type, once the block has ended."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        found.update(type(each).__qualname__ for each in gc.garbage if _is_ours(each))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _is_ours(thing: object) -> bool:
    return type(thing).__module__.startswith(("comptroller.", "uvicorn.")) or isinstance(thing, asyncio.Future)


@pytest.mark.parametrize("call", [whole, streamed, left, refused])
async def test_a_call_leaves_no_ring_of_objects(sandbox_process: SandboxProcess, tmp_path: Path, call: Call) -> None:
    config = tmp_path / "comptroller.toml"
    config.write_text(to_toml(process(sandbox_process.url)))
    (tmp_path / "registry.toml").write_text(to_toml(registry(BUDGETS)))
    environ = os.environ | {KEY_VARIABLE: "sandbox-rings"}
    async with app.open_house(load_settings(config), environ, listening=True) as house:
        credential = (await mint(house.office, "agent/ant", None, "test")).credential
        listener = Listener(house.door, "127.0.0.1", 0, head_bytes=65536, stalled_s=60)
        await listener.start()

        def calls() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", listener.port, timeout=60)
            for _ in range(CALLS):
                call(connection, credential)
            connection.close()

        try:
            await asyncio.to_thread(calls)
            await house.gate.live.quiet()
            with collected() as rings:
                await asyncio.to_thread(calls)
                await house.gate.live.quiet()
        finally:
            await listener.stop()
            await house.gate.upstream.close()
    assert {name: count for name, count in rings.items() if count >= CALLS} == {}
