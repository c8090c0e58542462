"""A grant for a task is for the work of one identity on it: whoever opens a session says what task it is for."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from comptroller.control import approvals, grants, tokens
from comptroller.control.approval_rows import TermsSent
from comptroller.control.problem import ControlProblem
from comptroller.core.approval.decide import Wanted
from comptroller.core.approval.ticket import Terms
from comptroller.flow.approvals import asked_by, task_of
from comptroller.flow.caller import Caller
from comptroller.flow.identify import identify
from comptroller.flow.lift import keys_of
from tests.control.house import House, opened
from tests.control.test_approvals import ADA, BUDGETS, ROLES, USD, WHY, add_all, asked

TASK = tokens.OpenRequest(identity="agent/ant", task_type="support", task="77")
FOR_TASK = Wanted(
    role="finops",
    value="agent/ant:support:77",
    terms=Terms(amount=USD, uses=None, bound="task"),
    suspends=True,
)


def found_by(house: House, opened: tokens.Minted) -> Sequence[str]:
    caller = identify(house.gate, [opened.credential])
    assert isinstance(caller, Caller)
    return [each.id for each in house.gate.approvals.applying(keys_of(house.gate, caller), "finops", 0)]


async def test_whoever_names_the_task_of_another_identity_has_nothing_of_its_grants(tmp_path: Path) -> None:
    async with opened(tmp_path, budgets=BUDGETS, approvals=ROLES) as house:
        await add_all(house)
        office, gate = house.office, house.gate
        ant = await tokens.open_session(office, TASK, "olga")
        again = await tokens.open_session(office, TASK, "olga")
        same_words = await tokens.open_session(office, msgspec.structs.replace(TASK, identity="agent/bee"), "olga")
        child = msgspec.structs.replace(TASK, identity="agent/bee", parent=ant.session, agreed=True, by_operator=True)
        below = await tokens.open_session(office, child, "olga")
        session = gate.sessions[ant.session]
        ticket = await asked(
            house, session=session.id, task=task_of(gate, session), requested_by=asked_by(gate, session)
        )
        done = await approvals.approve(office, ticket, TermsSent(bound="task"), WHY, ADA)
        assert done.grant is not None
        assert done.grant.value == "agent/ant:support:77"
        given = await grants.give(office, FOR_TASK, WHY, ADA)
        both = {done.grant.id, given.id}
        assert [{*found_by(house, each)} for each in (ant, again, below)] == [both] * 3
        assert found_by(house, same_words) == []


@pytest.mark.parametrize("value", ["support:77", "agent/bee:support:77", "agent/ant:support:78", "agent/ant"])
async def test_a_grant_for_a_task_says_whose_it_is(tmp_path: Path, value: str) -> None:
    async with opened(tmp_path, budgets=BUDGETS, approvals=ROLES) as house:
        await add_all(house)
        await tokens.open_session(house.office, TASK, "olga")
        with pytest.raises(ControlProblem, match="No open session serves the task"):
            await grants.give(house.office, msgspec.structs.replace(FOR_TASK, value=value), WHY, ADA)
