"""Every command beside a gateway that does not run: the same answers, from the same store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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
    assert "not running" in typed.about(stopped, "status")


def test_what_is_done_now_holds_later(typed: Typed, stopped: GatewayProcess) -> None:
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
    assert chat(stopped, ended["credential"])[0] == 402
    budgets = {each["name"]: each for each in typed.rows(stopped, "budgets")}
    assert budgets["late"]["posted"] == budgets["all"]["posted"]
    assert budgets["late"]["posted"] > "2.00"


def test_a_store_that_somebody_else_holds(typed: Typed, stopped: GatewayProcess, tmp_path: Path) -> None:
    """Another process serves the same state under another address: the command names it and keeps out."""
    stopped.start()
    other = tmp_path / "other.toml"
    port = stopped.admin_port
    other.write_text(stopped.config.read_text().replace(f":{port}", f":{_next_free(port)}"))
    done = typed("status", "--config", str(other))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nothing listens on" in done.stderr
    assert f"in use by process {stopped.pid}" in done.stderr
    serve = typed("serve", "--config", str(other))
    assert serve.returncode == 1
    assert f"The gateway does not start: The store {stopped.state} is in use by process {stopped.pid}" in serve.stderr


def test_faulty_settings_are_named(typed: Typed, stopped: GatewayProcess) -> None:
    stopped.config.write_text("listen = 7\ncolour = 1\n")
    for arguments in (["status"], ["serve"], ["plan"]):
        done = typed(*arguments, folder=stopped.folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert "colour: There is no such setting." in done.stderr
        assert "Traceback" not in done.stderr


def _next_free(port: int) -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = int(probe.getsockname()[1])
    return free if free != port else port + 1
