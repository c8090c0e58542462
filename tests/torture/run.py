"""One run: start everything, let clients and chaos loose for a while, wait until it is quiet, judge."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SRC, SandboxProcess
from tests.torture import drills, judge
from tests.torture.books import Books, read_bill, read_books
from tests.torture.chaos import Chaos, goes_on
from tests.torture.client import Client, Told
from tests.torture.judge import Verdict
from tests.torture.memory import Memory
from tests.torture.office import AdminOffice
from tests.torture.plan import Plan
from tests.torture.sessions import Sessions
from tests.torture.world import IDENTITIES, KEYS, Mode, first_limits, process_table, registry_table

QUIET_S = 40.0
AFTERWARDS_S = 100.0
LAST_CALLS_S = 10.0
POLL_S = 0.1
LONGER_MOST_S = 90.0
SAMPLE_EVERY_S = 1.0
SAMPLES_MOST = 60
PROGRESS_EVERY_S = 3.0
WEIGH_EVERY_S = 2.0
CLIENTS_A_SESSION = 3
DRAIN_S = 1.0

Say = Callable[[str], None]
Enough = Callable[[Counter[str], Told], bool]
"""Asked with how calls ended, by their outcomes, and with what callers were told."""


@dataclass(frozen=True)
class Options:
    """What a run is told."""

    seed: int = 1
    seconds: float = 10.0
    clients: int = 64
    durability: str = "power"
    source: Path = SRC
    brief: bool = False  # no drills and no last restart
    enough: Enough | None = None  # it goes on until this is so; for a while


@dataclass
class Result:
    """What a run did, and how it was judged."""

    mode: Mode
    options: Options
    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    facts: dict[str, str] = field(default_factory=dict[str, str])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    told: Told = field(default_factory=Told)

    @property
    def passed(self) -> bool:
        return all(verdict.passed for verdict in self.verdicts)

    def failed(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if not verdict.passed]


class Run:
    """The parts of one run while it lasts."""

    def __init__(self, mode: Mode, options: Options, folder: Path, say: Say) -> None:
        self.mode: Mode = mode
        self.options = options
        self.result = Result(mode, options)
        self._say = say
        self._folder = folder
        self._pictures: list[str] = []
        self._samples = 0
        self._memory = Memory()
        self._enough = asyncio.Event()
        self._stop = asyncio.Event()

    async def go(self) -> Result:
        with SandboxProcess() as sandbox, self._gateway(sandbox) as gateway:
            office = AdminOffice(gateway, self.options.seed, self.mode)
            chaos = Chaos(gateway, sandbox, office, self.options.seed, self.mode)
            await self._storm(gateway, sandbox, office, chaos)
            await self._quiet(sandbox, office)
            if not self.options.brief and self.mode != "soak":  # books of that length are not read before holds end
                await self._drill(gateway, office)
                await self._quiet(sandbox, office)
            await self._judge(gateway, sandbox, office, chaos)
            self._note(gateway, office, chaos)
        return self.result

    def _gateway(self, sandbox: SandboxProcess) -> GatewayProcess:
        return GatewayProcess(
            self._folder,
            process_table(sandbox.url, self.options.durability, DRAIN_S),
            registry_table(first_limits(self.mode), self.mode, late=False),
            env=KEYS,
            source=self.options.source,
        )

    # The storm.

    async def _storm(self, gateway: GatewayProcess, sandbox: SandboxProcess, office: AdminOffice, chaos: Chaos) -> None:
        identities = tuple(IDENTITIES)
        count = max(len(identities), self.options.clients // CLIENTS_A_SESSION)
        sessions = Sessions(tuple(identities[slot % len(identities)] for slot in range(count)), office.mint)
        clients = [
            Client(gateway.port, sessions, self.result.told, self._stop).run(
                Plan(self.options.seed, self.mode, number, len(sessions)).steps()
            )
            for number in range(self.options.clients)
        ]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sample(gateway))
            group.create_task(self._report(sandbox, chaos))
            if self.mode == "soak":
                group.create_task(self._weigh(gateway))
            group.create_task(chaos.go(self._stop))
            group.create_task(self._end([group.create_task(client) for client in clients]))

    async def _end(self, clients: Sequence[asyncio.Task[None]]) -> None:
        """Start nothing new; a little later all who are still there hang up at once."""
        await asyncio.sleep(self.options.seconds)  # sleep: how long the run lasts
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._enough.wait(), 0 if self.options.enough is None else LONGER_MOST_S)
        self._stop.set()
        await asyncio.wait(clients, timeout=min(LAST_CALLS_S, self.options.seconds / 5))
        for client in clients:
            client.cancel()

    async def _sample(self, gateway: GatewayProcess) -> None:
        """Look at the store while calls are in flight: one transaction is one picture."""
        every_s = max(SAMPLE_EVERY_S, self.options.seconds / SAMPLES_MOST)
        while await goes_on(self._stop, every_s):
            books = await asyncio.to_thread(read_books, gateway.state)
            self._samples += 1
            if self.options.enough is not None and self.options.enough(outcomes(books), self.result.told):
                self._enough.set()
            self._pictures += judge.picture(books, bounded=self.mode != "overrun")

    async def _weigh(self, gateway: GatewayProcess) -> None:
        while await goes_on(self._stop, WEIGH_EVERY_S):
            self._memory.weigh(gateway.pid)

    async def _report(self, sandbox: SandboxProcess, chaos: Chaos) -> None:
        began = time.monotonic()
        told = self.result.told
        while await goes_on(self._stop, max(PROGRESS_EVERY_S, self.options.seconds / SAMPLES_MOST)):
            bill = await asyncio.to_thread(sandbox.total)
            self._say(
                f"  {time.monotonic() - began:5.0f} s: {told.steps} steps, {told.statuses[200]} answered, "
                f"{sum(told.refusals.values())} refused, {bill['requests']} upstream, {bill['charge_usd']} USD billed"
                f"{chaos.says()}{self._memory.says()}"
            )

    # The judgement.

    async def _quiet(self, sandbox: SandboxProcess, office: AdminOffice) -> None:
        """Wait until nothing is held and the provider works on nothing. What does not end is for the judge."""
        until = time.monotonic() + QUIET_S
        while time.monotonic() < until:
            lines = await asyncio.to_thread(sandbox.requests)
            rows = await office.budgets()
            if not any(judge.amount_of(row, "held") for row in rows) and all(line["state"] != "open" for line in lines):
                return
            await asyncio.sleep(POLL_S)  # sleep: polling two processes

    async def _drill(self, gateway: GatewayProcess, office: AdminOffice) -> None:
        if self.mode == "overrun":
            self.result.verdicts.append(await drills.quarantine(gateway, office))
        else:
            self.result.verdicts.append(await drills.standing_holds(gateway, office))

    async def _judge(self, gateway: GatewayProcess, sandbox: SandboxProcess, office: AdminOffice, chaos: Chaos) -> None:
        rows, shown = await office.budgets(), await office.calls()
        books = await asyncio.to_thread(read_books, gateway.state)
        bill = read_bill(await asyncio.to_thread(sandbox.requests))
        told = self.result.told
        verdicts = [
            *judge.money(books, bill),
            *judge.upstream(books, bill),
            *judge.settled_once(books),
            *judge.sums(books, rows),
            judge.none_of("every picture taken on the way adds up", self._pictures, self._samples),
            judge.stopped(books),
            judge.headers_told(books, told.charges),
            judge.none_of("callers heard nothing that must not be said", told.wrong, told.steps),
            judge.none_of(
                "every call was answered in time", [f"{told.forgotten} were not"] * bool(told.forgotten), told.steps
            ),
            judge.none_of("every operator was answered in time", office.forgotten, office.minted),
            judge.none_of("the API shows what the store has", _differences(shown, books), len(shown)),
            *((judge.limits(rows),) if self.mode != "overrun" else judge.overruns(books, bill)),
        ]
        if self.mode == "soak":
            verdicts.append(self._memory.verdict())
            self.result.facts["memory, MiB"] = self._memory.story()
        if not self.options.brief:
            await asyncio.to_thread(chaos.last_restart)
            verdicts += _after_restart(rows, await office.budgets())
        chaos.exit_codes.append(await asyncio.to_thread(gateway.sigterm))
        wrong = [f"exit code {code}" for code in chaos.exit_codes if code != 0]
        verdicts.append(judge.none_of("SIGTERM ends it with exit code 0", wrong, len(chaos.exit_codes)))
        verdicts += _clean(gateway)
        self.result.verdicts += verdicts
        self._count(books, sandbox)

    def _count(self, books: Books, sandbox: SandboxProcess) -> None:
        result = self.result
        result.outcomes = outcomes(books)
        recorded = sum(call.charge.usd for call in books.attempts())
        presumed = sum(call.charge.usd for call in books.attempts() if call.state == "presumed")
        result.facts |= {
            "billed": f"{sandbox.total()['charge_usd']} USD",
            "recorded": f"{recorded / 1e9:.9f} USD",
            "presumed share": f"{presumed / recorded:.1%}" if recorded else "0%",
            "requests upstream": str(sandbox.count()),
            "tried at a second provider": str(sum(call.attempts > 1 for call in books.attempts())),
        }

    def _note(self, gateway: GatewayProcess, office: AdminOffice, chaos: Chaos) -> None:
        told = self.result.told
        self.result.facts |= {
            "steps": str(told.steps),
            "kills": str(chaos.kills),
            "restarts": str(chaos.restarts),
            "troubles": ", ".join(f"{n} {kind}" for kind, n in chaos.troubles.items()),
            "sessions minted, ended": f"{office.minted}, {office.ended}",
            "limits raised": str(office.raises),
            "stops": str(office.stops),
            "models resumed": str(office.resumed),
            "broken connections": str(told.broken),
            "faults answered": ", ".join(f"{n} {name}" for name, n in told.faults.most_common()),
            "answered": ", ".join(f"{n} {name}" for name, n in told.answered.most_common()),
            "refusals": ", ".join(f"{n} {name}" for name, n in told.refusals.most_common()),
            "manners": ", ".join(f"{n} {name}" for name, n in told.manners.most_common()),
            "logged": ", ".join(f"{n} {event}" for event, n in _logged(gateway.log()).most_common()),
        }


def outcomes(books: Books) -> Counter[str]:
    """How calls ended so far, and how many are open."""
    return Counter(call.outcome or call.state for call in books.calls.values())


def _differences(shown: Sequence[Mapping[str, Any]], books: Books) -> list[str]:
    """Where `calls` of the API and the tables disagree."""
    wrong: list[str] = []
    if len({row["id"] for row in shown}) != len(shown) or len(shown) != len(books.calls):
        wrong.append(f"{len(shown)} calls are shown, {len(books.calls)} are in the tables")
    for row in shown:
        call = books.calls.get(row["id"])
        charge = judge.nanos(row["charge_usd"]) if row["charge_usd"] is not None else 0
        if call is None or charge != call.charge.usd or row["presumed"] != (call.state == "presumed"):
            wrong.append(f"{row['id']} is shown as {row['outcome']}, {row['charge_usd']} USD; the tables have {call}")
    return wrong


def _logged(log: str) -> Counter[str]:
    """The events in the gateway's log."""
    return Counter(json.loads(line)["event.name"] for line in log.splitlines() if line.startswith("{"))


