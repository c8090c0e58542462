"""A restore brings the books back and never a budget: what is not known is carried over, presumed, or accepted."""

import hashlib
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from comptroller.control import budgets, changes, findings, registry, status, tokens
from comptroller.control.problem import ControlProblem
from comptroller.core.budget.hold import EVERY, Amounts
from comptroller.core.budget.restored import UnknownSpend
from comptroller.core.refusal import Refusal
from comptroller.flow.records import Extended
from comptroller.store.backup import Backup, BackupError, read_backup, take_backup
from comptroller.store.lock import OFFLINE, Holder, StoreHeldError
from comptroller.store.migrate import SchemaUnknownError
from comptroller.store.open import open_store
from comptroller.store.restore import Restored, RestorePlan, Restoring, prepare_restore
from tests.control.house import House, document, opened
from tests.harness.configuration import budget
from tests.store.samples import rows_of
from tests.store.test_backup import damage

DATABASE = "comptroller.db"
USD = 1_000_000_000
BUDGETS = [budget("all", "10.00 USD", "month"), budget("each", "3.00 USD", "day", per="identity")]
HOLDER = Holder(1, "here", "now", OFFLINE)
Windows = dict[tuple[str, str], str | int]


@contextmanager
def restoring(state: Path, made: Backup) -> Iterator[Restoring]:
    with prepare_restore(state, made, now_ns=time.time_ns(), holder=HOLDER) as found:
        yield found


def restore(state: Path, made: Backup, choice: UnknownSpend | None = None) -> tuple[RestorePlan, Restored]:
    with restoring(state, made) as found:
        return found.plan, found.complete(choice, "the disk died")


def back_up(state: Path, name: str = "backups") -> Backup:
    return take_backup(state / DATABASE, state.parent / name, time.time_ns())


async def posted(house: House) -> Windows:
    return {(row.name, row.instance): row.posted for row in await budgets.list_budgets(house.office)}


async def remaining(house: House) -> Windows:
    return {(row.name, row.instance): row.remaining for row in await budgets.list_budgets(house.office)}


