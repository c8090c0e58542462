"""Every command against a running gateway, as a user types it."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.world import BUDGETS, MEMBERS, Typed, chat
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes


def token(typed: Typed, gateway: GatewayProcess, identity: str) -> str:
    return typed.about(gateway, "token", identity).strip()


def call_id(headers: dict[str, str]) -> str:
    return headers["x-comptroller-call-id"]


def test_a_token_is_alone_on_standard_output(gateway: GatewayProcess) -> None:
    done = gateway.command("token", "agent/ant", "--lifetime", "30m")
    credential = done.stdout.removesuffix("\n")
    assert credential.startswith("cptr_")
    assert "\n" not in credential
    assert "of agent/ant, ends in 29 min" in done.stderr
    assert chat(gateway, credential)[0] == 200


def test_what_a_call_leaves_behind(typed: Typed, gateway: GatewayProcess) -> None:
    status, _, headers = chat(gateway, token(typed, gateway, "agent/ant"))
    assert status == 200
    rows: list[dict[str, Any]] = typed.rows(gateway, "calls", "--identity", "agent/ant", "--since", "10m")
    row = next(row for row in rows if row["id"] == call_id(headers))
    assert (row["outcome"], row["team"], row["model"], row["presumed"]) == ("completed", "red", "sandbox-large", False)
    assert row["charge_usd"] == headers["x-comptroller-charge-usd"]
    assert typed.rows(gateway, "calls", "--identity", "agent/nobody") == []
    told = typed.about(gateway, "explain", row["id"])
    assert "It was charged" in told
    assert f"{row['charge_usd']} USD, exactly" in told
    story = typed.rows(gateway, "explain", row["id"])
    assert story["call"] == row
    table = typed.about(gateway, "calls", "--limit", "1").splitlines()
    assert len(table) == 2
    assert row["id"] in table[1]


@pytest.mark.parametrize("command", ["budgets", "rates", "spend", "calls", "sessions", "status"])
def test_a_command_beside_a_gateway_loads_no_store_and_opens_none(gateway: GatewayProcess, command: str) -> None:
    """A person waits for it, and scripts call it by the hundred."""
    code = "import sys; from comptroller.cli import run; run(); print('loaded:', *sys.modules, file=sys.stderr)"
    line = [sys.executable, "-c", code, command, "--config", str(gateway.config), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    loaded = {name.partition(".")[0] for name in done.stderr.partition("loaded:")[2].split()}
    assert "msgspec" in loaded
    assert not {"sqlalchemy", "alembic", "starlette", "uvicorn", "joserfc", "genai_prices"} & loaded


def test_spend_adds_up(typed: Typed, gateway: GatewayProcess) -> None:
    chat(gateway, token(typed, gateway, "agent/ant"))
    chat(gateway, token(typed, gateway, "agent/bee"), max_tokens=4000)
    calls: list[dict[str, Any]] = typed.rows(gateway, "calls")
    rows = {row["key"]: row for row in typed.rows(gateway, "spend", "--by", "identity")}
    for name in ("agent/ant", "agent/bee"):
        theirs = [row for row in calls if row["identity"] == name]
        assert rows[name]["calls"] + rows[name]["refused"] == len(theirs)
        assert rows[name]["refused"] == sum(row["outcome"] == "refused" for row in theirs)
    title, *lines, total = typed.about(gateway, "spend", "--by", "team").splitlines()
    assert title.split()[:4] == ["team", "calls", "refused", "in"]
    assert {line.split()[0] for line in lines} == {"red", "blue"}
    assert total.split()[:2] == ["total", str(sum(row["calls"] for row in rows.values()))]
    assert [row["key"] for row in typed.rows(gateway, "spend", "--team", "blue", "--since", "1h")] == ["blue"]
    assert "more; --limit" in typed("spend", "--by", "session", "--limit", "1", "--config", str(gateway.config)).stderr
    nothing = typed.about(gateway, "spend", "--since", "2026-01-01", "--until", "2026-01-02")
    assert "Nothing was spent or refused from 2026-01-01 00:00:00" in nothing
    wrong = typed("spend", "--by", "colour", "--config", str(gateway.config))
    assert (wrong.returncode, "'colour' is not one of team, owner" in wrong.stderr) == (2, True)


def test_budgets_add_up(typed: Typed, gateway: GatewayProcess) -> None:
    chat(gateway, token(typed, gateway, "agent/ant"))
    rows = {(row["name"], row["instance"]): row for row in typed.rows(gateway, "budgets")}
    assert rows["all", ""]["limit"] == "100.00"
    assert rows["each", "agent/ant"]["posted"] >= 1
    assert set(rows["all", ""]) >= {"scope", "unit", "window", "window_start", "mode", "held", "remaining", "resets_at"}
    said = typed.about(gateway, "budgets")
    assert "organization acme" in said
    assert "resets" in said.splitlines()[0]


def test_a_refusal_is_explained(typed: Typed, gateway: GatewayProcess) -> None:
    credential = token(typed, gateway, "agent/bee")
    status, body, headers = chat(gateway, credential, max_tokens=4096)
    while status == 200:
        status, body, headers = chat(gateway, credential, max_tokens=4096)
    assert status == 402, body
    (row, *_) = typed.rows(gateway, "calls", "--outcome", "refused", "--identity", "agent/bee")
    assert (row["refusal"], row["id"]) == ("budget_exhausted", call_id(headers))
    told = typed.about(gateway, "explain", row["id"])
    assert "refused (budget_exhausted, HTTP 402)" in told
    assert "Now small has" in told
    assert "resets at" in told
    assert "What to do:" in told


def test_a_correction(typed: Typed, gateway: GatewayProcess) -> None:
    _, _, headers = chat(gateway, token(typed, gateway, "agent/ant"))
    done = typed.about(gateway, "correct", call_id(headers), "--charge", "1.25", "--reason", "invoice, line 3")
    assert "is now 1.25 USD" in done
    (row,) = [row for row in typed.rows(gateway, "calls") if row["id"] == call_id(headers)]
    assert (row["charge_usd"], row["corrected"]) == ("1.25", True)
    assert "bootstrap corrected the charge" in typed.about(gateway, "explain", row["id"])
    typed.about(gateway, "correct", call_id(headers), "--charge", "0", "--reason", "free after all")
    refused = typed("correct", "call_nope", "--charge", "1", "--reason", "x", "--config", str(gateway.config))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: There is no call 'call_nope' in the books.\n`comptroller calls` lists")


def test_a_session_ends(typed: Typed, gateway: GatewayProcess) -> None:
    minted = typed.rows(gateway, "token", "agent/ant")
    assert minted["session"] in [row["id"] for row in typed.rows(gateway, "sessions")]
    assert minted["session"] in typed.about(gateway, "sessions")
    assert "is ended" in typed.about(gateway, "sessions", "end", minted["session"], "--reason", "runaway")
    status, body, _ = chat(gateway, minted["credential"])
    assert status == 402
    assert "was ended by bootstrap: runaway" in body["error"]["message"]
    assert minted["session"] not in [row["id"] for row in typed.rows(gateway, "sessions", "list")]
    every = {row["id"]: row for row in typed.rows(gateway, "sessions", "list", "--all")}
    assert every[minted["session"]]["state"] == "ended"
    again = typed.about(gateway, "sessions", "end", minted["session"], "--reason", "again")
    assert "was ended before, by bootstrap" in again


def test_the_other_lists(typed: Typed, gateway: GatewayProcess) -> None:
    assert {row["id"] for row in typed.rows(gateway, "identities")} == set(MEMBERS)
    assert "red-lead@acme.example" in typed.about(gateway, "identities")
    assert typed.rows(gateway, "bounds") == []
    assert typed.about(gateway, "bounds") == "No model was ever billed above its bound.\n"
    assert typed.rows(gateway, "findings") == []
    refused = typed("resume", "bound", "sandbox/sandbox-large", "--reason", "x", "--config", str(gateway.config))
    assert (refused.returncode, "Nothing is known against" in refused.stderr) == (1, True)
    status = typed.rows(gateway, "status")
    assert (status["serving"], status["ledger"], status["listen"]) == (True, "ok", f"127.0.0.1:{gateway.port}")
    assert "running on" in typed.about(gateway, "status")
    assert typed.about(gateway, "version") == f"comptroller {status['version']}\n"
    assert typed.rows(gateway, "version") == {"version": status["version"]}


def test_stopping_and_resuming(typed: Typed, gateway: GatewayProcess) -> None:
    credential = typed.about(gateway, "token", "human/dana").strip()
    typo = typed("suspend", "identity", "human/dna", "--reason", "x", "--config", str(gateway.config))
    assert (typo.returncode, "Did you mean 'human/dana'?" in typo.stderr) == (1, True)
    assert typed.about(gateway, "stops") == "Nothing is stopped.\n"
    said = typed.about(gateway, "suspend", "identity", "human/dana", "--reason", "on leave")
    assert said == "identity human/dana is suspended; calls cut off: 0\n"
    assert "was stopped before, by bootstrap at" in typed.about(
        gateway, "suspend", "identity", "human/dana", "--reason", "x"
    )
    status, body, _ = chat(gateway, credential)
    assert (status, body["error"]["code"]) == (402, "identity_suspended")
    (row,) = typed.rows(gateway, "stops")
    assert (row["value"], row["reason"], row["lifted_at"]) == ("human/dana", "on leave", None)
    assert "stopped      1:" in typed.about(gateway, "status")
    resumed = typed.about(gateway, "resume", "identity", "human/dana", "--reason", "back")
    assert resumed == "identity human/dana is stopped no longer\n"
    assert chat(gateway, credential)[0] == 200
    assert "lifted by bootstrap" in typed.about(gateway, "stops", "--all")
    unknown = typed("suspend", "model", "gpt-99", "--reason", "x", "--config", str(gateway.config))
    assert (unknown.returncode, "No entry of the registry serves" in unknown.stderr) == (0, True)
    typed.about(gateway, "resume", "model", "gpt-99", "--reason", "x")


@pytest.mark.parametrize(
    "arguments",
    [
        ["budgets"],
        ["token"],
        ["token", "agent/ant", "--lifetime", "soon"],
        ["resume", "bound", "sandbox", "--reason", "x"],
        ["resume", "sandbox/sandbox-large", "--reason", "x"],
        ["suspend", "teams", "red", "--reason", "x"],
        ["suspend", "team", "red"],
        ["calls", "--since", "yesterday"],
        ["calls", "--limit", "0"],
        ["sessions", "end", "ses_1"],
    ],
)
def test_misuse_ends_with_2(typed: Typed, gateway: GatewayProcess, arguments: list[str]) -> None:
    wrong = ["budgets", "--colour"] if arguments == ["budgets"] else arguments
    done = typed(*wrong, "--config", str(gateway.config))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_the_config_is_found(typed: Typed, gateway: GatewayProcess, tmp_path: Path) -> None:
    config = str(gateway.config)
    for arguments in (["--config", config, "status", "--json"], ["status", "--config", config, "--json"]):
        assert json.loads(typed(*arguments, folder=tmp_path).stdout)["serving"]
    for arguments in (["--config", config, "sessions", "list"], ["sessions", "--config", config, "list"]):
        assert typed(*arguments, folder=tmp_path).returncode == 0
    assert typed("status", folder=gateway.folder).returncode == 0
    assert typed("status", folder=tmp_path, COMPTROLLER_CONFIG=config).returncode == 0
    lost = typed("status", folder=tmp_path)
    assert (lost.returncode, lost.stdout) == (1, "")
    assert "There is no comptroller.toml" in lost.stderr
    assert "`comptroller demo`" in lost.stderr
    gone = typed("status", "--config", str(tmp_path / "x.toml"))
    assert (gone.returncode, "There is no such file" in gone.stderr) == (1, True)


def test_by_address(typed: Typed, gateway: GatewayProcess, tmp_path: Path) -> None:
    address, admin = f"http://127.0.0.1:{gateway.admin_port}", gateway.admin_token()
    for given in (address, address.removeprefix("http://"), address.replace("127.0.0.1", "localhost")):
        done = typed("status", "--json", folder=tmp_path, COMPTROLLER_ADDR=given, COMPTROLLER_TOKEN=admin)
        assert json.loads(done.stdout)["pid"] == gateway.pid
    without = typed("status", folder=tmp_path, COMPTROLLER_ADDR=address)
    assert (without.returncode, "COMPTROLLER_TOKEN is not" in without.stderr) == (1, True)
    wrong = typed("status", folder=tmp_path, COMPTROLLER_ADDR=address, COMPTROLLER_TOKEN="guess")
    assert (wrong.returncode, "no admin credential" in wrong.stderr) == (1, True)
    credential = token(typed, gateway, "agent/ant")
    data = typed("status", folder=tmp_path, COMPTROLLER_ADDR=address, COMPTROLLER_TOKEN=credential)
    assert "administers nothing" in data.stderr
    plane = f"127.0.0.1:{gateway.port}"
    other = typed("status", folder=tmp_path, COMPTROLLER_ADDR=plane, COMPTROLLER_TOKEN=admin)
    assert (other.returncode, "not the admin plane" in other.stderr) == (1, True), other.stderr
    nobody = typed("status", folder=tmp_path, COMPTROLLER_ADDR="127.0.0.1:1", COMPTROLLER_TOKEN=admin)
    assert (nobody.returncode, "Nothing listens on http://127.0.0.1:1" in nobody.stderr) == (1, True)
    nonsense = typed("status", folder=tmp_path, COMPTROLLER_ADDR="ftp://x", COMPTROLLER_TOKEN=admin)
    assert (nonsense.returncode, "http://HOST:PORT" in nonsense.stderr) == (1, True)


def test_plan_and_apply(typed: Typed, sandbox: SandboxProcess, tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        assert typed.about(gateway, "plan").startswith("Nothing to change: the registry is at version 1")
        credential = token(typed, gateway, "agent/ant")
        charge = chat(gateway, credential)[2]["x-comptroller-charge-usd"]
        gateway.write_registry(registry([*BUDGETS, budget("red-life", "0.000001 USD", scope={"team": "red"})], MEMBERS))
        differs = gateway.command("plan", check=False)
        assert differs.returncode == 2
        assert "1 change to version 1 of the registry:\n  add budget red-life" in differs.stdout
        assert typed("plan", "--json", "--config", str(gateway.config)).returncode == 2
        unasked = gateway.command("apply", check=False)  # nobody sits at a terminal here
        assert (unasked.returncode, "--yes" in unasked.stderr) == (1, True)
        assert typed.rows(gateway, "status")["registry_version"] == 1
        done = typed.about(gateway, "apply", "--yes")
        assert f"red-life begins with {charge} USD already spent." in done
        assert done.endswith("Installed as version 2.\n")
        status, body, _ = chat(gateway, credential)
        assert (status, "red-life" in body["error"]["message"]) == (402, True)
        assert "Nothing to change" in typed.about(gateway, "apply", "--yes")
        (tmp_path / "registry.toml").write_text("[organization]\nname = 7\n")
        faulty = typed("plan", "--config", str(gateway.config))
        assert (faulty.returncode, faulty.stdout) == (1, "")
        assert "organization.name" in faulty.stderr
        assert "organization.trust_domain" in faulty.stderr
        elsewhere = tmp_path / "elsewhere.toml"
        lost = typed("plan", "--registry", str(elsewhere), "--config", str(gateway.config))
        assert (lost.returncode, "cannot be read" in lost.stderr) == (1, True)


def test_a_gateway_that_hangs_is_named(typed: Typed, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Stopped as a debugger stops it: its socket takes connections, and nobody answers."""
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        gateway.signal(signal.SIGSTOP)
        try:
            done = typed("status", "--config", str(gateway.config), COMPTROLLER_TIMEOUT_S="1")
        finally:
            gateway.signal(signal.SIGCONT)
        assert done.returncode == 1
        assert "did not answer within 1 s" in done.stderr
        assert f"in use by process {gateway.pid}" in done.stderr


def test_a_word_that_is_none_of_those_taken_is_told_them(typed: Typed, gateway: GatewayProcess) -> None:
    done = typed("calls", "--outcome", "wrong", "--config", str(gateway.config))
    assert done.returncode == 1
    assert "`outcome` is 'wrong', and not one of completed, " in done.stderr
    assert "refused, open" in done.stderr
