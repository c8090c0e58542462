"""`python -m comptroller.sandbox.mcp`: one of the sandbox's MCP servers over stdio.

It answers both eras, says on stderr what it is, and appends the lines of its bill to a file if one is named.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from comptroller.sandbox.mcp.bill import Came, ToolBill, ToolLine
from comptroller.sandbox.mcp.faults import McpFault, McpPlan, spoil
from comptroller.sandbox.mcp.offer import Json
from comptroller.sandbox.mcp.story import (
    CAPABILITIES_KEY,
    INVALID_REQUEST,
    PARSE_ERROR,
    VERSION_KEY,
    Asking,
    RpcError,
    answer,
    initialize_result,
    mapping,
)

_KEPT_LINES = 10_000
_FLOOD_LINES = 20_000
_MOST_LINE_BYTES = 64 << 20


class StdioServer:
    """One client, at the other end of a pipe."""

    def __init__(self, name: str, plan: McpPlan, bill: Path | None) -> None:
        self.plan = plan
        self.elicits = False
        self._name = name
        self._file = bill
        self._bill = ToolBill(_KEPT_LINES)
        self._waiting: dict[str, asyncio.Future[Mapping[str, object]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Answer each line until there are no more."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_MOST_LINE_BYTES)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
        while line := await reader.readline():
            self._take(line)
        for task in self._running:
            task.cancel()

    def write(self, data: bytes) -> None:
        """Write one message."""
        sys.stdout.buffer.write(data + b"\n")
        sys.stdout.buffer.flush()

    def say(self, message: Json) -> None:
        """Write one message of ours."""
        self.write(msgspec.json.encode({"jsonrpc": "2.0", **message}))

    def _take(self, line: bytes) -> None:
        try:
            message = msgspec.json.decode(line, type=dict[str, object])
        except (msgspec.DecodeError, RecursionError):
            return self.say({"id": None, "error": {"code": PARSE_ERROR, "message": "This is no JSON-RPC message"}})
        method = message.get("method")
        if not isinstance(method, str):
            waiter = self._waiting.pop(str(message.get("id")), None)
            if waiter is not None and not waiter.done():
                waiter.set_result(mapping(message.get("result")))
            return None
        if message.get("id") is None:
            return None
        task = asyncio.get_running_loop().create_task(self._request(method, message))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return None

    async def _request(self, method: str, message: Mapping[str, object]) -> None:
        params = mapping(message.get("params"))
        meta = mapping(params.get("_meta"))
        modern = VERSION_KEY in meta
        line = self._bill.open(Came(self._name, time.time()))
        line.era, line.method = "modern" if modern else "legacy", method
        line.name = str(params.get("name") or params.get("uri") or "")
        line.arguments, line.meta = params.get("arguments"), params.get("_meta")
        fault = self.plan.strikes(method, line.name)
        line.fault = None if fault is None else fault.fault
        reply: Json = {"jsonrpc": "2.0", "id": message.get("id")}
        try:
            if fault is not None and not await self._survive(fault):
                return
            if method == "initialize":
                self.elicits = isinstance(mapping(params.get("capabilities")).get("elicitation"), dict)
                reply["result"] = initialize_result(params)
            elif modern and self.plan.eras == "legacy":
                raise RpcError(INVALID_REQUEST, "initialize comes first")
            else:
                said = mapping(meta.get(CAPABILITIES_KEY)).get("elicitation")
                elicits = isinstance(said, dict) if modern else self.elicits
                reply["result"] = await answer(Asking(method, params, modern, elicits, self.plan, line, self, fault))
        except RpcError as error:
            reply["error"] = error.as_json()
        self.write(spoil(line.fault or "", reply))
        line.state = "done"
        self._note(line)

    async def _survive(self, fault: McpFault) -> bool:
        """Let a fault of the process happen; says whether there is an answer still."""
        match fault.fault:
            case "die":
                os._exit(3)
            case "hang":
                await asyncio.Event().wait()
            case "slow":
                await asyncio.sleep(fault.delay_s)
            case "flood_stderr":
                for number in range(_FLOOD_LINES):
                    sys.stderr.write(f"flood {number} {'x' * 200}\n")
                sys.stderr.flush()
            case "garbage":
                self.write(b"Server started. This line is no JSON.")
            case "flood":
                for number in range(fault.count):
                    await self.notify(
                        "notifications/message", {"level": "info", "data": f"flood {number} {'x' * 1000}"}
                    )
            case _:
                pass
        return True

    def _note(self, line: ToolLine) -> None:
        if self._file is not None:
            with self._file.open("ab") as file:
                file.write(msgspec.json.encode(line.as_json()) + b"\n")

    async def notify(self, method: str, params: Json) -> None:
        """Send a notification ahead of the answer."""
        self.say({"method": method, "params": params})

    async def request(self, method: str, params: Json) -> Mapping[str, object]:
        """Ask the client something and wait for its answer."""
        number = f"sandbox-{len(self._waiting)}-{time.monotonic_ns()}"
        waiter = self._waiting[number] = asyncio.get_running_loop().create_future()
        self.say({"id": number, "method": method, "params": params})
        return await waiter

    async def pause(self, delay_s: float) -> None:
        """Wait."""
        await asyncio.sleep(delay_s)


def main(arguments: list[str] | None = None) -> int:
    """Serve until stdin ends. Exit status 0, or 2 for a plan that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m comptroller.sandbox.mcp", description=__doc__)
    parser.add_argument("--name", default="sandbox", help="what the server is called on its bill")
    parser.add_argument("--plan", default="{}", help="""what is wrong with it: '{"faults": [{"fault": "hang"}]}'""")
    parser.add_argument("--bill", type=Path, help="append the lines of the bill to this file")
    options = parser.parse_args(arguments)
    try:
        plan = msgspec.json.decode(options.plan.encode(), type=McpPlan)
        plan.check()
    except (msgspec.DecodeError, ValueError) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 2
    sys.stderr.write(f"the sandbox's MCP server {options.name} reads from stdin\n")
    asyncio.run(StdioServer(options.name, plan, options.bill).serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