def _strange(log: str) -> list[str]:
    """Lines that are neither a JSON object nor what `serve` says when it is ready, or cannot be for a locked store."""
    ours = ("{", "comptroller listens on ", "error: The gateway does not start: ")
    return [line for line in log.splitlines() if not line.startswith(ours)]


def _after_restart(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    held = [f"{row['name']}[{row['instance']}]" for row in after if judge.amount_of(row, "held")]
    return [
        judge.same("after a restart every window is the same", before, after),
        judge.none_of("nothing is held after the restart", held, len(after)),
    ]


def _clean(gateway: GatewayProcess) -> list[Verdict]:
    words = {f"provider key {name}": key for name, key in KEYS.items()}
    words |= {"a session credential": "cptr_ey", "the admin credential": gateway.admin_token()}
    log = gateway.log().encode()
    files = {path.name: path.read_bytes() for path in gateway.state.glob("comptroller.db*")}
    return [
        judge.clean("no secret in the log or the database", files | {"the log": log}, words),
        judge.clean(
            "no traceback in the log",
            {"the log": log},
            {"a traceback": "Traceback", "a fault": '"fault"', "a fault beside": '"loop_fault"'},
        ),
        judge.none_of("every line of the log is one of ours", _strange(gateway.log()), gateway.log().count("\n")),
    ]


async def run(mode: Mode, options: Options, folder: Path, say: Say = lambda line: None) -> Result:
    """One run in one mode; the folder keeps what is left of it. Raises TimeoutError if something never ends."""
    longer_s = 0.0 if options.enough is None else LONGER_MOST_S
    async with asyncio.timeout(1.5 * options.seconds + longer_s + AFTERWARDS_S):
        return await Run(mode, options, folder, say).go()
