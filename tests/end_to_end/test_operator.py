"""The commands as an operator uses them, on a real gateway and on a store that nobody holds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.world import Typed
from tests.end_to_end.caller import Row, ask, chat, mint, nanos
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("blue"), "service/cron": identity("blue", "service")}
ALL = budget("all", "100.00 USD", "month")
POOR = budget("bee-day", "0.002 USD", "day", scope={"identity": "agent/bee"})
SHORT: Row = {"max_tokens": 20}


@pytest.fixture
def own(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway with an operator of its own."""
    with GatewayProcess(tmp_path, process(sandbox.url), registry([ALL, POOR], MEMBERS)) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@pytest.fixture(scope="module")
def shared(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One for the tests that only look."""
    folder = tmp_path_factory.mktemp("operator")
    with GatewayProcess(folder, process(sandbox_process.url), registry([ALL, POOR], MEMBERS)) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(monkeypatch, capsys)


def credential(gateway: GatewayProcess, name: str = "agent/ant") -> str:
    return mint(gateway, name)["credential"]


def windows(typed: Typed, gateway: GatewayProcess) -> dict[str, Row]:
    return {row["name"]: row for row in typed.rows(gateway, "budgets")}


def plan(gateway: GatewayProcess) -> tuple[int, Any]:
    """The exit code, and what it says as JSON."""
    done = gateway.command("plan", "--json", check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_lowered_limit_admits_nothing_new_and_a_new_budget_knows_what_was_spent(
    own: GatewayProcess, typed: Typed
) -> None:
    ant = credential(own)
    spent = sum(nanos(ask(own, ant, chat(f"{n}", **SHORT)).headers["x-comptroller-charge-usd"]) for n in range(3))
    code, unchanged = plan(own)
    assert [warning["where"] for warning in unchanged.pop("warnings")] == ["policies"], "no policy is installed"
    assert (code, unchanged) == (0, {"version": 1, "applied": False, "changes": [], "opened": [], "missing": ""})
    lowered = budget("all", "0.0001 USD", "month")
    late = budget("red-month", "50.00 USD", "month", scope={"team": "red"})
    own.write_registry(registry([lowered, POOR, late], MEMBERS))
    code, planned = plan(own)
    assert code == 2
    assert {(each["verb"], each["key"]) for each in planned["changes"]} == {("change", "all"), ("add", "red-month")}
    assert "100.00" in own.command("plan", check=False).stdout
    assert ask(own, ant, chat("plan changes nothing", **SHORT)).status == 200
    assert own.command("apply", check=False).returncode == 1  # nobody to ask
    spent = nanos(windows(typed, own)["all"]["posted"])
    said = own.command("apply", "--yes").stdout
    assert "red-month begins with" in said
    assert "Installed as version 2." in said
    found = windows(typed, own)
    assert nanos(found["red-month"]["posted"]) == nanos(found["all"]["posted"]) == spent > 0
    assert found["all"]["limit"] == "0.0001"
    refused = ask(own, ant, chat("no more", **SHORT))
    assert (refused.status, refused.code) == (402, "budget_exhausted")
    assert refused.error["comptroller"]["limit"] == "all"
    assert plan(own)[0] == 0
    own.write_registry(registry([ALL, POOR, late], MEMBERS))
    assert own.cli("apply", "--yes")["version"] == 3
    assert ask(own, ant, chat("again", **SHORT)).status == 200
    own.write_registry({"organization": {"name": "acme"}, "bugets": []})
    faulty = own.command("plan", check=False)
    assert faulty.returncode == 1
    assert "bugets" in faulty.stderr
    own.restart()
    assert {name: row["limit"] for name, row in windows(typed, own).items()} == {
        "all": "100.00", "bee-day": "0.002", "red-month": "50.00",
    }  # fmt: skip


def test_calls_are_found_by_who_what_and_how(shared: GatewayProcess, sandbox: SandboxProcess, typed: Typed) -> None:
    sessions = {name: mint(shared, name) for name in MEMBERS}
    ids: dict[str, str] = {}
    for name, session in sessions.items():
        model = "sandbox-small" if name == "service/cron" else "sandbox-large"
        ids[name] = ask(shared, session["credential"], chat(model=model, **SHORT)).call_id
    ids["refused"] = ask(shared, sessions["agent/bee"]["credential"], chat(max_tokens=4000)).call_id
    ids["failed"] = ask(shared, sessions["agent/ant"]["credential"], chat(sandbox={"fault": "bad_request"})).call_id
    wanted = {
        ("--identity", "agent/ant"): {"agent/ant", "failed"},
        ("--team", "blue"): {"agent/bee", "service/cron", "refused"},
        ("--session", sessions["agent/bee"]["session"]): {"agent/bee", "refused"},
        ("--model", "sandbox-small"): {"service/cron"},
        ("--outcome", "refused"): {"refused"},
        ("--outcome", "provider_refused"): {"failed"},
        ("--team", "red", "--outcome", "completed"): {"agent/ant"},
        ("--since", "1h"): set(ids),
        ("--limit", "2"): {"failed", "refused"},
        ("--since", "2099-01-01T00:00Z"): set(),
    }
    mine = set(ids.values())
    found = {filters: mine & {row["id"] for row in typed.rows(shared, "calls", *filters)} for filters in wanted}
    assert found == {filters: {ids[name] for name in names} for filters, names in wanted.items()}
    newest_first = [row["id"] for row in typed.rows(shared, "calls")]
    assert newest_first == sorted(newest_first, reverse=True)
    assert shared.command("calls", "--outcome", "lost", check=False).returncode == 1


def explained(typed: Typed, gateway: GatewayProcess, call_id: str) -> str:
    told = typed.rows(gateway, "explain", call_id)
    said = typed.about(gateway, "explain", call_id)
    assert all(sentence in said for sentence in told["sentences"])
    return said


def test_explain_tells_of_a_paid_a_presumed_and_a_refused_call(
    shared: GatewayProcess, sandbox: SandboxProcess, typed: Typed
) -> None:
    paid = ask(shared, credential(shared), chat(**SHORT))
    said = explained(typed, shared, paid.call_id)
    assert "agent/ant" in said
    assert "red-lead@acme.example answers for it" in said
    assert f"It was charged {paid.headers['x-comptroller-charge-usd']} USD, exactly" in said
    cut = ask(shared, credential(shared), chat(sandbox={"fault": "cut_before_headers"}))
    assert (cut.status, cut.code) == (502, "upstream_failed")
    row = typed.rows(shared, "calls", "--outcome", "provider_cut")[0]
    said = explained(typed, shared, row["id"])
    assert f"It was charged {row['charge_usd']} USD as presumed: no usage report came" in said
    assert f"comptroller correct {row['id']}" in said
    refused = ask(shared, credential(shared, "agent/bee"), chat(max_tokens=4000))
    detail = refused.error["comptroller"]
    said = explained(typed, shared, refused.call_id)
    assert "It was refused (budget_exhausted, HTTP 402) before anything was sent, and cost nothing" in said
    assert f"It needed {detail['needed']} usd and bee-day had {detail['remaining']} left" in said.replace("USD", "usd")
    assert f"resets at {detail['resets_at']}" in said
    assert f"With an output limit of {detail['largest_output_tokens']} tokens it would have fitted" in said
    assert f"ask for at most {detail['largest_output_tokens']} output tokens" in said
    fits = ask(shared, credential(shared, "agent/bee"), chat(max_tokens=detail["largest_output_tokens"]))
    assert fits.status == 200
    assert shared.command("explain", "call_nobody", check=False).returncode == 1


def test_overruns_are_named_stop_the_model_and_a_person_resumes_it(
    own: GatewayProcess, typed: Typed, sandbox: SandboxProcess
) -> None:
    ant = credential(own)
    for by in (100, 2_000, 40_000):  # each above what was held, though the bound was raised
        assert ask(own, ant, chat(max_tokens=10, sandbox={"fault": "overrun", "by": by})).status == 200
    rows = typed.rows(own, "calls")
    assert sum(nanos(row["charge_usd"]) for row in rows) == int(sandbox.total()["charge_nanos"])
    assert all(nanos(row["charge_usd"]) > nanos(row["held_usd"]) for row in rows)
    assert nanos(windows(typed, own)["all"]["posted"]) == int(sandbox.total()["charge_nanos"])
    findings = typed.rows(own, "findings")
    assert [finding["code"] for finding in findings] == ["overrun"] * 3
    assert {finding["call"] for finding in findings} == {row["id"] for row in rows}
    (bound,) = typed.rows(own, "bounds")
    assert (bound["provider"], bound["model"], bound["quarantined"]) == ("sandbox", "sandbox-large", True)
    own.restart()
    stopped = ask(own, ant, chat(max_tokens=10))
    assert (stopped.status, stopped.code) == (402, "model_quarantined")
    assert "comptroller resume bound sandbox/sandbox-large" in stopped.error["message"]
    assert ask(own, ant, chat(model="sandbox-small", max_tokens=10)).status == 200  # nothing wider is frozen
    assert "quarantined" in own.command("bounds").stdout
    own.command("resume", "bound", "sandbox/sandbox-large", "--reason", "the provider mended it")
    assert typed.rows(own, "bounds")[0]["quarantined"] is False
    again = ask(own, ant, chat(max_tokens=10))
    assert again.status == 200
    assert "The bound was multiplied by" in explained(typed, own, again.call_id)


def test_a_store_that_nobody_holds_is_worked_on_and_one_that_is_held_is_not(own: GatewayProcess, typed: Typed) -> None:
    paid = ask(own, credential(own), chat(**SHORT))
    online = {name: typed.rows(own, name) for name in ("calls", "identities", "budgets")}
    written = own.config.read_text()
    own.config.write_text(written.replace(f":{own.admin_port}", ":1"))  # it sees the store, and not the gateway
    held = own.command("budgets", check=False)
    assert (held.returncode, held.stdout) == (1, "")
    assert f"in use by process {own.pid}" in held.stderr
    own.config.write_text(written)
    assert own.sigterm() == 0
    assert {name: typed.rows(own, name) for name in online} == online
    assert "exactly" in explained(typed, own, paid.call_id)
    assert typed.rows(own, "status")["serving"] is False
    assert own.command("apply", "--yes").returncode == 0
    own.start()
    assert typed.rows(own, "calls") == online["calls"]
