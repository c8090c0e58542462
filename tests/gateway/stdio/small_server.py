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

LEGACY = "2025-11-25"
ERA = sys.argv[1] if len(sys.argv) > 1 else "both"  # "legacy": it knows no server/discover
held: dict[str, object] = {}
memory: list[object] = []


def say(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(id_: object, **result: object) -> None:
    say({"jsonrpc": "2.0", "id": id_, "result": result})


def text(id_: object, words: object) -> None:
    answer(id_, content=[{"type": "text", "text": words if isinstance(words, str) else json.dumps(words)}])


def tell(method: str, **params: object) -> None:
    say({"jsonrpc": "2.0", "method": method, "params": params})


def whoami() -> dict[str, object]:
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "pid": os.getpid(),
        "session": os.getsid(0),
        "folder": os.getcwd(),
        "listing": os.listdir("."),
        "environ": dict(os.environ),
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        "status": open("/proc/self/status").read(),
        "limits": open("/proc/self/limits").read(),
    }


def look(path: str) -> str:
    """What comes of reading a file or a folder."""
    try:
        if os.path.isdir(path):
            return f"read: {os.listdir(path)}"
        with open(path, "rb") as file:
            return f"read: {file.read(200)!r}"
    except OSError as error:
        return type(error).__name__


def trace(pid: int) -> str:
    """What comes of an attempt to get into a process with ptrace."""
    libc = ctypes.CDLL(None, use_errno=True)
    return "attached" if libc.ptrace(16, pid, 0, 0) == 0 else "refused"


def flood(stream: object, seconds: float) -> None:
    until = time.monotonic() + seconds
    line = ("x" * 1000 + "\n") * 50
    while time.monotonic() < until:
        stream.write(line)
        stream.flush()


def call(id_: object, name: str, arguments: dict, meta: dict) -> None:
    match name:
        case "echo":
            text(id_, arguments)
        case "whoami":
            text(id_, whoami())
        case "look":
            text(id_, [look(path) for path in arguments["paths"]])
        case "trace":
            text(id_, trace(arguments["pid"]))
        case "meta":
            text(id_, {"id": id_, "meta": meta})
        case "progress":
            for step in range(3):
                tell("notifications/progress", progressToken=meta["progressToken"], progress=step)
            text(id_, "done")
        case "log":
            tell("notifications/message", level="info", data=arguments.get("data", "a line"))
            text(id_, "done")
        case "ask":
            held["ask"] = id_
            say({"jsonrpc": "2.0", "id": "mine", "method": "sampling/createMessage", "params": {"messages": []}})
        case "hold":
            held[arguments["name"]] = id_
        case "release":
            text(held.pop(arguments["name"]), "released")
            text(id_, "done")
        case "remember":
            memory.append(arguments)
            text(id_, memory)
        case "later":
            text(id_, "soon")
            tell("notifications/tools/list_changed")
        case "child":
            grandchild = subprocess.Popen(["/bin/sleep", "1000"], stdout=None)
            text(id_, grandchild.pid)
        case "die":
            sys.stderr.write("my last words\n")
            sys.stderr.flush()
            os._exit(arguments.get("code", 3))
        case "hang":
            while True:
                time.sleep(1000)
        case "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            text(id_, "I stay")
            while True:
                time.sleep(1000)
        case "mute":
            os.close(1)
            while True:
                time.sleep(1000)
        case "flood_stderr":
            text(id_, "here it comes")
            flood(sys.stderr, arguments["seconds"])
            held["flooded"] = True
        case "flood_stdout":
            text(id_, "here it comes")
            flood(sys.stdout, arguments["seconds"])
        case "garbage":
            sys.stdout.write("Listening on stdio...\n\n{\"jsonrpc\": \"2.0\"}\n[1,2]\n\xff\n")
            say({"jsonrpc": "2.0", "id": 999_999, "result": {}})
            say({"jsonrpc": "2.0", "id": "never", "result": {}})
            text(id_, "after the garbage")
        case "long":
            text(id_, "y" * arguments["bytes"])
        case "endless":
            sys.stdout.write('{"jsonrpc":"2.0","id":1,"result":"')
            while True:
                sys.stdout.write("z" * 65536)
        case "deaf":
            text(id_, "I read no more")
            time.sleep(arguments["seconds"])
        case _:
            say({"jsonrpc": "2.0", "id": id_, "error": {"code": -32602, "message": f"no tool {name}"}})


def take(message: dict) -> None:
    method, id_, params = message.get("method"), message.get("id"), message.get("params", {})
    match method:
        case "initialize":
            if params.get("refuse"):
                return say({"jsonrpc": "2.0", "id": id_, "error": {"code": -32602, "message": "not with you"}})
            answer(id_, protocolVersion=LEGACY, capabilities={"tools": {}}, serverInfo={"name": "small", "version": "1"})
        case "server/discover" if ERA == "both":
            answer(id_, supportedVersions=["2026-07-28"], capabilities={"tools": {}}, resultType="complete")
        case "tools/list":
            answer(id_, tools=[{"name": "echo", "inputSchema": {"type": "object"}}])
        case "tools/call":
            call(id_, params["name"], params.get("arguments", {}), params.get("_meta", {}))
        case "subscriptions/listen":
            mine = {"io.modelcontextprotocol/subscriptionId": id_}
            tell("notifications/subscriptions/acknowledged", _meta=mine)
            tell("notifications/tools/list_changed", _meta=mine)
            held["listen"] = id_
        case "ping":
            answer(id_)
        case "notifications/cancelled":
            gone = params["requestId"]
            memory.append({"cancelled": [name for name, held_id in held.items() if held_id == gone]})
        case None if id_ == "mine":
            text(held.pop("ask"), message)
        case str() if id_ is not None:
            say({"jsonrpc": "2.0", "id": id_, "error": {"code": -32601, "message": f"no method {method}"}})


def main() -> None:
    if ERA == "dies":
        sys.exit("it cannot start: there is no configuration")
    if ERA == "silent":
        threading.Event().wait()
    for line in sys.stdin:
        take(json.loads(line))


if __name__ == "__main__":
    main()
