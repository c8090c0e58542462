"""`backup` and `restore` as a person types them."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_stopped import held_by_a_command
from tests.cli.world import BUDGETS, MEMBERS, Typed, chat
from tests.harness.configuration import process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def stopped(sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that served one call, and stopped."""
    folder = tmp_path_factory.mktemp("stopped")
    with GatewayProcess(folder, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        assert chat(gateway, gateway.token("agent/ant"))[0] == 200
        assert gateway.sigterm() == 0
        yield gateway


def test_a_backup_prints_where_it_is(typed: Typed, gateway: GatewayProcess, tmp_path: Path) -> None:
    done = typed("backup", str(tmp_path / "made"), "--config", str(gateway.config))
    assert done.returncode == 0
    (made,) = (tmp_path / "made").iterdir()
    assert done.stdout == f"{made}\n"
    assert "open holds 0, registry version 1" in done.stderr
    found = typed.rows(gateway, "backup", str(tmp_path / "made"))
    assert found["path"] != str(made)
    assert json.loads((Path(found["path"]) / "manifest.json").read_text()) == {
        name: value for name, value in found.items() if name != "path"
    }


def test_a_store_that_a_command_holds_is_backed_up_beside_it(
    typed: Typed, stopped: GatewayProcess, tmp_path: Path
) -> None:
    with held_by_a_command(stopped):
        assert Path(typed.about(stopped, "backup", str(tmp_path)).strip()).is_dir()


def test_there_is_nothing_to_back_up(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "comptroller.toml").write_text('state = "state"\n')
    done = typed("backup", "made", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no store in" in done.stderr
    assert "Start the gateway once" in done.stderr
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "made").exists()


def test_a_restore_is_shown_and_asked_for(typed: Typed, stopped: GatewayProcess, tmp_path: Path) -> None:
    made = typed.about(stopped, "backup", str(tmp_path)).strip()
    unasked = typed("restore", made, "--reason", "a drill", "--config", str(stopped.config))
    assert unasked.returncode == 1
    assert "there is nobody to ask" in unasked.stderr
    assert "calls 1, registry version" in unasked.stdout
    assert "The store there goes on from it until" in unasked.stdout
    shown = typed.about(stopped, "restore", made, "--reason", "a drill", "--yes")
    assert "Every session has ended; mint new credentials." in shown
    assert f"The store that stood there is in {stopped.state}/replaced-" in shown
    (row,) = typed.rows(stopped, "calls")
    assert row["outcome"] == "completed"


def test_a_choice_is_needed_where_nobody_knows(typed: Typed, stopped: GatewayProcess, tmp_path: Path) -> None:
    made = typed.about(stopped, "backup", str(tmp_path)).strip()
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(stopped.config, other / "comptroller.toml")
    config = ["--config", str(other / "comptroller.toml")]
    undecided = typed("restore", made, "--reason", "the disk died", "--yes", *config)
    assert undecided.returncode == 1
    table = undecided.stdout.splitlines()
    header = next(number for number, line in enumerate(table) if line.startswith("budget "))
    assert table[header].split() == ["budget", "limit", "spent", "may", "be", "missing", "resets"]
    assert any(line.startswith("each[any other]") and "50 calls" in line for line in table)
    assert "--unknown-spend accept" in undecided.stderr
    done = typed("restore", made, "--reason", "the disk died", "--yes", "--unknown-spend", "presume", *config)
    assert done.returncode == 0, done.stderr
    assert "Windows that count as used up until they reset: 4." in done.stdout
    assert "comptroller findings" in done.stderr


def test_what_goes_wrong_is_said(typed: Typed, gateway: GatewayProcess, tmp_path: Path) -> None:
    made = typed.about(gateway, "backup", str(tmp_path)).strip()
    running = typed("restore", made, "--reason", "x", "--yes", "--config", str(gateway.config))
    assert (running.returncode, running.stdout) == (1, "")
    assert f"Nothing was restored: The store {gateway.state} is in use by process {gateway.pid}" in running.stderr
    nothing = typed("restore", str(tmp_path), "--reason", "x", "--config", str(gateway.config))
    assert (nothing.returncode, "is no backup" in nothing.stderr) == (1, True)
    unwritable = typed("backup", "/proc/nowhere", "--config", str(gateway.config))
    assert (unwritable.returncode, unwritable.stdout) == (1, "")
    assert "/proc/nowhere" in unwritable.stderr
    assert "Traceback" not in unwritable.stderr
