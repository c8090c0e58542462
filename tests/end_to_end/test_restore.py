"""A store is backed up under load and brought back after a disaster; the sandbox's bill judges what it says then."""

import asyncio
import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import Row, ask, budget_of, chat, mint, nanos, stream
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import PROVIDER_KEY, GatewayProcess
from tests.sandbox.process import SandboxProcess
from tests.store.samples import started

pytestmark = pytest.mark.processes

LIMIT = "0.05 USD"
BUDGETS = [budget("all", LIMIT), budget("each", "0.03 USD", "day", per="identity")]
CALL = {"max_tokens": 100, "sandbox": {"output_tokens": 100}}
CALLERS = 6


@pytest.fixture
def gateway(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path / "gateway", process(sandbox.url), registry(BUDGETS)) as running:
        yield running
        assert "Traceback" not in running.log()


def back_up(gateway: GatewayProcess) -> Path:
    return Path(gateway.command("backup", str(gateway.folder / "backups")).stdout.strip())


def restore(gateway: GatewayProcess, backup: Path, *options: str) -> Row:
    return gateway.cli("restore", str(backup), "--reason", "the disk died", "--yes", *options)


def spend(gateway: GatewayProcess, calls: int, identity: str = "agent/ant") -> None:
    credential = mint(gateway, identity)["credential"]
    for number in range(calls):
        assert ask(gateway, credential, chat(f"{number}", **CALL)).status == 200


def spend_all(gateway: GatewayProcess) -> str:
    """Call until it is refused; the text of the refusal."""
    for identity in ("agent/ant", "agent/bee"):
        credential = mint(gateway, identity)["credential"]
        while (said := ask(gateway, credential, chat("more", **CALL))).status == 200:
            pass
        assert (said.status, said.code) == (402, "budget_exhausted")
    return said.error["message"]


def billed(sandbox: SandboxProcess) -> int:
    return int(sandbox.total()["charge_nanos"])


def recorded(gateway: GatewayProcess) -> int:
    return nanos(budget_of(gateway, "all")["posted"])


def assert_reports_are_of_the_calls(gateway: GatewayProcess) -> int:
    """By whatever they are asked, reports say what the calls say that are in the books now. What that comes to."""
    calls = gateway.admin("GET", "/calls?limit=1000")
    expected: dict[str, dict[str | None, int]] = {"identity": {}, "session": {}, "model": {}}
    for call in calls:
        charge = nanos(call["charge_usd"] or "0")
        for by, sums in expected.items():
            key = call[by] if charge or by != "model" else None  # a name counts once something was billed for it
            sums[key] = sums.get(key, 0) + charge
    for by, sums in expected.items():
        rows = gateway.admin("GET", f"/spend?by={by}&since=2026-01-01T00:00:00Z")["rows"]
        assert {row["key"]: nanos(row["posted_usd"]) for row in rows} == sums, by
        assert sum(row["calls"] + row["refused"] for row in rows) == len(calls), by
    return sum(expected["identity"].values())


@contextmanager
def under_load(gateway: GatewayProcess, failures: list[Any]) -> Iterator[set[str]]:
    """Callers that never stop; the ids of calls that were answered."""
    answered: set[str] = set()
    stop = threading.Event()
    credential = mint(gateway)["credential"]

    def call() -> None:
        while not stop.is_set():
            said = ask(gateway, credential, chat("under load", max_tokens=5))
            (answered.add(said.call_id) if said.status == 200 else failures.append(said))

    with ThreadPoolExecutor(CALLERS) as pool:
        calling = [pool.submit(call) for _ in range(CALLERS)]
        try:
            yield answered
        finally:
            stop.set()
        for each in calling:
            each.result()


def test_backups_under_load_are_whole_and_hold_nobody_up(sandbox: SandboxProcess, tmp_path: Path) -> None:
    failures: list[Any] = []
    with GatewayProcess(tmp_path / "gateway", process(sandbox.url), registry([budget("all", "100 USD")])) as gateway:
        gateway.command("status")
        with under_load(gateway, failures) as answered:
            for _ in range(3):
                before = set(answered)
                backup = back_up(gateway)
                assert before <= calls_in(backup), "what was answered before is in it"
                assert_adds_up(backup)
        assert failures == []
        assert len(answered) > 50
        assert "Traceback" not in gateway.log()


def calls_in(backup: Path) -> set[str]:
    """Every call of a backup, as the next gateway would find it: folded, and presumed where it was open."""
    folder = backup.parent / f"opened-{backup.name}"
    folder.mkdir()
    shutil.copyfile(backup / "comptroller.db", folder / "comptroller.db")
    asyncio.run(open_and_close(folder))
    with closing(sqlite3.connect(folder / "comptroller.db")) as connection:
        return {call_id for (call_id,) in connection.execute("SELECT id FROM calls")}


async def open_and_close(folder: Path) -> None:
    async with started(folder):
        pass


def assert_adds_up(backup: Path) -> None:
    """One instant: what the windows show is the sum of the calls, to the nano."""
    with closing(sqlite3.connect(backup / "comptroller.db")) as connection:
        (spent,) = connection.execute("SELECT coalesce(sum(charge_nanos), 0) FROM calls").fetchone()
        (shown,) = connection.execute(
            "SELECT coalesce(sum(usd), 0) FROM balances WHERE budget != 'session:'"
        ).fetchone()
    assert spent == shown


