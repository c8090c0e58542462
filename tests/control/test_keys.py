"""Signing keys: a new one signs, old ones verify for a while, and all of it is written down."""

import json
from pathlib import Path

import pytest

from comptroller.control import changes, keys, sessions, status, tokens
from comptroller.control.problem import ControlProblem
from comptroller.flow.journal import LedgerUnavailableError
from comptroller.store.keyring import Keyring
from tests.control.house import Broken, Unfoldable, opened


def good(keyring: Keyring, credential: str, now_ns: int) -> bool:
    return not hasattr(keyring.verify(credential, now_ns), "code")


@pytest.mark.parametrize("distrust", [False, True])
async def test_a_rotation(tmp_path: Path, distrust: bool) -> None:
    async with opened(tmp_path) as house:
        old = await tokens.mint(house.office, "agent/ant", None, "test")
        call = await house.hold(5)
        (first,) = house.keyring.key_ids
        done = await keys.rotate(house.office, "it may have leaked", "admin", distrust_old=distrust)
        assert done.key != first
        assert done.key_ids == ((done.key,) if distrust else (first, done.key))
        assert (await status.show_status(house.office)).key_ids == done.key_ids == house.keyring.key_ids
        new = await tokens.mint(house.office, "agent/ant", None, "test")
        now_ns = house.gate.clock.now_ns()
        assert good(house.keyring, new.credential, now_ns)
        assert good(house.keyring, old.credential, now_ns) is not distrust
        assert (done.cut_calls, call.live.line.reason) == ((1, "stopped") if distrust else (0, None))
        said = call.live.line.said
        assert (said is not None and said.sentence.endswith("every session: it may have leaked.")) is distrust
        assert done.ended_sessions == int(distrust)
        (before,) = [each for each in await sessions.list_sessions(house.office, every=True) if each.id == old.session]
        written = await house.store.session(old.session)
        assert written is not None
        if distrust:
            assert (before.state, before.ended_by, before.ended_reason) == ("ended", "admin", "it may have leaked")
            assert written.ended_at_ns is not None, "after a restart it is still ended"
        else:
            assert (before.state, written.ended_at_ns) == ("active", None)
        assert [each.id for each in await sessions.list_sessions(house.office)] == [
            new.session,
            *([] if distrust else [old.session]),
        ]
        ends = [row for row in await changes.list_changes(house.office) if (row.verb, row.noun) == ("end", "session")]
        assert [row.key for row in ends] == ([old.session] if distrust else [])
        call.settle(5)
        row = next(row for row in await changes.list_changes(house.office) if row.noun == "signing_key")
        assert (row.verb, row.key, row.actor, row.reason) == ("rotate", done.key, "admin", "it may have leaked")
        assert json.loads(row.before) == {"key_ids": [first]}
        assert json.loads(row.after) == {"key_ids": list(done.key_ids)}


async def test_a_rotation_needs_a_reason(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        with pytest.raises(ControlProblem, match="needs a reason"):
            await keys.rotate(house.office, " ", "admin", distrust_old=False)


async def test_keys_stay_while_nothing_can_be_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        before = house.keyring.key_ids
        house.office.ledger = Unfoldable(house.store)
        with pytest.raises(ControlProblem, match="keys stay as they are: disk full"):
            await keys.rotate(house.office, "it may have leaked", "admin", distrust_old=True)
        assert house.keyring.key_ids == before


async def test_a_rotation_is_written_down_in_the_end(tmp_path: Path) -> None:
    """The store fails in between: the new key stays, and its record is kept until it can be written."""
    async with opened(tmp_path) as house:
        house.gate.journal = Broken(house.store.journal, LedgerUnavailableError("disk full"))
        with pytest.raises(ControlProblem, match="signs from now on, and its record waits") as caught:
            await keys.rotate(house.office, "it may have leaked", "admin", distrust_old=False)
        assert caught.value.status == 503
        (newest,) = [row for row in await changes.list_changes(house.office) if row.noun == "signing_key"]
        assert newest.key == house.keyring.key_ids[-1]


async def test_keys_that_cannot_be_kept_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as house:
        before = house.keyring.key_ids
        monkeypatch.setattr(house.keyring, "_path", tmp_path / "gone" / "signing-keys.json")
        with pytest.raises(ControlProblem, match="keys stay as they are"):
            await keys.rotate(house.office, "it may have leaked", "admin", distrust_old=False)
        assert house.keyring.key_ids == before
        assert all(row.noun != "signing_key" for row in await changes.list_changes(house.office))
