"""Pins after a restore: what was held back stays so, and accepted is only what both stores have accepted."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from comptroller.control import changes, tool_pins
from comptroller.core.tool.definition import read_definition
from comptroller.core.tool.pin import showing
from comptroller.flow.records import PinChanged
from comptroller.store.pins import known
from tests.control.house import House
from tests.control.test_tools import POISON, Tool, governed, listed
from tests.store.test_restore import back_up, lose, restore


def states(house: House) -> Mapping[str, str]:
    return {pin.tool: pin.state for pin in house.gate.pins.all()}


async def accept(house: House, tool: Tool, how: Any = tool_pins.accept) -> None:
    await how(house.office, f"files/{tool.name}", tool.digest, "looked at it", "ada")


async def test_what_is_usable_is_what_both_stores_have_accepted(tmp_path: Path) -> None:
    state = tmp_path / "state"
    second = Tool("accepted", "second")
    names = ("same", "changed", "accepted", "rejected", "undone")
    async with governed(state) as house:
        listed(house, *map(Tool, names))
        await house.store.fold()
        made = back_up(state)
        listed(house, Tool("changed", POISON), second, Tool("new"))
        await accept(house, second)
        await accept(house, Tool("new"))
        await accept(house, Tool("rejected"), tool_pins.reject)
    restore(state, made)
    async with governed(state) as house:
        assert states(house) == {
            "same": "pinned",
            "changed": "changed",
            "accepted": "waiting",  # that of the backup was replaced since, and the new one is not known here
            "rejected": "rejected",
            "undone": "pinned",
            "new": "waiting",
        }
        assert {*listed(house, Tool("same"), Tool("accepted"), second, Tool("new"))} == {"accepted", "new"}
        shown = await tool_pins.show_tool(house.office, "files/changed")
        assert [each.new for each in shown.differences] == [POISON]
        carried = [row.key for row in await changes.list_changes(house.office) if row.verb == "carry"]
        assert sorted(carried) == ["files/accepted", "files/changed", "files/new", "files/rejected"]


async def test_what_a_dead_process_has_not_folded_is_known(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with governed(state) as house:
        listed(house, Tool("read"))
        await house.store.fold()
        pin = house.gate.pins.pin("files", "read")
    assert pin is not None
    changed = showing(pin, read_definition("read", Tool("read", POISON).raw), (), 2)
    with closing(sqlite3.connect(state / "comptroller.db")) as connection:
        found = known(connection, [PinChanged(2, "gateway", changed, "the text of it")])
    assert found.pins == {("files", "read"): changed}
    assert found.texts["files", "read", changed.shown] == "the text of it"
    assert ("files", "read", pin.digest) in found.texts


async def test_a_lost_store_leaves_what_the_backup_had(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with governed(state) as house:
        listed(house, Tool("read"))
        await house.store.fold()
        made = back_up(state)
        listed(house, Tool("read", POISON))
    lose(state)
    restore(state, made, "accept")
    async with governed(state) as house:
        assert {*listed(house, Tool("read", POISON))} == {"read"}
