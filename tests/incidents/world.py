"""A gateway with the registry of docs/incidents.md, in front of two sandboxes that its providers are made of."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from comptroller.core.work.bounds import NAMES
from tests.harness.configuration import Table, process, provider
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import Line, SandboxProcess

PAGE = Path(__file__).resolve().parents[2] / "docs" / "incidents.md"
UNBOUND = {name.removesuffix("_nanos"): "unbounded" for name in NAMES if name != "depth"}
LIMITS = ("budgets", "rates", "contexts", "loops", "retries")


class World:
    """One gateway, and the two sandboxes behind it."""

    def __init__(self, gateway: GatewayProcess, west: SandboxProcess, east: SandboxProcess) -> None:
        self.gateway, self.west, self.east = gateway, west, east

    def bill(self, calls: set[str]) -> tuple[int, int]:
        """What these calls cost by the sandboxes' own bills, in nano-USD, and how many attempts of them went out."""
        mine = [line for each in (self.west, self.east) for line in each.settled(0) if call_of(line) in calls]
        return sum(int(line["charge_nanos"]) for line in mine), len(mine)


def call_of(line: Line) -> str:
    """The call that a line of the bill is for."""
    return (line["client_request_id"] or "").rpartition(".")[0]


def registry_of_the_page() -> Table:
    """The registry as it stands in the documentation."""
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return tomllib.loads(text)


def without_limits(registry: Table) -> Table:
    """The same with every limit in shadow mode, and with no bounds of sessions."""
    shadowed: dict[str, Any] = {
        name: [{**entry, "mode": "shadow"} for entry in entries] if name in LIMITS else entries
        for name, entries in registry.items()
    }
    kinds: Mapping[str, Table] = dict.fromkeys(("agent", "service"), UNBOUND)
    return {**shadowed, "bounds": kinds, "profiles": dict.fromkeys(registry["profiles"], UNBOUND)}


@contextmanager
def world(folder: Path, *, limits: bool) -> Iterator[World]:
    """A fresh one; `limits`: whether they hold, or only look on."""
    registry = registry_of_the_page()
    with SandboxProcess() as west, SandboxProcess() as east:
        given = {} if limits else {"breaker_failures": 0}
        urls = {"west": west.url, "north": west.url, "east": east.url}  # west and north fail together
        providers = {name: provider(url, **given) for name, url in urls.items()}
        files = process(west.url, providers=providers)
        with GatewayProcess(folder, files, registry if limits else without_limits(registry)) as gateway:
            yield World(gateway, west, east)
            assert "Traceback" not in gateway.log()
