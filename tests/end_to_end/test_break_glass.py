"""The glass is broken on a running gateway: two admins, some money, some time; budgets and stops hold all the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.caller import Said, ask, chat, mint, nanos, settled_row
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

POLICIES = """
@id("blue-may-call")
permit (principal in Team::"blue", action == Action::"model.call", resource);

@id("nothing-dear") @reason("not in the incident freeze")
forbid (principal in Team::"blue", action, resource == Model::"sandbox-large");
"""
IDENTITIES = {"agent/ant": identity("red"), "agent/bee": identity("blue")}
BUDGETS = [budget("all", "10.00 USD"), budget("bee", "0.02 USD", scope={"identity": "agent/bee"})]
CALL = {"max_tokens": 100, "sandbox": {"output_tokens": 100}}
ASKED = ("--for", "1h", "--limit", "1 USD", "--reason", "INC-9: the freeze is wrong")


@pytest.fixture
def gateway(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "one.cedar").write_text(POLICIES)
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, IDENTITIES)) as running:
        for name, role in (("ada", "admin"), ("eve", "admin"), ("olga", "operator"), ("otto", "approver")):
            made = running.admin("POST", "/admins", {"name": name, "role": role})
            running.env[name] = made["credential"]
            running.named = running.env["ada"]
        yield running
        assert "Traceback" not in running.log()


def act(gateway: GatewayProcess, who: str, *line: str) -> str:
    """What the command prints for this admin; its error, if it fails."""
    gateway.named = gateway.env[who]
    done = gateway.command(*line, check=False)
    gateway.named = gateway.env["ada"]
    return done.stdout.strip() if done.returncode == 0 else done.stderr


def grant(gateway: GatewayProcess, *scope: str, limit: str = "1") -> str:
    """One in force."""
    sent = {"scope": scope[0], "value": scope[1] if scope[1:] else "", "lasts_s": 600, "limit_usd": limit}
    asked = gateway.admin("POST", "/break-glass", {**sent, "reason": "INC-9"})
    gateway.named = gateway.env["otto"]
    confirmed = gateway.admin("POST", f"/break-glass/{asked['id']}/confirm")
    gateway.named = gateway.env["ada"]
    assert confirmed["state"] == "in_force"
    return asked["id"]


def call(gateway: GatewayProcess, credential: str, **fields: object) -> Said:
    return ask(gateway, credential, chat(**{**CALL, **fields}))


def state(gateway: GatewayProcess, grant_id: str) -> dict[str, str]:
    return next(each for each in gateway.admin("GET", "/break-glass") if each["id"] == grant_id)


def test_two_admins_break_the_glass_and_one_mends_it(gateway: GatewayProcess) -> None:
    ant, bee = mint(gateway)["credential"], mint(gateway, "agent/bee")["credential"]
    assert call(gateway, ant).code == "no_permit"
    assert call(gateway, bee).code == "policy_forbidden"

    grant_id = act(gateway, "olga", "break-glass", "team", "red", *ASKED)
    assert grant_id.startswith("brg_")
    assert call(gateway, ant).code == "no_permit", "one is not enough"
    assert "olga is operator" in act(gateway, "olga", "break-glass", "confirm", grant_id)
    confirmed = act(gateway, "otto", "break-glass", "confirm", grant_id)
    assert "policies are skipped for team red until" in confirmed

    said = call(gateway, ant)
    assert said.status == 200
    row = settled_row(gateway, said.call_id)
    assert row["policies"] == [f"break-glass:{grant_id}"], "the record names the grant"
    assert f"break-glass:{grant_id}" in gateway.command("explain", said.call_id).stdout
    assert call(gateway, bee).code == "policy_forbidden", "another team is not in its scope"

    listed = gateway.command("break-glass", "list").stdout
    assert all(each in listed for each in (grant_id, "in force", "olga", "otto", "INC-9: the freeze is wrong"))
    spent = state(gateway, grant_id)
    assert nanos(spent["spent_usd"] or "0") == nanos(row["charge_usd"]) > 0

    gateway.kill9()
    gateway.start()
    assert state(gateway, grant_id) == spent, "a restart forgets neither the grant nor what it has spent"
    ant = mint(gateway)["credential"]
    assert call(gateway, ant).status == 200

    assert "is over" in act(gateway, "olga", "break-glass", "end", grant_id)
    assert call(gateway, ant).code == "no_permit"
    assert state(gateway, grant_id)["state"] == "over"
    told = [(each["verb"], each["actor"]) for each in gateway.admin("GET", "/changes") if each["key"] == grant_id]
    assert told == [("end", "olga"), ("confirm", "otto"), ("ask", "olga")]


def test_nobody_breaks_it_alone(gateway: GatewayProcess) -> None:
    grant_id = act(gateway, "ada", "break-glass", "everything", *ASKED)
    assert "ada has asked for this" in act(gateway, "ada", "break-glass", "confirm", grant_id)
    assert "policies are skipped for everything" in act(gateway, "eve", "break-glass", "confirm", grant_id)
    assert "is in force" in act(gateway, "eve", "break-glass", "confirm", grant_id)
    assert call(gateway, mint(gateway)["credential"]).status == 200


def test_a_forbid_is_skipped_and_budgets_and_stops_are_not(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    bee = mint(gateway, "agent/bee")["credential"]
    grant_id = grant(gateway, "identity", "agent/bee")
    said = call(gateway, bee)
    assert settled_row(gateway, said.call_id)["policies"] == [f"break-glass:{grant_id}", "nothing-dear"]
    small = call(gateway, bee, model="sandbox-small")
    before = state(gateway, grant_id)["spent_usd"]
    assert settled_row(gateway, small.call_id)["policies"] == ["blue-may-call"], "what is permitted needs no grant"
    assert state(gateway, grant_id)["spent_usd"] == before
    while (said := call(gateway, bee)).status == 200:
        pass
    assert (said.status, said.code) == (402, "budget_exhausted")
    assert nanos(state(gateway, grant_id)["spent_usd"]) < nanos("0.02")
    gateway.admin("POST", "/stops", {"scope": "team", "value": "blue", "reason": "a leak"})
    assert call(gateway, bee).code == "identity_suspended"


def test_its_own_amount_holds(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    ant = mint(gateway)["credential"]
    grant_id = grant(gateway, "everything", limit="0.005")
    answered = 0
    while (said := call(gateway, ant)).status == 200:
        answered += 1
    assert answered > 0
    assert said.code == "no_permit", "then policies hold again"
    spent = nanos(state(gateway, grant_id)["spent_usd"])
    assert spent == int(sandbox.total()["charge_nanos"]) <= nanos("0.005")
    act(gateway, "eve", "break-glass", "end", grant_id)
    over = state(gateway, grant_id)
    assert (over["state"], nanos(over["spent_usd"])) == ("over", spent), "the list goes on saying what it came to"