async def spent_and_backed_up(state: Path) -> Backup:
    """3 USD of agent/ant in the backup, and 2 USD more of ant, 1 of bee after it."""
    async with opened(state, budgets=BUDGETS) as house:
        await house.spend(2 * USD)
        await house.spend(USD // 2, identity="agent/bee")
        await house.store.fold()
        made = back_up(state)
        await house.spend(USD // 2)
        await house.spend(USD, identity="agent/bee")
    return made


def lose(state: Path) -> None:
    """The disk is gone."""
    shutil.rmtree(state)


async def test_a_store_that_goes_on_from_the_backup_lends_it_its_windows(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    plan, done = restore(state, made)
    assert (plan.replaced, plan.needs_choice, done.presumed) == ("continues", False, 0)
    async with opened(state) as house:
        assert await posted(house) == {
            ("all", ""): "4.00",
            ("each", "agent/ant"): "2.50",
            ("each", "agent/bee"): "1.50",
        }
        (finding,) = [each for each in await findings.list_findings(house.office) if each.code == "restored"]
        assert "go on from what the replaced store showed" in finding.sentence
        assert str(done.replaced) in finding.sentence
        call = await house.hold(USD // 2)
        call.settle(USD // 2)
        with pytest.raises(AssertionError):
            await house.hold(USD // 100)  # ant has used up its day, most of it before the restore
    assert done.replaced is not None
    assert rows_of(done.replaced, "SELECT count(*) FROM calls") == [(4,)]


async def test_a_store_that_was_restored_since_does_not_know_what_the_backup_knows(tmp_path: Path) -> None:
    """Two backups with the same changes: what came out of the older one lacks calls that the newer one has."""
    state = tmp_path / "state"
    async with opened(state, budgets=BUDGETS) as house:
        older = back_up(state)
        await house.spend(USD)
        await house.store.fold()
        newer = back_up(state)
    lose(state)
    restore(state, older, "accept")
    async with opened(state) as house:
        await house.spend(USD // 2)
    plan, _ = restore(state, newer, "presume")
    assert (plan.replaced, plan.needs_choice) == ("other", True)


async def test_calls_in_flight_when_the_backup_was_made_are_presumed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with opened(state, budgets=BUDGETS) as house:
        call = await house.hold(USD)
        made = back_up(state)
        call.settle(USD // 4)
    plan, _ = restore(state, made)
    assert (plan.presumed_holds, made.manifest.open_holds + made.manifest.unfolded_batches) == (1, 1)
    async with opened(state) as house:
        record = await house.store.call(call.facts.call_id)
        assert record is not None
        assert (record.state, record.charge and record.charge.usd) == ("presumed", USD)
        # What it cost is known to the replaced store and counts beside what is presumed for it: correcting it to
        # what the replaced store says then leaves the truth.
        assert (await posted(house))["all", ""] == "1.25"


async def test_a_gateway_that_died_is_read_as_it_stands(tmp_path: Path) -> None:
    """Open holds and what was not folded count, and nothing in the replaced store is changed."""
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    dead = tmp_path / "dead"
    async with opened(state) as house:
        await house.spend(USD // 2)
        call = await house.hold(USD // 8, identity="agent/bee")
        await house.gate.journal.commit(Extended(call.hold.id, Amounts(usd=USD // 8)))
        shutil.copytree(state, dead)
    before = {path.name: path.read_bytes() for path in dead.glob("*.db")}
    plan, done = restore(dead, made)
    assert plan.replaced == "continues"
    assert done.replaced is not None
    assert before == {path.name: path.read_bytes() for path in done.replaced.glob("*.db")}
    async with opened(dead) as house:
        assert (await posted(house))["all", ""] == "4.75"


async def test_nobody_knows_and_nobody_chose(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    lose(state)
    with restoring(state, made) as found:
        assert found.plan.replaced == "empty"
        rows = {(row.budget.name, row.key.instance): (row.posted, row.most) for row in found.plan.windows}
        assert rows == {
            ("all", ""): (2 * USD + USD // 2, 7 * USD + USD // 2),
            ("each", EVERY): (0, 3 * USD),
            ("each", "agent/ant"): (2 * USD, USD),
            ("each", "agent/bee"): (USD // 2, 2 * USD + USD // 2),
        }
        with pytest.raises(BackupError, match="Nobody knows what was spent since the backup"):
            found.complete(None, "the disk died")
        with pytest.raises(ControlProblem, match="needs a reason"):
            found.complete("accept", " ")
    assert [path.name for path in state.iterdir()] == ["store.lock"], "and nothing was changed"


async def test_what_nobody_knows_is_presumed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    lose(state)
    _, done = restore(state, made, "presume")
    assert done.presumed == 4
    for _ in range(2):  # and a start of the gateway changes nothing of it
        async with opened(state) as house:
            assert await posted(house) == {
                ("all", ""): "10.00",
                ("each", "agent/ant"): "3.00",
                ("each", "agent/bee"): "3.00",
                ("each", "*"): "3.00",
            }
            assert set((await remaining(house)).values()) == {"0.00"}
            with pytest.raises(AssertionError):
                await house.hold(1)
            (finding,) = [each for each in await findings.list_findings(house.office) if each.code == "restored"]
            assert "4 windows that were open count as used up until they reset" in finding.sentence
    # A raised limit is how a person opens a window before it resets.
    async with opened(state) as house:
        more = [budget("all", "11.00 USD", "month"), budget("each", "3.50 USD", "day", per="identity")]
        await house.apply(budgets=more)
        await house.spend(USD // 2)
        await house.spend(USD // 2, identity="agent/bee")
        with pytest.raises(AssertionError):
            await house.hold(1)


async def test_what_nobody_knows_is_accepted(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    lose(state)
    _, done = restore(state, made, "accept")
    assert (done.presumed, done.replaced) == (0, None)
    async with opened(state) as house:
        assert (await posted(house))["all", ""] == "2.50"
        (finding,) = [each for each in await findings.list_findings(house.office) if each.code == "restored"]
        assert "which was accepted: what was left in 4 windows may be spent twice" in finding.sentence
        (change,) = [each for each in await changes.list_changes(house.office) if each.noun == "store"]
        assert (change.verb, change.reason) == ("restore", "the disk died")
        assert '"unknown_spend":"accept"' in change.after


async def test_a_damaged_store_says_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    damage(state / DATABASE)
    content = (state / DATABASE).read_bytes()
    with restoring(state, made) as found:
        assert (found.plan.replaced, found.plan.needs_choice) == ("unreadable", True)
        assert found.plan.replaced_detail
        done = found.complete("presume", "pages are gone")
    assert done.replaced is not None
    assert (done.replaced / DATABASE).read_bytes() == content


async def test_a_store_that_began_anew_is_no_heir(tmp_path: Path) -> None:
    """The disk died, somebody started with an empty store, and later found the backup: both have spent."""
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    lose(state)
    async with opened(state, budgets=BUDGETS) as house:
        await house.spend(USD)
    plan, _ = restore(state, made, "accept")
    assert (plan.replaced, plan.needs_choice) == ("other", True)
    async with opened(state) as house:
        assert (await posted(house))["all", ""] == "3.50"
        assert (await posted(house))["each", "agent/ant"] == "3.00"


async def test_an_older_copy_is_no_heir(tmp_path: Path) -> None:
    """What stands there was put there from an older copy: it lacks what the backup has."""
    state = tmp_path / "state"
    async with opened(state, budgets=BUDGETS):
        pass
    shutil.copytree(state, tmp_path / "older")
    async with opened(state) as house:
        await house.apply(budgets=BUDGETS[:1])
        made = back_up(state)
    with restoring(tmp_path / "older", made) as found:
        assert found.plan.replaced == "other"


async def test_sessions_and_keys_end(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with opened(state, budgets=BUDGETS) as house:
        before = await tokens.mint(house.office, "agent/ant", None, "test")
        made = back_up(state)
        later = await tokens.mint(house.office, "agent/bee", None, "test")
        keys = house.keyring.key_ids
    _, done = restore(state, made)
    assert done.ended_sessions == 1
    async with opened(state) as house:
        assert set(house.keyring.key_ids).isdisjoint(keys)
        now_ns = house.gate.clock.now_ns()
        for minted in (before, later):
            assert isinstance(house.keyring.verify(minted.credential, now_ns), Refusal)
        assert house.gate.sessions == {}
        ended = await house.store.session(before.session)
        assert ended is not None
        assert (ended.ended_by, "was restored from a backup of 2" in (ended.ended_reason or "")) == ("restore", True)
        assert await house.store.session(later.session) is None
        noted = [each for each in await changes.list_changes(house.office) if each.noun == "session"]
        assert ("end", before.session) in [(each.verb, each.key) for each in noted]


async def test_epochs_and_versions_are_not_used_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    for number in range(3):
        async with opened(state) as house:
            await house.apply(budgets=[budget("all", f"1{number}.00 USD", "month")])
            last = house.gate.journal.epoch
    _, done = restore(state, made)
    assert done.epoch == last + 1
    async with opened(state) as house:
        assert house.gate.journal.epoch == last + 2
        assert house.gate.registry.version == 5
        assert [each.limit for each in house.gate.registry.budgets] == [10 * USD, 3 * USD]
        assert (await house.apply(budgets=BUDGETS[:1])).version == 6


async def test_a_budget_that_comes_after_a_restore_is_said_to_begin_with_too_little(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    restore(state, made)
    async with opened(state) as house:
        wanted = document(budgets=[*BUDGETS, budget("red", "5.00 USD", scope={"team": "red"})])
        plan = await registry.show_plan(house.office, wanted)
        (warning,) = [each for each in plan.warnings if "a restore" in each.sentence]
        assert warning.where == "budgets.red"
        assert warning.sentence.startswith("The books know nothing of calls from 2")
        applied = await registry.apply(house.office, wanted, "test")
        assert warning in applied.warnings
        assert not [each for each in (await house.apply(budgets=BUDGETS)).warnings if "a restore" in each.sentence]


async def test_a_budget_that_came_after_the_backup_comes_back_with_what_it_had(tmp_path: Path) -> None:
    state = tmp_path / "state"
    late = budget("late", "5.00 USD", scope={"team": "red"})
    async with opened(state, budgets=BUDGETS) as house:
        made = back_up(state)
        await house.apply(budgets=[*BUDGETS, late])
        await house.spend(2 * USD)
    restore(state, made)
    async with opened(state) as house:
        await house.apply(budgets=[*BUDGETS, late])
        assert (await posted(house))["late", ""] == "2.00"


async def test_time_does_not_run_back(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    async with opened(state) as house:
        last_ns = house.store.last_journalled_ns
    with prepare_restore(state, made, now_ns=5, holder=HOLDER) as found:
        found.complete(None, "a clock that was set back")
    async with opened(state) as house:
        assert house.store.last_journalled_ns >= last_ns


async def test_a_restore_twice(tmp_path: Path) -> None:
    """The second finds the first one's store, which goes on from the backup, and keeps what was presumed."""
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    lose(state)
    restore(state, made, "presume")
    plan, done = restore(state, made)
    assert plan.replaced == "continues"
    assert done.replaced is not None
    async with opened(state) as house:
        assert set((await remaining(house)).values()) == {"0.00"}


async def test_a_running_gateway_is_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    async with opened(state):
        before = sorted(path.name for path in state.iterdir())
        with pytest.raises(StoreHeldError, match="Stop it first"), restoring(state, made):
            pass
        assert sorted(path.name for path in state.iterdir()) == before


async def test_what_cannot_be_restored_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    before = {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()}

    def assert_refused(error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match), restoring(state, read_backup(made.path)):
            pass
        assert {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()} == before
        assert not [path for path in state.iterdir() if path.name.startswith(".restore")]

    with monkeypatch.context() as patch:
        full = shutil.disk_usage(tmp_path)._replace(free=0)
        patch.setattr(shutil, "disk_usage", lambda _: full)
        assert_refused(BackupError, "Make room")
    sums = made.manifest.sha256
    manifest = made.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace(sums, "0" * 64))
    assert_refused(BackupError, "checksum differs")
    made.database.write_bytes(b"no database" * 500)
    manifest.write_text(manifest.read_text().replace("0" * 64, sums))
    reseal(made)
    assert_refused(BackupError, "cannot be restored: file is not a database")


async def test_a_backup_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    with closing(sqlite3.connect(made.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    reseal(made)
    with pytest.raises(SchemaUnknownError, match="schema 9999"), restoring(state, read_backup(made.path)):
        pass


async def test_back_to_an_older_program(tmp_path: Path) -> None:
    """The store there is of a newer program, closed in order: its windows can be read all the same."""
    state = tmp_path / "state"
    made = await spent_and_backed_up(state)
    with closing(sqlite3.connect(state / DATABASE)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(SchemaUnknownError, match="comptroller restore"):
        open_store(state, durability="process", now_ns=1, holder=HOLDER)
    plan, _ = restore(state, made)
    assert plan.replaced == "continues"
    async with opened(state) as house:
        assert (await posted(house))["all", ""] == "4.00"
        assert (await status.show_status(house.office)).ledger == "ok"


def reseal(made: Backup) -> None:
    """Give a backup that a test has changed the manifest of what it holds now."""
    content = made.database.read_bytes()
    manifest = made.path / "manifest.json"
    text = manifest.read_text().replace(made.manifest.sha256, hashlib.sha256(content).hexdigest())
    manifest.write_text(text.replace(f'"bytes": {made.manifest.bytes}', f'"bytes": {len(content)}'))
