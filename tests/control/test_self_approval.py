"""Nobody approves what they ask for themselves, by whatever way they came to ask."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from comptroller.control import admins, approvals, bootstrap, grants, tokens
from comptroller.control.approval_rows import TermsSent
from comptroller.control.caller_api import CallerApi
from comptroller.control.exchange import CLIENT_CREDENTIALS
from comptroller.control.problem import ControlProblem
from comptroller.core.approval.decide import Wanted
from comptroller.core.approval.ticket import Terms
from comptroller.core.identity.admin import Actor
from comptroller.flow.approvals import asked_by
from comptroller.flow.identify import identify
from comptroller.flow.lift import keys_of, usable
from tests.control.house import House, opened
from tests.control.test_approvals import ADA, BUDGETS, EVE, ROLES, USD, WHY, add_all, asked
from tests.control.test_caller_api import FORM, Sent
from tests.control.test_proof import TRUSTED, exchanged
from tests.harness.configuration import identity
from tests.harness.issuer import IssuerProcess

ANT = identity("red", federated=[{"issuer": "main", "subject": "e-17"}], deputy="blue-lead@acme.example")
IDENTITIES = {"agent/ant": ANT, "agent/bee": identity("blue")}
FOR_ANT = Wanted(
    role="finops", value="agent/ant", terms=Terms(amount=USD, uses=None, bound="identity"), suspends=True, budgets=()
)


@pytest.fixture(scope="module")
def issuer() -> Iterator[IssuerProcess]:
    with IssuerProcess() as running:
        yield running


def wide_open(tmp_path: Path, issuer: IssuerProcess | None = None) -> Any:
    main = {**TRUSTED, "url": issuer.url if issuer else "https://id.acme.example"}
    finops = ROLES["finops"] | {"approvers": ["ada", "eve", "blue-lead@acme.example"]}
    roles = ROLES | {"finops": finops}
    return opened(tmp_path, budgets=BUDGETS, approvals=roles, identities=IDENTITIES, issuers={"main": main})


def eve_logs_in(house: House) -> None:
    eve = house.office.admins.get("eve")
    assert eve is not None
    house.office.admins = house.office.admins.with_admin(msgspec.structs.replace(eve, issuer="main", subject="e-17"))


def usable_by(house: House, credential: str) -> Sequence[str]:
    caller = identify(house.gate, [credential])
    found = house.gate.approvals.held_by(keys_of(house.gate, caller), house.gate.clock.expiry_ns())  # type: ignore[arg-type]
    return [each.id for each in usable(house.gate, caller, found)]  # type: ignore[arg-type]


async def test_whoever_opened_a_session_by_a_token_of_an_issuer_does_not_answer_for_it(
    tmp_path: Path, issuer: IssuerProcess
) -> None:
    async with wide_open(tmp_path, issuer) as house:
        await add_all(house)
        eve_logs_in(house)
        status, said = await exchanged(house, issuer.token(sub="e-17"))
        assert status == 200
        session = house.gate.sessions[said["session"]]
        ticket = await asked(house, session=session.id, requested_by=asked_by(house.gate, session))
        with pytest.raises(ControlProblem) as problem:
            await approvals.approve(house.office, ticket, TermsSent(), WHY, EVE)
        assert problem.value.code == "own_request"
        by_eve = await grants.give(house.office, FOR_ANT, WHY, EVE)
        by_ada = await grants.give(house.office, FOR_ANT, WHY, ADA)
        assert usable_by(house, said["access_token"]) == [by_ada.id]
        others = await tokens.mint(house.office, "agent/ant", None, "olga")
        assert usable_by(house, others.credential) == [by_eve.id, by_ada.id]


async def test_a_grant_is_of_no_use_to_a_session_that_its_approver_opened(tmp_path: Path) -> None:
    async with wide_open(tmp_path) as house:
        await add_all(house)
        given = await grants.give(house.office, FOR_ANT, WHY, ADA)
        own = await tokens.mint(house.office, "agent/ant", None, "ADA")
        others = await tokens.mint(house.office, "agent/ant", None, "olga")
        assert usable_by(house, own.credential) == []
        assert usable_by(house, others.credential) == [given.id]
        ticket = await asked(house, amount=20 * USD)
        for who in (EVE, ADA):  # ada is the second of two
            await approvals.approve(house.office, ticket, TermsSent(bound="identity"), WHY, who)
        assert len(usable_by(house, others.credential)) == 2
        assert usable_by(house, own.credential) == []


async def test_a_deputy_stands_for_the_owner_and_does_not_answer_either(tmp_path: Path) -> None:
    deputy = Actor("blue-lead@acme.example", "approver", named=True)
    async with wide_open(tmp_path) as house:
        await admins.add(house.office, deputy.name, "approver", None, None, None, "test")
        ticket = await asked(house)
        with pytest.raises(ControlProblem) as problem:
            await approvals.approve(house.office, ticket, TermsSent(), WHY, deputy)
        assert problem.value.code == "own_request"
        with pytest.raises(ControlProblem) as problem:
            await grants.give(house.office, FOR_ANT, WHY, deputy)
        assert problem.value.code == "own_request"


async def test_whoever_issued_the_secret_of_a_session_does_not_answer_for_it(tmp_path: Path) -> None:
    """Nor after a start, when the secret is not shown again."""
    async with wide_open(tmp_path) as house:
        await add_all(house)
        issued = await bootstrap.issue_secret(house.office, "agent/ant", 3600, "eve")
        form = {"grant_type": CLIENT_CREDENTIALS, "client_id": "agent/ant", "client_secret": issued.secret}
        said = await CallerApi(house.office)("POST", "/oauth/token", Sent([FORM], urlencode(form).encode()))
        assert said.status == 200
        opened_with = json.loads(said.body)["session"]
        assert "eve" in asked_by(house.gate, house.gate.sessions[opened_with])
        house.gate.approvals.behind.clear()  # as at a start
        await bootstrap.go_on(house.office)
        session = house.gate.sessions[opened_with]
        ticket = await asked(house, session=session.id, requested_by=asked_by(house.gate, session))
        with pytest.raises(ControlProblem) as problem:
            await approvals.approve(house.office, ticket, TermsSent(), WHY, EVE)
        assert problem.value.code == "own_request"
