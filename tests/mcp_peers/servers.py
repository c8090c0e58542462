"""The reference servers of npm over stdio, run by the gateway: they say through it what they say direct."""

import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.mcp_peers.places import environment, node, script, version
from tests.mcp_peers.sdk import connected, run
from tests.mcp_peers.world import IDENTITY, gateway

Calls = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Served:
    """What the table says of one server."""

    name: str
    version: str
    tools: int
    calls: int
    recorded: int
    wrong: tuple[str, ...]


def run_servers(keep: Path | None) -> list[Served]:
    """Both servers, direct and through the gateway."""
    with tempfile.TemporaryDirectory(prefix="comptroller-mcp-") as name:
        folder = Path(name) if keep is None else keep / "servers"
        shared = folder / "shared"
        shared.mkdir(parents=True)
        (shared / "notes.txt").write_text("what is in the notes\n")
        return [
            _compare("everything", "@modelcontextprotocol/server-everything", ["stdio"], _everything(), folder),
            _compare("filesystem", "@modelcontextprotocol/server-filesystem", [str(shared)], _files(shared), folder),
        ]


def _everything() -> Calls:
    return [
        ("echo", {"message": "hello"}),
        ("get-sum", {"a": 2, "b": 3}),
        ("get-tiny-image", {}),
        ("get-structured-content", {"location": "Chicago"}),
        ("get-annotated-message", {"messageType": "error", "includeImage": True}),
    ]


def _files(shared: Path) -> Calls:
    return [
        ("read_text_file", {"path": str(shared / "notes.txt")}),
        ("write_file", {"path": str(shared / "more.txt"), "content": "more"}),
        ("read_text_file", {"path": str(shared / "more.txt")}),
        ("list_directory", {"path": str(shared)}),
        ("read_text_file", {"path": "/etc/passwd"}),
    ]


def _compare(name: str, package: str, arguments: list[str], calls: Calls, folder: Path) -> Served:
    command = [node(), script(package), *arguments]
    params = StdioServerParameters(command=command[0], args=command[1:], env=environment())
    direct = run(lambda: _talk(Client(stdio_client(params), mode="legacy"), calls))
    settings = {name: {"command": command, "allow_same_user": True}}
    with gateway(folder / name, settings) as governed:
        url, credential = f"{governed.url}/mcp/{name}", governed.token(IDENTITY)
        through = run(lambda: _talk(connected(url, credential, mode="legacy"), calls))
        rows = [row for row in governed.calls() if row["dialect"] == "mcp"]
    return Served(name, version(package), len(through[0]), len(calls), len(rows), _wrong(calls, direct, through, rows))


async def _talk(client: Any, calls: Calls) -> tuple[list[str], list[Any]]:
    """The names of its tools, and what each call came to."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(client)
        names = [tool.name for tool in (await session.list_tools()).tools]
        results = [await session.call_tool(tool, arguments) for tool, arguments in calls]
        return names, [result.model_dump(exclude={"meta"}) for result in results]


def _wrong(calls: Calls, direct: Any, through: Any, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    faults = {
        f"tools direct {direct[0]}, and through the gateway {through[0]}": direct[0] != through[0],
        f"{len(rows)} calls are on record": len(rows) != len(calls),
        "a call is not on record as completed": any(row["outcome"] != "completed" for row in rows),
        "something was charged": any(Decimal(row["charge_usd"]) for row in rows),
    }
    differs = (
        f"{tool}: direct {str(one)[:300]}, and through the gateway {str(other)[:300]}"
        for (tool, _), one, other in zip(calls, direct[1], through[1], strict=True)
        if one != other
    )
    return (*(words for words, is_so in faults.items() if is_so), *differs)
