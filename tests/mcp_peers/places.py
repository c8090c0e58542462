"""Where the servers, clients and suites that others wrote are. `make mcp` has put them there."""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / ".venv-node" / "mcp" / "node_modules"
PYTHON = ROOT / ".venv-mcp" / "bin" / "python"
SOURCES = ROOT / ".venv-mcp" / "sources"
_NODE_BIN = ROOT / ".venv-node" / "bin"
HERE = NODE.exists() and SOURCES.exists()
"""Whether they are on this machine."""


def node() -> str:
    """The Node.js that runs them."""
    return str((_NODE_BIN / "node").resolve())


def script(package: str, program: str = "") -> str:
    """The file of a program in a package of npm."""
    about = json.loads((NODE / package / "package.json").read_text(encoding="utf-8"))
    programs = about["bin"]
    path = programs if isinstance(programs, str) else programs[program or next(iter(programs))]
    return str((NODE / package / path).resolve())


def version(package: str) -> str:
    """The version of a package of npm."""
    return json.loads((NODE / package / "package.json").read_text(encoding="utf-8"))["version"]


def conformance_server() -> Path:
    """The folder of the server that the SDK's makers try the suite on."""
    return next(SOURCES.glob("mcp-*")) / "examples" / "servers" / "everything-server"


def environment(**more: str) -> dict[str, str]:
    """Ours, with Node.js on the path and no proxy in the way."""
    path = f"{_NODE_BIN}:{os.environ.get('PATH', '')}"
    return dict(os.environ) | {"PATH": path, "NO_PROXY": "127.0.0.1,localhost"} | more


def run(command: list[str], timeout_s: float = 300.0, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, env=environment(**more), check=False
    )
