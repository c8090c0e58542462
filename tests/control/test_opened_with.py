"""The credentials that a session was opened with: what they may be, and what stopping one of them stops."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from comptroller.control import stops, tokens
from comptroller.control.caller_api import CallerApi
from comptroller.control.problem import ControlProblem
from comptroller.control.tokens import OpenRequest
from comptroller.core.identity.credential import Claims
from comptroller.core.work.bounds import Bounds
from tests.control.house import House, opened
from tests.control.test_delegation import BOUNDS, IDENTITIES, Sent, ask, caller_of, refusal, start


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with opened(tmp_path, identities=IDENTITIES, bounds=BOUNDS) as house:
        yield house


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"models": ("sandbox-small",)}, "has less than agent/cat may have"),
        ({"tools": ("search",)}, "has less than agent/cat may have"),
        ({"bounds": Bounds(usd_nanos=1000)}, "has less than agent/cat may have"),
        ({"tenant": "shop-7"}, "is for another tenant"),
        ({"subject": "dana"}, "is for another subject"),
    ],
)
async def test_a_credential_of_a_narrower_session_speaks_for_that_session_alone(
    house: House, given: dict[str, Any], why: str
) -> None:
    """Else whoever holds it would open a session that may do more than it can."""
    top = await start(house)
    cat = await tokens.open_session(house.office, OpenRequest(identity="agent/cat", **given), "admin")
    wanted = {"identity": "agent/cat", "actor_token": cat.credential}
    status, problem = await ask(house, "POST", "", top, wanted)
    assert (status, problem["code"]) == (409, "delegation_forbidden")
    assert why in problem["detail"]


async def test_nor_does_one_of_a_session_that_stands_below_another(house: House) -> None:
    other = await tokens.open_session(house.office, OpenRequest(identity="agent/cat"), "admin")
    child = await tokens.open_session(
        house.office, OpenRequest(parent=other.session, identity="agent/bee", agreed=True), "admin"
    )
    wanted = {"identity": "agent/bee", "actor_token": child.credential}
    status, problem = await ask(house, "POST", "", await start(house), wanted)
    assert (status, problem["code"]) == (409, "delegation_forbidden")
    assert f"stands below {other.session}" in problem["detail"]


async def test_what_an_actor_opens_ends_no_later_than_its_own_session_and_is_stopped_with_its_credential(
    house: House,
) -> None:
    top = await start(house, tenant="shop-7")
    cat = await tokens.mint(house.office, "agent/cat", 60, "admin")
    status, said = await ask(house, "POST", "", top, {"identity": "agent/cat", "actor_token": cat.credential})
    assert status == 201
    child = house.gate.sessions[said["session"]["id"]]
    assert child.expires_at_ns == house.gate.sessions[cat.session].expires_at_ns
    assert child.tenant == "shop-7"
    leaked = caller_of(house, cat).claims.credential_id
    await stops.suspend(house.office, "credential", leaked, "leaked", "dana")
    assert (await ask(house, "GET", "/self", said["credential"]))[1]["code"] == "credential_suspended"


async def test_a_stopped_credential_stops_what_was_opened_with_it_and_no_more(house: House) -> None:
    top = await start(house)
    by_operator = await start(house, top)
    _, said = await ask(house, "POST", "", top, {"name": "reader"})
    _, below = await ask(house, "POST", "", said["credential"], {"name": "deeper"})
    leaked = caller_of(house, top).claims.credential_id
    await stops.suspend(house.office, "credential", leaked, "leaked", "dana")
    for credential in (top, said["credential"], below["credential"]):
        assert (await ask(house, "GET", "/self", credential))[1]["code"] == "credential_suspended"
    assert refusal(house, by_operator) is None
    assert (await stops.suspend(house.office, "credential", leaked, "leaked", "dana")).already_stopped


async def test_nothing_is_opened_with_a_credential_that_is_stopped_while_the_body_comes(house: House) -> None:
    top = await start(house)
    leaked = caller_of(house, top).claims.credential_id

    class Slow(Sent):
        async def body(self) -> bytes:
            await stops.suspend(house.office, "credential", leaked, "leaked", "dana")
            return await super().body()

    before = len(house.gate.sessions)
    answer = await CallerApi(house.office)("POST", "/comptroller/v1/sessions", Slow(top.credential, {}))  # type: ignore[arg-type]
    assert (answer.status, json.loads(answer.body)["code"]) == (403, "credential_suspended")
    assert len(house.gate.sessions) == before


async def test_every_credential_is_on_record_and_can_be_stopped_before_it_is_used(house: House) -> None:
    top = await start(house)
    fresh = await tokens.fresh_credential(house.office, top.session, None, "admin")
    credential = caller_of(house, fresh).claims.credential_id
    minted = [json.loads(each.after or "{}") for each in await house.store.changes(10) if each.verb == "mint"]
    assert [each["credential"] for each in minted] == [credential, house.gate.sessions[top.session].credential]
    house.gate.callers.clear()  # nobody remembers who has called
    made = await stops.suspend(house.office, "credential", credential, "leaked", "dana")
    assert list(made.warnings) == [f"No credential {credential!r} is in use now. The stop holds for it all the same."]
    assert (refusal(house, fresh), refusal(house, top)) == ("credential_suspended", None)
    with pytest.raises(ControlProblem):
        await stops.suspend(house.office, "credential", "crd_nope", "leaked", "dana")


async def test_the_record_says_which_credential_asked_for_another(house: House) -> None:
    """Whoever has found one may have got others with it, for children that were there before."""
    top = await start(house)
    child = await start(house, top)
    status, said = await ask(house, "POST", f"/{child.session}/credential", top, {})
    assert status == 201
    issued = house.gate.credentials.verify(said["credential"], house.gate.clock.expiry_ns())
    assert isinstance(issued, Claims)
    (minted, *_) = [json.loads(each.after or "{}") for each in await house.store.changes(10, "credential")]
    assert minted["credential"] == issued.credential_id
    assert minted["asked_with"] == caller_of(house, top).claims.credential_id
