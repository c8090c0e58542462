"""A restored database takes the place of the present one wholly or not at all, wherever the process dies."""

import shutil
from pathlib import Path

import pytest

from comptroller.store import exchange
from comptroller.store.exchange import DECIDED, PART, decide, finish, new_part
from tests.store.samples import NOW_NS, held, open_at, started

PRESENT = {
    "comptroller.db": "old",
    "comptroller.db-wal": "old log",
    "comptroller.db-shm": "old index",
    "signing-keys.json": "old keys",
    "admin-token": "old token",
    "store.lock": "",
    "openai.key": "somebody's own file",
}
KEPT = {"store.lock": "", "openai.key": "somebody's own file"}


class Died(Exception):
    """The process is gone."""


def prepared(state: Path) -> None:
    state.mkdir()
    for name, content in PRESENT.items():
        (state / name).write_text(content)
    (new_part(state) / "comptroller.db").write_text("restored")


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_what_was_there_is_moved_aside_whole(tmp_path: Path) -> None:
    prepared(tmp_path / "state")
    aside = decide(tmp_path / "state", "now")
    assert finish(tmp_path / "state")
    assert files(tmp_path / "state") == KEPT | {"comptroller.db": "restored"}
    assert files(aside) == {name: content for name, content in PRESENT.items() if name not in KEPT}
    assert sorted(path.name for path in (tmp_path / "state").iterdir() if path.is_dir()) == ["replaced-now"]
    assert not finish(tmp_path / "state")


def test_whenever_the_process_dies_it_is_one_or_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rename is a point to die at, before it and after it; whoever comes next finishes, if it was decided."""
    outcomes: list[bool] = []
    for point in range(100):
        state = tmp_path / f"state-{point}"
        prepared(state)
        died = run_until(state, point, monkeypatch)
        decided = not (state / PART).exists()
        for again in range(3):  # the next ones may die as well
            run_until(state, again, monkeypatch, only_finish=True)
        finish(state)
        outcomes.append(decided)
        if decided:
            assert files(state) == KEPT | {"comptroller.db": "restored"}
            assert files(state / "replaced-now") == {k: v for k, v in PRESENT.items() if k not in KEPT}
        else:
            assert files(state) == PRESENT
            assert not (state / DECIDED).exists()
        if not died:
            break
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert len(outcomes) > 10


def run_until(state: Path, point: int, monkeypatch: pytest.MonkeyPatch, *, only_finish: bool = False) -> bool:
    """Exchange, and die at this move or removal; False if it was done before."""
    left = point
    rename, rmtree = Path.rename, shutil.rmtree

    def step() -> None:
        nonlocal left
        if left == 0:
            raise Died
        left -= 1

    def stepped_rename(path: Path, target: Path) -> Path:
        step()
        moved = rename(path, target)
        step()
        return moved

    def stepped_rmtree(path: Path, **how: bool) -> None:
        step()
        if path.name == DECIDED:  # half of it is gone already
            (path / "aside").unlink(missing_ok=True)
            step()
        rmtree(path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stepped_rename)
        patch.setattr(exchange.shutil, "rmtree", stepped_rmtree)
        try:
            if not only_finish:
                decide(state, "now")
            finish(state)
        except Died:
            return True
    return False


def test_an_earlier_try_is_thrown_away(tmp_path: Path) -> None:
    prepared(tmp_path / "state")
    (new_part(tmp_path / "state") / "comptroller.db").write_text("newer")
    decide(tmp_path / "state", "now")
    finish(tmp_path / "state")
    assert files(tmp_path / "state")["comptroller.db"] == "newer"


async def test_a_start_finishes_what_was_decided(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with started(tmp_path / "other") as other:
        await other.journal.commit(held(7))
    async with started(state) as store:
        await store.journal.commit(held(1))
    (tmp_path / "other" / "comptroller.db").replace(new_part(state) / "comptroller.db")
    decide(state, "now")
    store = open_at(state, now_ns=NOW_NS)
    try:
        assert await store.call(held(7).facts.call_id) is not None
        assert await store.call(held(1).facts.call_id) is None
    finally:
        await store.close(0)
    assert (state / "replaced-now" / "comptroller.db").exists()
