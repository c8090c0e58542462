"""A small MCP server over standard input and output, in both eras, that behaves as its tools are called.

Run as a script: it imports nothing of ours, for it runs where that may not be readable.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

Arguments = dict[str, Any]
Tool = Callable[[Any, Arguments, Arguments], None]

LEGACY = "2025-11-25"
ERA = sys.argv[1] if len(sys.argv) > 1 else "both"  # "legacy": it knows no server/discover
FOREVER_S = 1000.0
held: Arguments = {}
memory: list[Any] = []
TOOLS: dict[str, Tool] = {}


def tool(function: Tool) -> Tool:
    TOOLS[function.__name__] = function
    return function


def say(message: Arguments) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(id_: Any, **result: Any) -> None:
    say({"jsonrpc": "2.0", "id": id_, "result": result})


def text(id_: Any, words: Any) -> None:
    answer(id_, content=[{"type": "text", "text": words if isinstance(words, str) else json.dumps(words)}])


def wrong(id_: Any, code: int, words: str) -> None:
    say({"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": words}})


def tell(method: str, **params: Any) -> None:
    say({"jsonrpc": "2.0", "method": method, "params": params})


def names(folder: str) -> list[str]:
    return sorted(each.name for each in Path(folder).iterdir())


def stay(seconds: float = FOREVER_S) -> None:
    time.sleep(seconds)  # sleep: what is tried is a server that does nothing


@tool
def echo(id_: Any, arguments: Arguments, _meta: Arguments) -> None:
    text(id_, arguments)


@tool
def meta(id_: Any, _arguments: Arguments, sent: Arguments) -> None:
    text(id_, {"id": id_, "meta": sent})


@tool
def whoami(id_: Any, _arguments: Arguments, _meta: Arguments) -> None:
    """What it is, and what it has."""
    found: Arguments = {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "pid": os.getpid(),
        "session": os.getsid(0),
        "folder": str(Path.cwd()),
        "mode": Path.cwd().stat().st_mode & 0o777,
        "listing": names("."),
        "environ": dict(os.environ),
        "fds": [int(fd) for fd in names("/proc/self/fd")],
        "status": Path("/proc/self/status").read_text(encoding="utf-8"),
        "limits": Path("/proc/self/limits").read_text(encoding="utf-8"),
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text(encoding="ascii")),
    }
    text(id_, found)


@tool
def look(id_: Any, arguments: Arguments, _meta: Arguments) -> None:
    """What comes of reading files and folders."""

    def seen(path: str) -> str:
        try:
            return f"read: {names(path) if Path(path).is_dir() else Path(path).read_bytes()[:200]!r}"
        except OSError as error:
            return type(error).__name__

    text(id_, [seen(path) for path in arguments["paths"]])


@tool
def trace(id_: Any, arguments: Arguments, _meta: Arguments) -> None:
    """What comes of an attempt to get into a process with ptrace."""
    libc = ctypes.CDLL(None, use_errno=True)
    text(id_, "attached" if libc.ptrace(16, arguments["pid"], 0, 0) == 0 else "refused")


@tool
def progress(id_: Any, _arguments: Arguments, sent: Arguments) -> None:
    for step in range(3):
        tell("notifications/progress", progressToken=sent.get("progressToken", id_), progress=step)
    text(id_, "done")


@tool
def log(id_: Any, arguments: Arguments, _meta: Arguments) -> None:
    tell("notifications/message", level="info", data=arguments.get("data", "a line"))
    text(id_, "done")


@tool
def ask(id_: Any, _arguments: Arguments, _meta: Arguments) -> None:
    """Ask the client, and say what it said."""
    held["ask"] = id_
    say({"jsonrpc": "2.0", "id": "mine", "method": "sampling/createMessage", "params": {"messages": []}})


@tool
def hold(_id: Any, arguments: Arguments, _meta: Arguments) -> None:
    held[arguments["name"]] = _id


@tool
def release(id_: Any, arguments: Arguments, _meta: Arguments) -> None:
    text(held.pop(arguments["name"]), "released")
    text(id_, "done")


@tool
def remember(id_: Any, arguments: Arguments, _meta: Arguments) -> None:
    memory.append(arguments)
    text(id_, memory)


@tool
def later(id_: Any, _arguments: Arguments, _meta: Arguments) -> None:
    text(id_, "soon")
    tell("notifications/tools/list_changed")


@tool
def child(id_: Any, _arguments: Arguments, _meta: Arguments) -> None:
    text(id_, subprocess.Popen(["/bin/sleep", str(FOREVER_S)]).pid)


@tool
def die(_id: Any, arguments: Arguments, _meta: Arguments) -> None:
    sys.stderr.write("my last words\n")
    sys.stderr.flush()
    os._exit(arguments.get("code", 3))


@tool
def hang(_id: Any, _arguments: Arguments, _meta: Arguments) -> None:
    stay()


@tool
def stubborn(id_: Any, _arguments: Arguments, _meta: Arguments) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    text(id_, "I stay")
    stay()


@tool
def mute(_id: Any, _arguments: Arguments, _meta: Arguments) -> None:
    os.close(1)
    stay()


@tool
def deaf(id_: Any, _arguments: Arguments, _meta: Arguments) -> None:
    text(id_, "I read no more")
    stay()


@tool
def flood_stderr(id_: Any, arguments: Arguments, _meta: Arguments) -> None:
    text(id_, "here it comes")
    flood(sys.stderr, arguments["seconds"])


@tool
def flood_stdout(id_: Any, arguments: Arguments, _meta: Arguments) -> None:
    text(id_, "here it comes")
    flood(sys.stdout, arguments["seconds"])


def flood(stream: TextIO, seconds: float) -> None:
    """As much as goes, for a while; how much went in how long is remembered."""
    begun, written = time.monotonic(), 0
    line = ("x" * 1000 + "\n") * 50
    while time.monotonic() < begun + seconds:
        written += stream.write(line)
        stream.flush()
    held["flooded"] = {"bytes": written, "seconds": time.monotonic() - begun}


@tool
def flooded(id_: Any, _arguments: Arguments, _meta: Arguments) -> None:
    text(id_, held.pop("flooded"))


@tool
def garbage(id_: Any, _arguments: Arguments, _meta: Arguments) -> None:
    sys.stdout.write('Listening on stdio...\n\n{"jsonrpc": "2.0"}\n[1,2]\n\xff\n')
    answer(999_999)
    answer("never")
    text(id_, "after the garbage")


@tool
def swell(id_: Any, arguments: Arguments, _meta: Arguments) -> None:
    try:
        text(id_, len(bytearray(arguments["bytes"])))
    except MemoryError:
        text(id_, "no more memory")


@tool
def long(id_: Any, arguments: Arguments, _meta: Arguments) -> None:
    text(id_, "y" * arguments["bytes"])


@tool
def endless(_id: Any, _arguments: Arguments, _meta: Arguments) -> None:
    sys.stdout.write('{"jsonrpc":"2.0","id":1,"result":"')
    while True:
        sys.stdout.write("z" * 65536)


def initialize(id_: Any, params: Arguments) -> None:
    if params.get("refuse"):
        wrong(id_, -32602, "not with you")
    else:
        answer(id_, protocolVersion=LEGACY, capabilities={"tools": {}}, serverInfo={"name": "small", "version": "1"})


def listen(id_: Any) -> None:
    mine = {"io.modelcontextprotocol/subscriptionId": id_}
    tell("notifications/subscriptions/acknowledged", _meta=mine)
    tell("notifications/tools/list_changed", _meta=mine)
    held["listen"] = id_


def cancelled(gone: Any) -> None:
    memory.append({"cancelled": [name for name, id_ in held.items() if id_ == gone]})


def take(message: Arguments) -> None:
    method, id_, params = message.get("method"), message.get("id"), message.get("params", {})
    match method:
        case "initialize":
            initialize(id_, params)
        case "server/discover" if ERA != "legacy":
            answer(id_, supportedVersions=["2026-07-28"], capabilities={"tools": {}}, resultType="complete")
        case "tools/list":
            answer(id_, tools=[{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS])
        case "tools/call" if params["name"] in TOOLS:
            TOOLS[params["name"]](id_, params.get("arguments", {}), params.get("_meta", {}))
        case "subscriptions/listen":
            listen(id_)
        case "ping":
            answer(id_)
        case "notifications/cancelled":
            cancelled(params["requestId"])
        case None if id_ == "mine":
            text(held.pop("ask"), message)
        case _ if method is not None and id_ is not None:
            wrong(id_, -32601, f"no method {method}")
        case _:
            pass


def main() -> None:
    if ERA == "dies":
        sys.exit("it cannot start: there is no configuration")
    if ERA == "silent":
        threading.Event().wait()
    for line in sys.stdin:
        take(json.loads(line))
    if ERA == "talkative":
        say({"jsonrpc": "2.0", "id": "bye", "method": "sampling/createMessage", "params": {}})


if __name__ == "__main__":
    main()
