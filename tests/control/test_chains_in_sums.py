"""A budget that comes late has counted what it would have counted from the start: whole chains, each window once."""

import random
from pathlib import Path
from typing import Any

import pytest

from comptroller.control import budgets, correct, sessions, tokens
from comptroller.control.tokens import Minted, OpenRequest
from comptroller.flow.caller import Caller
from comptroller.flow.identify import identify
from tests.control.house import House, OpenCall, opened
from tests.harness.configuration import budget, identity, model

WHO = ("agent/ant", "agent/bee", "service/cee")
MODELS = {"sandbox-*": model("sandbox")}
ROOMY = {kind: {"depth": 8, "fan_out": 100} for kind in ("agent", "service")}

SCOPES: tuple[dict[str, Any], ...] = (
    {"organization": "acme"},
    {"team": "red"},
    {"team": ["blue", "green"]},
    {"identity": "agent/ant"},
    {"owner": "red-lead@acme.example", "kind": "agent"},
    {"model": "sandbox-small", "team": "blue"},
    {"tenant": "t1"},
    {"tenant": ["t1", "t2"], "team": "red"},
    {"subject": "ann", "identity": "agent/bee"},
    {"task_type": "ticket", "model_class": "standard"},
    {"workflow": "w", "kind": "service"},
)
PER = (None, "identity", "team", "owner", "kind", "session", "tenant", "subject", "task", "workflow", "model")
_NOTHING = ("0.00", "0.00")
LIMITS = ("9_000 USD", "1_000_000 tokens", "100_000 calls")


def identities(bee: str) -> dict[str, Any]:
    return {
        "agent/ant": identity("red"),
        "agent/bee": identity(bee, may_act=["agent/ant", "service/cee"]),
        "service/cee": identity("green", "service", may_act=["agent/ant", "agent/bee"]),
        "agent/other": identity("blue"),  # so that every team is there
    }


class World:
    """A house in which sessions are opened below others, spend, and end."""

    def __init__(self, house: House, chance: random.Random) -> None:
        self.house = house
        self.chance = chance
        self.minted: list[Minted] = []
        self.open: list[OpenCall] = []
        self.settled: list[str] = []

    async def open_session(self) -> None:
        chance, declared = self.chance, {}
        parent = chance.choice([*self.minted, None]) if self.minted else None
        above = () if parent is None else self.caller(parent).lineage
        said = [self.house.gate.sessions[each] for each in above]
        for name, values in (("subject", "ann bob"), ("tenant", "t1 t2"), ("workflow", "w v")):
            if chance.random() < 0.4 and not any(getattr(each, name) for each in said):
                declared[name] = chance.choice(values.split())
        if chance.random() < 0.4:
            declared |= {"task_type": "ticket", "task": f"T-{chance.randrange(3)}"}
        in_chain = {each.identity for each in said}
        free = [each for each in WHO if each not in in_chain]
        who = chance.choice(free) if free and (parent is None or chance.random() < 0.7) else None
        if parent is None:
            request = OpenRequest(identity=who, **declared)
        else:
            request = OpenRequest(identity=who, parent=parent.session, agreed=True, **declared)
        self.minted.append(await tokens.open_session(self.house.office, request, "test"))

    def caller(self, minted: Minted) -> Caller:
        caller = identify(self.house.gate, [minted.credential])
        assert isinstance(caller, Caller)
        return caller

    async def call(self) -> None:
        chance = self.chance
        names = ("sandbox-small", "sandbox-large")
        caller = self.caller(chance.choice(self.minted))
        self.open.append(await self.house.hold(100, caller=caller, model=chance.choice(names)))

    def settle(self) -> None:
        if self.open:
            call = self.open.pop(self.chance.randrange(len(self.open)))
            call.settle(self.chance.randrange(1, 101), tokens=self.chance.randrange(1, 11))
            self.settled.append(call.facts.call_id)

    async def end_one(self) -> None:
        if len(self.minted) > 3:
            ended = self.chance.choice(self.minted)
            await sessions.end_session(self.house.office, ended.session, "done", "test")
            now_ns = self.house.gate.clock.expiry_ns()
            self.minted = [each for each in self.minted if self.house.gate.sessions[each.session].goes_on(now_ns)]

    async def correct_one(self) -> None:
        if self.settled:
            call_id = self.chance.choice(self.settled)
            await correct.correct(self.house.office, call_id, self.chance.randrange(200), "the invoice", "test")

    async def some(self, times: int) -> None:
        for _ in range(times):
            if not self.minted or self.chance.random() < 0.2:
                await self.open_session()
            await self.call()
            if self.chance.random() < 0.6:
                self.settle()
            if self.chance.random() < 0.1:
                await self.end_one()


