"""What operators do while the run goes on, over the admin plane: mint, end sessions, stop and resume, raise limits."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from tests.harness.gateway import GatewayProcess
from tests.harness.toml import to_toml
from tests.torture.world import (
    FIRST_LIMITS,
    IDENTITIES,
    STEADY,
    VISIBLE_MODEL,
    Mode,
    first_limits,
    raised,
    registry_table,
)

PATIENCE_S = 30.0
LONGEST_STOP_S = 0.4
_AGAIN_S = 0.1
_PAGE = 10_000
_LATE_AFTER = 2  # raises before the late budget comes


class Unavailable(Exception):
    """The admin plane did not answer, or not with what was asked for."""


class AdminOffice:
    """One operator. Every act may meet a gateway that is down."""

    def __init__(self, gateway: GatewayProcess, seed: int, mode: Mode) -> None:
        self.minted = self.ended = self.stops = self.raises = self.resumed = 0
        self.forgotten: list[str] = []
        self._gateway = gateway
        self._dice = random.Random(f"{seed}/{mode}/office")
        self._token = gateway.admin_token()
        self._mode: Mode = mode
        self._limits = first_limits(mode)
        self._sessions: list[str] = []

    async def mint(self, identity: str) -> str:
        """A credential, however long it takes until the gateway gives one."""
        while True:
            try:
                made = await self._ask("POST", "/sessions", {"identity": identity})
            except Unavailable:
                await asyncio.sleep(_AGAIN_S)  # sleep: until the gateway is back
                continue
            self.minted += 1
            self._sessions.append(made["session"])
            return str(made["credential"])

    async def end_some_session(self) -> None:
        """End a session that is in use."""
        if not self._sessions:
            return
        session = self._sessions.pop(self._dice.randrange(len(self._sessions)))
        await self._ask("POST", f"/sessions/{session}/end", {"reason": "torture"})
        self.ended += 1

    async def stop_something(self) -> None:
        """Stop what is in use, and lift that a moment later."""
        await self.lift_stops()
        scopes = {
            "session": self._dice.choice(self._sessions) if self._sessions else None,
            "identity": self._dice.choice(list(IDENTITIES)),
            "team": "blue",
            "model": VISIBLE_MODEL,
            "provider": STEADY,
            "everything": "",
        }
        scope, value = self._dice.choice([each for each in scopes.items() if each[1] is not None])
        lasts_s = self._dice.uniform(0.05, LONGEST_STOP_S)
        await self._ask("POST", "/stops", {"scope": scope, "value": value, "reason": "torture"})
        self.stops += 1
        await asyncio.sleep(lasts_s)  # sleep: how long it is stopped
        await self.lift_stops()

    async def lift_stops(self) -> None:
        """Those that an earlier try left, too."""
        for stop in await self._ask("GET", "/stops"):
            if stop["scope"] != "bound":
                wanted = {"scope": stop["scope"], "value": stop["value"], "reason": "torture"}
                await self._ask("POST", "/stops/resume", wanted)

    async def raise_limits(self) -> None:
        """Raise what is nearly used up, by a share that the seed says; the third time a new budget comes with it."""
        rows = await self.budgets()
        shares = {name: self._dice.uniform(0.1, 0.6) for name in FIRST_LIMITS}
        self._limits = raised(self._limits, rows, shares, self._mode)
        document = to_toml(registry_table(self._limits, self._mode, late=self.raises >= _LATE_AFTER))
        await self._ask("POST", "/registry/apply", {"registry": document})
        self.raises += 1

    async def resume_all(self) -> None:
        """Reopen every model that was quarantined."""
        for bound in await self.bounds():
            if bound["quarantined"]:
                wanted = {"provider": bound["provider"], "model": bound["model"], "reason": "torture"}
                await self._ask("POST", "/bounds/resume", wanted)
                self.resumed += 1

    async def budgets(self) -> Sequence[Mapping[str, Any]]:
        return await self._ask("GET", "/budgets")

    async def bounds(self) -> Sequence[Mapping[str, Any]]:
        return await self._ask("GET", "/bounds")

    async def calls(self) -> list[Mapping[str, Any]]:
        """Every call in the books, newest first, page by page."""
        calls: list[Mapping[str, Any]] = []
        while True:
            before = f"&before={calls[-1]['id']}" if calls else ""
            page = await self._ask("GET", f"/calls?limit={_PAGE}{before}")
            if calls and page and page[0]["id"] == calls[0]["id"]:
                raise Unavailable("the second page of calls is the first one")
            calls += page
            if len(page) < _PAGE:
                return calls

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} /api/v1{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {self._token}\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, answer = await _exchange(self._gateway.admin_port, head.encode() + content)
        except TimeoutError as error:
            self.forgotten.append(f"{method} {path}: no answer in {PATIENCE_S:g} s")
            raise Unavailable(self.forgotten[-1]) from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"{method} {path}: {error!r}") from error
        if not 200 <= status < 300:
            raise Unavailable(f"{method} {path}: {status} {answer.decode(errors='replace')}")
        return json.loads(answer)


async def _exchange(port: int, request: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        answer = await reader.read()
    finally:
        writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
        raise ConnectionResetError("the admin plane said nothing")
    length = next(
        (line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0"
    )
    if len(body) < int(length):
        raise ConnectionResetError("the admin plane broke off")
    return int(head.split(b" ", 2)[1]), body
