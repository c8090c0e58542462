"""One recipe, run twice: with enough money, and with next to none; and what both sides wrote down."""

import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from tests.clients.installed import NODE, NotInstalled, bash, search_path, version_of
from tests.clients.recipes import Recipe
from tests.clients.world import ENOUGH, TOO_LITTLE, World, world

PATIENCE_S = 180.0
OUR_WORDS = "budget all"  # of the refusal: our own text is before the user's eyes
_GATEWAY = "http://127.0.0.1:8787"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Ran:
    """How the client ended."""

    code: int | None  # None: it did not end in time
    said: str
    seconds: float


@dataclass(frozen=True)
class Row:
    """What the table says of one client."""

    name: str
    version: str
    surface: str
    calls: int = 0  # in our books
    at_provider: int = 0
    charged: Decimal = Decimal(0)
    billed: Decimal = Decimal(0)
    refused: int = 0
    seconds: float = 0.0
    hint: str = ""  # the client's own session marker, as recorded
    wrong: tuple[str, ...] = ()
    missing: str = ""  # why it was not run

    @property
    def ok(self) -> bool:
        """Whether all was as it must be."""
        return not self.wrong and not self.missing


def run_recipe(recipe: Recipe, keep: Path | None = None) -> Row:
    """Run it in both worlds."""
    try:
        version = version_of(recipe.version)
    except NotInstalled as reason:
        return Row(recipe.name, "", recipe.surface, missing=str(reason))
    with tempfile.TemporaryDirectory(prefix="comptroller-client-") as name:
        folder = Path(name) if keep is None else keep / recipe.name
        row = _served(recipe, version, folder / "served")
        return _refused(recipe, row, folder / "refused")


def _served(recipe: Recipe, version: str, folder: Path) -> Row:
    with world(folder / "gateway", ENOUGH) as here:
        ran = _run(recipe, here, folder)
        billed = here.sandbox.settled(here.sandbox.count())
        calls = [call for call in here.called() if call["outcome"] != "refused"]
        counted = [line for line in billed if line["status"] == 200]
        row = Row(
            recipe.name,
            version,
            recipe.surface,
            calls=len(calls),
            at_provider=len(billed),
            charged=sum((Decimal(call["charge_usd"]) for call in calls), Decimal(0)),
            billed=Decimal(here.sandbox.total()["charge_usd"]),
            seconds=ran.seconds,
            hint=next((call["client_session"] for call in calls if call.get("client_session")), ""),
        )
        surfaces = {call["dialect"] for call in calls if call["outcome"] == "completed"}
        faults = {
            f"it ended with code {ran.code}: {ran.said[-600:]}": ran.code != 0,
            "no call was answered": not counted,
            f"it called {', '.join(sorted(surfaces))}": surfaces != {recipe.surface},
            "our books have other calls than the provider": row.calls != row.at_provider,
            "our books have other money than the bill": row.charged != row.billed,
            "a call was presumed": any(call["presumed"] for call in calls),
        }
        return _with(row, faults)


def _refused(recipe: Recipe, row: Row, folder: Path) -> Row:
    with world(folder / "gateway", TOO_LITTLE) as here:
        ran = _run(recipe, here, folder)
        calls = here.called()
        faults = {
            "refused: it did not end in time": ran.code is None,
            "refused: a call reached the provider": here.sandbox.count() > 0,
            "refused: nothing was refused": not calls,
            f"refused: it called {len(calls)} times": len(calls) > recipe.most_refused,
            f"refused: its user does not see why: {ran.said[-600:]}": recipe.shows and OUR_WORDS not in ran.said,
        }
        return _with(row, faults, refused=len(calls))


def _with(row: Row, faults: dict[str, bool], **more: int) -> Row:
    wrong = (*row.wrong, *(words for words, is_so in faults.items() if is_so))
    return Row(**{**row.__dict__, **more, "wrong": wrong})


def _run(recipe: Recipe, here: World, folder: Path) -> Ran:
    """The block of the page as a person would type it, in a home of its own, with nothing of this machine."""
    home = folder / "home"
    work = home / "work"
    work.mkdir(parents=True)
    (work / "node_modules").symlink_to(NODE / "node_modules")  # as after `npm install`
    script = recipe.script.replace(_GATEWAY, here.gateway.url)
    environment = {
        "HOME": str(home),
        "PATH": search_path(recipe.version),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "NO_PROXY": "127.0.0.1",
        "COMPTROLLER_CONFIG": str(here.gateway.config),
        "PYTHONPATH": here.gateway.environment()["PYTHONPATH"],
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
