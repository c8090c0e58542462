"""An owner who leaves: said at once, a grace where work is in production, then no more."""

from pathlib import Path
from typing import Any

import pytest

from comptroller.control import identities, registry, tokens
from comptroller.control.problem import ControlProblem
from comptroller.core.identity.identity import FOREVER_NS, may_act
from comptroller.core.instant import NANOS_PER_SECOND
from tests.control.house import House, document, opened
from tests.harness.configuration import identity

WEEK_NS = 7 * 86_400 * NANOS_PER_SECOND
RED, BLUE = "red-lead@acme.example", "blue-lead@acme.example"
MEMBERS = {
    "agent/prod": identity("red", environment="production"),
    "agent/test": identity("red", environment="testing"),
    "agent/deputy": identity("red", environment="testing", deputy=BLUE),
    "agent/blue": identity("blue"),
}


async def leave(house: House, *gone: str) -> registry.PlanRow:
    owners = {name: {"team": name.partition("-")[0]} for name in (RED, BLUE) if name not in gone}
    return await registry.apply(house.office, document(identities=MEMBERS, owners=owners), "test")


def refused(house: House, name: str, later_ns: int = 0) -> str | None:
    known = house.gate.registry
    found = known.identities[name]
    no = may_act(found, known.answerable_until(found), house.gate.clock.expiry_ns() + later_ns)
    return no.code if no is not None else None


async def test_an_owner_leaves(tmp_path: Path) -> None:
    async with opened(tmp_path, identities=MEMBERS) as house:
        calls = {name: await house.hold(1, identity=name) for name in MEMBERS}
        done = await leave(house, RED)
        assert sorted(row.where for row in done.warnings if "any more" in row.sentence) == [
            'identities."agent/deputy".owner',
            'identities."agent/prod".owner',
            'identities."agent/test".owner',
        ]
        assert [row.sentence.partition(":")[0] for row in done.changes] == [f"disable owner {RED}"]
        assert {name: call.live.line.reason for name, call in calls.items()} == {
            "agent/prod": None,
            "agent/test": "stopped",
            "agent/deputy": None,
            "agent/blue": None,
        }
        for call in calls.values():
            call.settle(0)
        await _check(house)
    async with opened(tmp_path) as house:  # the books remember when
        await _check(house)
        again = await leave(house, RED)
        assert not again.applied
        await leave(house)
        assert [refused(house, name, 2 * WEEK_NS) for name in MEMBERS] == [None] * 4
        assert house.gate.registry.answerable_until(house.gate.registry.identities["agent/prod"]) == FOREVER_NS


async def _check(house: House) -> None:
    assert {name: (refused(house, name), refused(house, name, WEEK_NS)) for name in MEMBERS} == {
        "agent/prod": (None, "owner_missing"),
        "agent/test": ("owner_missing", "owner_missing"),
        "agent/deputy": (None, None),
        "agent/blue": (None, None),
    }
    rows: dict[str, Any] = {row.id: row for row in identities.list_identities(house.office)}
    assert rows["agent/test"].state == "ownerless"
    assert "nobody else answers for it; refused from" in rows["agent/prod"].warnings[0]
    assert f"the deputy {BLUE} answers for it" in rows["agent/deputy"].warnings[0]
    with pytest.raises(ControlProblem, match="not in the registry any more"):
        await tokens.mint(house.office, "agent/test", None, "test")
    assert (await tokens.mint(house.office, "agent/prod", 3600, "test")).lifetime_s == 3600


async def test_the_last_of_two_leaves(tmp_path: Path) -> None:
    async with opened(tmp_path, identities=MEMBERS) as house:
        await leave(house, RED)
        assert refused(house, "agent/deputy") is None
        await leave(house, RED, BLUE)
        assert refused(house, "agent/deputy") == "owner_missing"


async def test_no_credential_outlives_the_grace(tmp_path: Path) -> None:
    async with opened(tmp_path, identities=MEMBERS) as house:
        await leave(house, RED)
        owner = house.gate.registry.owners[RED]
        ended_ns = house.gate.clock.expiry_ns() - WEEK_NS + 60 * NANOS_PER_SECOND
        house.gate.registry.owners = {RED: type(owner)(RED, "red", disabled=True, disabled_at_ns=ended_ns)}
        minted = await tokens.mint(house.office, "agent/prod", 3600, "test")
        assert 50 <= minted.lifetime_s <= 60