async def counted(house: House) -> dict[str, dict[str, tuple[Any, Any]]]:
    """What is posted and held, by budget and instance; of sessions, those that go on."""
    going_on = house.office.going_on()
    found: dict[str, dict[str, tuple[Any, Any]]] = {}
    for row in await budgets.list_budgets(house.office):
        if (row.per != "session" or row.instance in going_on) and (row.posted, row.held) not in {(0, 0), _NOTHING}:
            found.setdefault(row.name, {})[row.instance] = (row.posted, row.held)
    return found


@pytest.mark.parametrize("seed", range(10))
async def test_a_late_budget_has_counted_what_it_would_have_from_the_start(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    shapes = [
        {"scope": chance.choice(SCOPES), "per": chance.choice(PER), "limit": chance.choice(LIMITS)} for _ in range(12)
    ]
    shapes = [{name: value for name, value in shape.items() if value is not None} for shape in shapes]
    windows = [chance.choice(["lifetime", "month"]) for _ in shapes]
    early = [budget(f"early{n}", window=w, **s) for n, (s, w) in enumerate(zip(shapes, windows, strict=True))]
    late = [budget(f"late{n}", window=w, **s) for n, (s, w) in enumerate(zip(shapes, windows, strict=True))]
    known: dict[str, Any] = {"models": MODELS, "bounds": ROOMY}
    async with opened(tmp_path, budgets=early, identities=identities("blue"), **known) as house:
        world = World(house, chance)
        await world.some(25)
        await house.apply(budgets=early, identities=identities("red"), **known)  # who answers for bee changes
        await world.some(15)
        await world.correct_one()
        await house.apply(budgets=[*early, *late], identities=identities("red"), **known)
        same(await counted(house), shapes)
        await world.some(10)
        for _ in range(3):
            await world.correct_one()  # of calls from before it came, too
        while world.open:
            world.settle()
        same(await counted(house), shapes)
        after = await counted(house)
    async with opened(tmp_path) as again:
        assert await counted(again) == after


def same(found: dict[str, Any], shapes: Any) -> None:
    for n, shape in enumerate(shapes):
        assert found.get(f"late{n}") == found.get(f"early{n}"), shape


async def test_a_chain_of_one_identity_and_of_none_below_others_adds_nothing(tmp_path: Path) -> None:
    """Ephemeral children stand under their parent's identity: their calls make no other sums than its own."""
    async with opened(tmp_path, identities=identities("blue"), bounds=ROOMY) as house:
        office = house.office
        top = await tokens.open_session(office, OpenRequest(identity="agent/ant"), "test")
        below = await tokens.open_session(office, OpenRequest(parent=top.session), "test")
        bee = await tokens.open_session(
            office, OpenRequest(identity="agent/bee", parent=below.session, agreed=True), "test"
        )
        callers = [identify(house.gate, [each.credential]) for each in (top, below, bee)]
        above = [[each.identity for each in caller.above] for caller in callers if isinstance(caller, Caller)]
        assert above == [[], [], ["agent/ant"]]
