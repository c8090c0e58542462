"""Which tools a run has used: of all of its sessions, at once and after a restart, as long as one of them is."""

from pathlib import Path

import msgspec

from comptroller.core.refusal import Refusal
from comptroller.flow.records import Refused
from comptroller.flow.used import ToolsUsed
from tests.control.house import opened
from tests.control.test_lineage import BOUNDS, start


def test_a_run_knows_what_it_has_used_in_the_order_of_names() -> None:
    used = ToolsUsed({"s1": ["files/read", "desk/echo"]})
    used.add("s1", "files/read")
    used.add("s1", "a/b")
    used.add("s2", "desk/echo")
    assert (used.of("s1"), used.of("s2"), used.of("s3")) == (
        ("a/b", "desk/echo", "files/read"),
        ("desk/echo",),
        (),
    )


async def test_it_is_forgotten_with_the_last_session_of_the_run(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top = await start(house)
        child = await start(house, top)
        gate = house.gate
        gate.tools_used.add(top.session, "desk/echo")
        gate.forget_session(gate.sessions[child.session])
        assert gate.tools_used.of(top.session) == ("desk/echo",)
        gate.forget_session(gate.sessions[top.session])
        assert gate.tools_used.of(top.session) == ()


async def test_the_books_know_what_was_let_through(tmp_path: Path) -> None:
    async with opened(tmp_path, bounds=BOUNDS) as house:
        top, other = await start(house), await start(house)
        child = await start(house, top)
        for session, tool in ((top, "desk/echo"), (top, "desk/echo"), (child, "vault/read"), (other, "desk/fetch")):
            (await house.hold(1, session=session.session, tool=tool)).settle(1)
        await house.spend(1, session=top.session)
        said_no = (await house.hold(1, session=top.session)).facts
        facts = msgspec.structs.replace(said_no, call_id="call_no", tool="desk/pay")
        house.gate.journal.offer(Refused(facts, Refusal("policy_forbidden", "No.", "Nothing.")))
        await house.store.fold()
        tops = [top.session, other.session]
        known = {run: sorted(tools) for run, tools in (await house.store.tools_used(tops)).items()}
        assert known == {top.session: ["desk/echo", "vault/read"], other.session: ["desk/fetch"]}
