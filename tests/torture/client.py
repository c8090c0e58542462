"""One client of many: raw sockets, good and bad manners, and a note of everything it was told."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

from tests.torture.plan import Step
from tests.torture.sessions import Sessions

PATIENCE_S = 40.0  # longer than any bound of the gateway: who waits longer was forgotten
SLOW_READER_BYTES = 4096
_DOWN_S = 0.1
_REFUSED_S = 0.03
_READ_BYTES = 65_536


@dataclass
class Told:
    """What all clients were told."""

    steps: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    refusals: Counter[str] = field(default_factory=Counter[str])
    manners: Counter[str] = field(default_factory=Counter[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    answered: Counter[str] = field(default_factory=Counter[str])  # by surface
    broken: int = 0  # connections that ended before the answer did
    down: int = 0  # connections that the gateway did not take
    charges: dict[str, str] = field(default_factory=dict)  # call id -> x-comptroller-charge-usd
    wrong: list[str] = field(default_factory=list)  # what must never be said
    forgotten: int = 0  # no answer at all for PATIENCE_S


class Client:
    """Takes the steps of its plan, one after the other, until it is told to stop."""

    def __init__(self, port: int, sessions: Sessions, told: Told, stop: asyncio.Event) -> None:
        self._port = port
        self._sessions = sessions
        self._told = told
        self._stop = stop
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self, steps: Iterator[Step]) -> None:
        try:
            for step in steps:
                if self._stop.is_set():
                    break
                await self._take(step)
                if step.pause_s:
                    await asyncio.sleep(step.pause_s)  # sleep: how often this client calls
        finally:
            self._close()

    async def _take(self, step: Step) -> None:
        told = self._told
        try:
            credential = await self._sessions.credential(step.session, renew=step.renew)
            async with asyncio.timeout(PATIENCE_S):
                await self._converse(step, credential)
        except TimeoutError:
            told.forgotten += 1
            self._close()
        except ConnectionRefusedError:
            told.down += 1
            self._close()
            await asyncio.sleep(_DOWN_S)  # sleep: until the gateway is back
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            told.broken += 1
            self._close()
        told.steps += 1

    async def _converse(self, step: Step, credential: str) -> None:
        reader, writer = await self._connection(step)
        writer.write(_request(step, credential))
        self._told.manners[step.manners] += 1
        if step.manners == "hangs_up_sending":
            return self._close()
        if step.manners == "leaves_unanswered":
            await writer.drain()
            return self._close()
        await writer.drain()
        status, headers = await _read_head(reader)
        await self._hear(step, status, headers)
        if step.manners == "leaves_midway" and status == 200:
            for _ in range(step.leaves_after):
                if not await reader.read(_READ_BYTES):
                    break
            return self._close()
        if step.manners == "slow" and status == 200:
            await _dawdle(reader)
            return self._close()
        body = await _read_body(reader, headers)
        self._check(step, status, headers, body)
        if headers.get("connection") == "close":
            self._close()
        return None

    async def _connection(self, step: Step) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The kept connection, or a new one; a slow reader gets one with small buffers."""
        if step.manners == "slow":
            self._close()
        if self._open is None or self._open[1].is_closing() or self._open[0].at_eof():
            self._close()
            plug = socket.socket()
            plug.setblocking(False)
            if step.manners == "slow":
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_READER_BYTES)
            try:
                await asyncio.get_running_loop().sock_connect(plug, ("127.0.0.1", self._port))
                limit = SLOW_READER_BYTES if step.manners == "slow" else 2**20
                self._open = await asyncio.open_connection(sock=plug, limit=limit)
            except BaseException:
                plug.close()
                raise
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._open[1].transport.abort()
            self._open = None

    async def _hear(self, step: Step, status: int, headers: Mapping[str, str]) -> None:
        told = self._told
        told.statuses[status] += 1
        if status == 200:
            told.answered[step.surface] += 1
        if step.fault is not None and "x-comptroller-refusal" not in headers:
            told.faults[step.fault] += 1
        refusal = headers.get("x-comptroller-refusal")
        if refusal is not None:
            told.refusals[refusal] += 1
            if refusal == "budget_exhausted" or refusal.endswith("_suspended"):
                await asyncio.sleep(
                    _REFUSED_S
                )  # sleep: who has no money left, or was stopped, comes back a little later
            if refusal in {"session_ended", "credential_expired"}:
                self._sessions.forget(step.session)
        if status == 500 and "x-comptroller-error-source" not in headers:
            told.wrong.append(f"HTTP 500 of our own: {refusal}")
        if step.garbage and not 400 <= status < 500 and status != 503:
            told.wrong.append(f"HTTP {status} for {step.method} {step.path} {step.body[:80]!r}")
        charge = headers.get("x-comptroller-charge-usd")
        if charge is not None:
            told.charges[headers["x-comptroller-call-id"]] = charge

    def _check(self, step: Step, status: int, headers: Mapping[str, str], body: bytes) -> None:
        if status != 200 or not headers.get("content-type", "").startswith("text/event-stream"):
            return
        if step.surface == "chat" and not step.usage_asked and b'"usage":{' in body:
            self._told.wrong.append("a usage chunk reached a caller who had not asked for it")


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    return int(first.split(" ", 2)[1]), headers


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    pieces: list[bytes] = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        pieces.append((await reader.readexactly(size + 2))[:-2])
    await reader.readexactly(2)
    return b"".join(pieces)


async def _dawdle(reader: asyncio.StreamReader) -> None:
    """Read as slowly as it takes to be cut off, or to the end."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(6.0):
            async for _ in _sips(reader):
                await asyncio.sleep(0.05)  # sleep: a caller that reads slowly


async def _sips(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while sip := await reader.read(512):
        yield sip


def _request(step: Step, credential: str) -> bytes:
    headers = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(step.body))}
    if step.credential:
        headers[step.slot] = f"Bearer {credential}" if step.slot == "authorization" else credential
    headers |= step.headers
    lines = [f"{step.method} {step.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    body = step.body if step.manners != "hangs_up_sending" else step.body[: len(step.body) // 2]
    return head + body
