"""Bootstrap secrets where only the office can look: whose they are after a restore, and what happens without a disk."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from comptroller.control.bootstrap import issue_secret, list_secrets, revoke_secret, secret_that_holds
from comptroller.control.guesses import MOST_LOOKS
from comptroller.control.problem import ControlProblem
from comptroller.core.identity.secret import BootstrapSecret
from comptroller.store.keyring import FILE_NAME
from tests.control.house import opened

DAY_S = 86_400


async def test_a_secret_outlives_a_restart_and_the_rotation_of_signing_keys(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        secret = (await issue_secret(house.office, "agent/ant", DAY_S, "dana")).secret
        house.keyring.rotate(house.gate.clock.now_ns(), distrust_old=True)
    async with opened(tmp_path) as house:
        assert isinstance(await secret_that_holds(house.office, "agent/ant", secret), BootstrapSecret)


async def test_a_store_without_its_keys_believes_no_secret(tmp_path: Path) -> None:
    """As after a restore, and as wherever else a copy of the store is opened."""
    async with opened(tmp_path) as house:
        secret = (await issue_secret(house.office, "agent/ant", DAY_S, "dana")).secret
    (tmp_path / FILE_NAME).unlink()
    async with opened(tmp_path) as house:
        assert await secret_that_holds(house.office, "agent/ant", secret) == "This is no secret of this identity."


async def test_a_secret_that_was_taken_back_stays_so_and_says_who_did_it_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        issued = await issue_secret(house.office, "agent/ant", DAY_S, "dana")
        await revoke_secret(house.office, issued.id, "a leak", "dana")
        again = await revoke_secret(house.office, issued.id, "once more", "eve")
        assert (again.revoked_by, again.revoked_reason) == ("dana", "a leak")
    async with opened(tmp_path) as house:
        said = await secret_that_holds(house.office, "agent/ant", issued.secret)
        assert said == f"The secret {issued.id} was taken back by dana: a leak."
        assert await list_secrets(house.office) == []
        changes = [(each.verb, each.actor) for each in await house.store.changes(10, "secret")]
        assert changes == [("revoke", "dana"), ("issue", "dana")]


async def test_whoever_has_found_a_secret_can_have_it_taken_back_by_itself(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        issued = await issue_secret(house.office, "agent/ant", DAY_S, "dana")
        assert (await revoke_secret(house.office, issued.secret, "it was in a chat", "dana")).id == issued.id
        strange = "cptrsec_" + "0" * 26 + issued.secret[-44:]
        with pytest.raises(ControlProblem) as said:
            await revoke_secret(house.office, strange, "it was in a chat", "dana")
        assert strange not in str(said.value), "what may be a secret is not repeated"


@pytest.mark.parametrize("expires_s", [0, -1, 90 * DAY_S + 1])
async def test_a_secret_ends_within_ninety_days(tmp_path: Path, expires_s: int) -> None:
    async with opened(tmp_path) as house:
        with pytest.raises(ControlProblem, match="cannot live for"):
            await issue_secret(house.office, "agent/ant", expires_s, "dana")


class Counted:
    """A ledger that counts how many look up a secret at once."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.now = self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def secret(self, secret_id: str) -> BootstrapSecret | None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self._ledger.secret(secret_id)
        finally:
            self.now -= 1


async def test_however_many_show_a_secret_at_once_few_threads_are_taken(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        secret = (await issue_secret(house.office, "agent/ant", DAY_S, "dana")).secret
        ledger = house.office.ledger = Counted(house.office.ledger)  # type: ignore[assignment]
        found = await asyncio.gather(*(secret_that_holds(house.office, "agent/ant", secret) for _ in range(50)))
        assert all(isinstance(each, BootstrapSecret) for each in found)
        assert ledger.most == MOST_LOOKS


async def test_of_two_who_take_a_secret_back_at_once_one_is_on_record(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        issued = await issue_secret(house.office, "agent/ant", DAY_S, "dana")
        await asyncio.gather(*(revoke_secret(house.office, issued.id, "a leak", each) for each in ("dana", "eve")))
        (kept,) = await list_secrets(house.office, every=True)
        revoked = [each.actor for each in await house.store.changes(10) if each.verb == "revoke"]
        assert revoked == [kept.revoked_by]
