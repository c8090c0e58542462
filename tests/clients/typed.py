"""A recipe as a person would type it: in a home of its own, with nothing of this machine."""

import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.clients.installed import NODE, bash, search_path
from tests.clients.recipes import Recipe
from tests.harness.gateway import GatewayProcess

PATIENCE_S = 180.0
_GATEWAY = "http://127.0.0.1:8787"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Ran:
    """How the client ended."""

    code: int | None  # None: it did not end in time
    said: str
    seconds: float


def type_in(recipe: Recipe, gateway: GatewayProcess, folder: Path) -> Ran:
    """Run the block of the page against this gateway."""
    home = folder / "home"
    work = home / "work"
    work.mkdir(parents=True)
    (work / "node_modules").symlink_to(NODE / "node_modules")  # as after `npm install`
    script = recipe.script.replace(_GATEWAY, gateway.url)
    environment = {
        "HOME": str(home),
        "PATH": search_path(recipe.version),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "NO_PROXY": "127.0.0.1",
        "COMPTROLLER_CONFIG": str(gateway.config),
        "PYTHONPATH": gateway.environment()["PYTHONPATH"],
    }
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [bash(), "-euo", "pipefail", "-c", script],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(child)
        seconds = time.monotonic() - started
        said.seek(0)
        return Ran(code, _COLOURS.sub("", said.read().decode(errors="replace")), seconds)


def _end(child: subprocess.Popen[bytes]) -> None:
    """What it left running ends, too."""
    try:
        os.killpg(child.pid, 9)
    except ProcessLookupError:
        return
    finally:
        child.wait()
