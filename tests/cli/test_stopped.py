"""Every command beside a gateway that does not run: the same answers, from the same store."""

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from comptroller.store.lock import LOCK, OFFLINE, Holder, StoreLock
from tests.cli.world import BUDGETS, MEMBERS, Typed, chat
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes


@pytest.fixture
def stopped(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that ran, served one call, and stopped."""
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        assert chat(gateway, gateway.token("agent/ant"))[0] == 200
        assert gateway.sigterm() == 0
        yield gateway


def test_the_books_are_open(typed: Typed, stopped: GatewayProcess) -> None:
    (row,) = typed.rows(stopped, "calls")
    assert row["outcome"] == "completed"
    budgets = {each["name"]: each for each in typed.rows(stopped, "budgets")}
    assert budgets["all"]["posted"] == row["charge_usd"]
    assert "It was charged" in typed.about(stopped, "explain", row["id"])
    status = typed.rows(stopped, "status")
    assert (status["serving"], status["live_calls"]) == (False, 0)
    shown = typed.about(stopped, "status")
    assert "not running" in shown
    assert "as this shell sees it" in shown, "the gateway will have an environment of its own"


def test_what_was_found_again_and_again_is_one_line(typed: Typed, stopped: GatewayProcess) -> None:
    said = "sandbox answered without a valid usage; the charge is presumed."
    rows = [(at, "usage_missing", f"call_{at}", "tts-1", said) for at in (1, 3, 4)]
    rows.insert(1, (2, "usage_missing", "call_2", "whisper-1", said))
    with closing(sqlite3.connect(stopped.state / "comptroller.db")) as books, books:
        books.executemany("INSERT INTO findings (at_ns, code, call_id, subject, sentence) VALUES (?, ?, ?, ?, ?)", rows)
    _, first, second = typed.about(stopped, "findings").splitlines()
    assert (" 3 " in first, "tts-1" in first, "call_4" in first) == (True, True, True)
    assert (" 1 " in second, "call_2" in second) == (True, True)
    assert len(typed.about(stopped, "findings", "--limit", "1").splitlines()) == 2
    assert [row["call"] for row in typed.rows(stopped, "findings")] == ["call_4", "call_3", "call_2", "call_1"]


def test_what_is_done_now_holds_later(typed: Typed, stopped: GatewayProcess) -> None:
    early = typed.about(stopped, "token", "agent/ant").strip()
    rotated = typed.about(stopped, "keys", "rotate", "--distrust-old", "--reason", "a leak")
    assert "every earlier credential has ended" in rotated
    assert typed.rows(stopped, "status")["key_ids"] == [rotated.split()[0]]
    credential = typed.about(stopped, "token", "agent/ant").strip()
    (row,) = typed.rows(stopped, "calls")
    typed.about(stopped, "correct", row["id"], "--charge", "2.00", "--reason", "invoice")
    stopped.write_registry(registry([*BUDGETS, budget("late", "9.00 USD", scope={"team": "red"})], MEMBERS))
    assert typed("plan", "--config", str(stopped.config)).returncode == 2
    assert "late begins with 2.00 USD" in typed.about(stopped, "apply", "--yes")
    ended = typed.rows(stopped, "token", "agent/bee")
    typed.about(stopped, "sessions", "end", ended["session"], "--reason", "a mistake")
    stopped.start()
    assert chat(stopped, credential)[0] == 200
    assert chat(stopped, early)[0] == 401
    assert chat(stopped, ended["credential"])[0] == 402
    budgets = {each["name"]: each for each in typed.rows(stopped, "budgets")}
    assert budgets["late"]["posted"] == budgets["all"]["posted"]
    assert budgets["late"]["posted"] > "2.00"


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("registry.toml", b"[teams.red]\ncolour = 1\n", "teams.red.colour"),
        ("registry.toml", b'[models."m"]\nproviders = ["nobody"]\n', "organization"),
        ("registry.toml", b"\xff", "UTF-8"),
        ("policies/bad.cedar", b"permit (principal, action", "bad.cedar"),
    ],
)
def test_a_first_start_that_fails_leaves_no_store(
    typed: Typed, tmp_path: Path, file: str, text: bytes, says: str
) -> None:
    new = GatewayProcess(tmp_path, process("http://127.0.0.1:9"), registry(BUDGETS, MEMBERS))
    (tmp_path / "policies").mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(text)
    done = typed("serve", "--config", str(new.config))
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not new.state.exists()


def test_a_store_that_somebody_else_holds(typed: Typed, stopped: GatewayProcess, tmp_path: Path) -> None:
    """Another process serves the same state under another address: the command names it and keeps out."""
    stopped.start()
    other = tmp_path / "other.toml"
    port = stopped.admin_port
    other.write_text(stopped.config.read_text().replace(f":{port}", f":{_next_free(port)}"))
    done = typed("status", "--config", str(other))
    assert (done.returncode, done.stdout) == (1, "")
    assert "No gateway of this store listens on" in done.stderr
    assert f"in use by process {stopped.pid}" in done.stderr
    serve = typed("serve", "--config", str(other))
    assert serve.returncode == 1
    assert f"The gateway does not start: The store {stopped.state} is in use by process {stopped.pid}" in serve.stderr


def test_a_stranger_on_the_admin_port_is_told_nothing(typed: Typed, stopped: GatewayProcess) -> None:
    """Nobody holds the store, so whoever listens there is not our gateway: the credential stays here."""
    with Stranger(stopped.admin_port) as stranger:
        assert typed.rows(stopped, "status")["serving"] is False
        with held_by_a_command(stopped):
            done = typed("status", "--config", str(stopped.config))
            assert (done.returncode, "in use by process" in done.stderr) == (1, True), done.stderr
        assert stranger.visitors == 0


class Stranger:
    """Listens on a port that was ours, and counts who comes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self._socket.setblocking(False)

    def __enter__(self) -> "Stranger":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def visitors(self) -> int:
        count = 0
        with suppress(BlockingIOError):
            while True:
                self._socket.accept()[0].close()
                count += 1
        return count


@contextmanager
def held_by_a_command(gateway: GatewayProcess) -> Iterator[None]:
    """Another command works on the store: it holds it, and listens nowhere."""
    lock = StoreLock.acquire(gateway.state / LOCK, Holder(1, "here", "now", OFFLINE))
    try:
        yield
    finally:
        lock.release()


def test_faulty_settings_are_named(typed: Typed, stopped: GatewayProcess) -> None:
    stopped.config.write_text("listen = 7\ncolour = 1\n")
    for arguments in (["status"], ["serve"], ["plan"]):
        done = typed(*arguments, folder=stopped.folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert "colour: There is no such setting." in done.stderr
        assert "Traceback" not in done.stderr


def _next_free(port: int) -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    return free if free != port else port + 1