def test_a_disaster_of_which_nobody_knows_what_was_spent(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Presumed: the bill stays below the books, and nothing is given away."""
    spend(gateway, 3)
    backup = back_up(gateway)
    spend(gateway, 5)
    spend(gateway, 2, "agent/bee")
    gateway.kill9()
    shutil.rmtree(gateway.state)
    refused = gateway.command("restore", str(backup), "--reason", "x", "--yes", check=False)
    assert refused.returncode == 1
    assert "nobody knows what was spent since the backup" in refused.stderr
    assert "--unknown-spend presume" in refused.stderr
    assert "each[any other]" in refused.stdout
    done = restore(gateway, backup, "--unknown-spend", "presume")
    assert (done["replaced"], done["unknown_spend"], done["presumed_windows"]) == ("empty", True, 3)
    missing = {(row["name"], row["instance"]): nanos(row["missing_at_most"]) for row in done["windows"]}
    gateway.start()
    assert recorded(gateway) == nanos("0.05")
    assert billed(sandbox) <= recorded(gateway)
    assert 0 < assert_reports_are_of_the_calls(gateway) < billed(sandbox), "calls since the backup are in no report"
    said = ask(gateway, mint(gateway)["credential"], chat(**CALL))
    assert (said.status, said.code) == (402, "budget_exhausted")
    assert missing["all", ""] >= billed(sandbox) - sum(nanos(row["charge_usd"] or "0") for row in gateway.calls())
    (finding,) = [row for row in gateway.cli("findings") if row["code"] == "restored"]
    assert "count as used up until they reset" in finding["sentence"]


def test_a_gap_that_was_accepted_is_named(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """The one way to spend twice: somebody said so, and how much it may be stands there."""
    spend(gateway, 3)
    backup = back_up(gateway)
    at_backup = recorded(gateway)
    spend(gateway, 8)
    gateway.kill9()
    shutil.rmtree(gateway.state)
    done = restore(gateway, backup, "--unknown-spend", "accept")
    assert done["stops_unknown"]
    gateway.command("suspend", "everything", "--yes", "--reason", "restored")  # before it lets anybody in
    missing = {(row["name"], row["instance"]): nanos(row["missing_at_most"]) for row in done["windows"]}
    gateway.start()
    assert "Everything was suspended" in gateway.command("token", "agent/bee", check=False).stderr
    gateway.command("resume", "everything", "--reason", "looked through")
    assert recorded(gateway) == at_backup < billed(sandbox)
    assert assert_reports_are_of_the_calls(gateway) == at_backup
    spend(gateway, 2, "agent/bee")
    assert assert_reports_are_of_the_calls(gateway) == recorded(gateway) > at_backup
    assert billed(sandbox) <= recorded(gateway) + missing["all", ""]
    (change,) = [row for row in gateway.admin("GET", "/changes") if row["noun"] == "store"]
    assert (change["reason"], json.loads(change["after"])["unknown_spend"]) == ("the disk died", "accept")
    (finding,) = [row for row in gateway.cli("findings") if row["code"] == "restored"]
    assert "may be spent twice" in finding["sentence"]


def test_going_back_spends_nothing_twice(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """The store that is replaced can be read, killed in the middle of a stream or not: the cap holds over both."""
    spend(gateway, 3)
    old = mint(gateway)["credential"]
    slow: Row = {"output_tokens": 100, "tokens_per_s": 20}  # longer than the backup takes
    with stream(gateway, old, chat(max_tokens=100, sandbox=slow)) as answer:
        answer.readline()
        backup = back_up(gateway)
        answer.read()
    spend(gateway, 5)
    later = mint(gateway)["credential"]
    with stream(gateway, later, chat(max_tokens=100, sandbox=slow)) as answer:
        answer.readline()
        gateway.kill9()
    done = restore(gateway, backup)
    assert (done["replaced"], done["unknown_spend"], done["presumed_calls"]) == ("continues", False, 1)
    aside = Path(done["replaced_path"])
    assert {"comptroller.db", "signing-keys.json", "admin-token"} <= {path.name for path in aside.iterdir()}
    gateway.start()
    sandbox.settled()
    assert billed(sandbox) <= recorded(gateway)
    assert 0 < assert_reports_are_of_the_calls(gateway) < recorded(gateway), "the windows know of calls that are gone"
    for credential in (old, later):
        said = ask(gateway, credential, chat(**CALL))
        assert (said.status, said.code) == (401, "credential_invalid")
    assert "all" in spend_all(gateway)
    assert billed(sandbox) <= recorded(gateway) <= nanos("0.05")
    assert_reports_are_of_the_calls(gateway)


def test_no_secret_is_in_a_backup(gateway: GatewayProcess) -> None:
    credential = mint(gateway)["credential"]
    ask(gateway, credential, chat("a secret prompt", **CALL), headers={"x-api-key": credential, "cookie": "planted=1"})
    ask(gateway, credential, chat(**CALL), path="/v1/chat/completions?key=planted-in-the-query")
    ask(gateway, "cptr_" + "planted" * 10, chat(**CALL))
    secrets = [credential, PROVIDER_KEY, gateway.admin_token(), "planted", "a secret prompt"]
    keys = json.loads((gateway.state / "signing-keys.json").read_text())
    secrets += [keys["digest_key"], keys["keys"][0]["key"]["d"]]
    for backup in (back_up(gateway), stopped(gateway)):
        content = b"".join(path.read_bytes() for path in backup.iterdir())
        assert not [secret for secret in secrets if secret.encode() in content]


def stopped(gateway: GatewayProcess) -> Path:
    assert gateway.sigterm() == 0
    return back_up(gateway)
