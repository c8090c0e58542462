"""The replay: every incident without limits and with them, and normal work beside the latter."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from comptroller.core.money import format_usd
from tests.end_to_end.caller import Row
from tests.incidents.normal import NOT_OURS, work
from tests.incidents.scripts import SCRIPTS, Told
from tests.incidents.world import World, world

PROVIDERS_OWN = frozenset({"opened"})


class Replayed(msgspec.Struct):
    """One incident, twice."""

    name: str
    calls: int
    cost_nanos: int  # without limits, by the sandbox's bill
    leaked_nanos: int  # with limits
    attempts: int  # that went out with limits
    refused: Mapping[str, int]  # with limits, by code, as it stands on record

    @property
    def leaked(self) -> float:
        """The part of its cost that was billed all the same."""
        return self.leaked_nanos / self.cost_nanos

    @property
    def row(self) -> Sequence[str]:
        """As the table of the documentation has it."""
        cost, leaked = (f"{float(format_usd(nanos)):.2f} USD" for nanos in (self.cost_nanos, self.leaked_nanos))
        codes = sorted(self.refused.items(), key=lambda each: -each[1])
        by = ", ".join(f"`{code}` ({number:,})" for code, number in codes)
        return [f"`{self.name}`", f"{self.calls:,}", cost, leaked, f"{self.leaked:.1%}", f"{self.attempts:,}", by]


class Replay(msgspec.Struct):
    """All of it."""

    incidents: Sequence[Replayed]
    normal_calls: int
    false_stops: Mapping[str, int]  # of normal work, by code
    normal_heard: Mapping[str, int]  # by status or code

    @property
    def false_share(self) -> float:
        """The part of normal work that was stopped."""
        return sum(self.false_stops.values()) / self.normal_calls


def replay(folder: Path, seed: int = 1) -> Replay:
    """Do it. A minute or two."""
    with world(folder / "without", limits=False) as free:
        costs = {name: _priced(free, script(free)) for name, script in SCRIPTS.items()}
    with world(folder / "with", limits=True) as held, ThreadPoolExecutor(1) as beside:
        normal = beside.submit(work, held, seed)
        told = {name: script(held) for name, script in SCRIPTS.items()}
        worked = normal.result()
        recorded = _recorded(held)
        incidents = [_replayed(held, name, costs[name], each, recorded) for name, each in told.items()]
    false = {code: times for code, times in worked.heard.items() if _is_stop(code)}
    calls = sum(times for what, times in worked.heard.items() if what not in PROVIDERS_OWN)
    return Replay(incidents, calls, false, dict(worked.heard))


def _priced(free: World, told: Told) -> int:
    cost, _ = free.bill(told.calls)
    return cost


def _replayed(held: World, name: str, cost_nanos: int, told: Told, recorded: Mapping[str, Row]) -> Replayed:
    leaked, attempts = held.bill(told.calls)
    codes = Counter(row["refusal"] for call, row in recorded.items() if call in told.calls and row["refusal"])
    return Replayed(name, len(told.calls), cost_nanos, leaked, attempts, dict(codes))


def _recorded(held: World) -> Mapping[str, Row]:
    """Every call in the books."""
    return {row["id"]: row for row in held.gateway.cli("calls", "--limit", "100000")}


def _is_stop(heard: str) -> bool:
    return not heard.isdigit() and heard not in NOT_OURS | PROVIDERS_OWN


def table(incidents: Iterable[Replayed]) -> Iterable[str]:
    """The rows of the table in docs/incidents.md."""
    return (f"| {' | '.join(each.row)} |" for each in incidents)
