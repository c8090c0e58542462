"""Where the clients are on this machine, and in which version. `make clients` has put them there."""

import json
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NODE = ROOT / ".venv-node"
_BESIDE = {"mcp": NODE / "mcp"}  # packages that are installed apart


class NotInstalled(Exception):
    """A client is not on this machine; the text says why."""


def version_of(source: str) -> str:
    """The version of `npm:PACKAGE`, `mcp:PACKAGE` (of npm, too) or `pip:VENV:PACKAGE`. Raises NotInstalled."""
    kind, _, rest = source.partition(":")
    return _npm(rest, _BESIDE.get(kind, NODE)) if kind != "pip" else _pip(*rest.split(":"))


def search_path(source: str) -> str:
    """The PATH for a client: its own programs, this repository's `comptroller`, and the system's."""
    own = [ROOT / f".venv-{source.split(':')[1]}" / "bin"] if source.startswith("pip:") else []
    of_npm = _BESIDE.get(source.split(":", maxsplit=1)[0], NODE) / "node_modules" / ".bin"
    node = [of_npm, NODE / "bin"]
    return ":".join(map(str, [*own, *node, ROOT / ".venv" / "bin", "/usr/local/bin", "/usr/bin", "/bin"]))


def bash() -> str:
    """The shell that the recipes are written for."""
    found = shutil.which("bash")
    if found is None:
        raise NotInstalled("the recipes need bash")
    return found


def _npm(package: str, where: Path) -> str:
    about = where / "node_modules" / package / "package.json"
    if not about.exists():
        raise NotInstalled(f"{package} is not in {where.relative_to(ROOT)}")
    return str(json.loads(about.read_text(encoding="utf-8"))["version"])


def _pip(venv: str, package: str) -> str:
    python = ROOT / f".venv-{venv}" / "bin" / "python"
    if not python.exists():
        raise NotInstalled(f"there is no .venv-{venv}")
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(f"{package} is not in .venv-{venv}")
    return done.stdout.strip()
