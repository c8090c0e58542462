"""Runs that loop are ended by their bounds, one after the other; and nothing that a call says changes whose it is."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.end_to_end.caller import Row, Said, ask, chat, eventually, nanos, rest_of, row_of, settled_row, stream
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

FREE = {"usd": "unbounded", "model_calls": "unbounded"}
PROFILES = {
    "calls": FREE | {"model_calls": 5},
    "money": FREE | {"usd": "0.002"},
    "clock": FREE | {"wall_clock_s": 3},
    "idle": FREE | {"idle_s": 1},
}
MEMBERS = {
    "agent/ant": identity("red"),
    "agent/bee": identity("blue", may_act=["agent/ant"]),
    **{f"agent/{name}": identity("red", profile=name) for name in PROFILES},
}
TICKETS = budget("ticket", "0.002 USD", scope={"task_type": "ticket"}, per="task", visible="caller")
BUDGETS = [budget("all", "100.00 USD"), TICKETS, budget("shop", "90.00 USD", scope={"tenant": "shop-7"})]
SHORT = chat(max_tokens=20, sandbox={"output_tokens": 20})
LONG: Row = {"output_tokens": 3000, "tokens_per_s": 20}  # longer than any test waits for it
MOST_CALLS = 3_000


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    files = registry(BUDGETS, MEMBERS, profiles=PROFILES)
    with GatewayProcess(tmp_path_factory.mktemp("runs"), process(sandbox_process.url), files) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def opened(gateway: GatewayProcess, name: str = "agent/ant", **given: object) -> Row:
    return gateway.admin("POST", "/sessions/open", {"identity": name, **given})


def own(gateway: GatewayProcess, session: Row) -> Row:
    """A session as the admin plane shows it."""
    return gateway.admin("GET", f"/sessions/{session['session']}")


def loop(gateway: GatewayProcess, session: Row) -> tuple[int, Said]:
    """Call until it is refused: how many were answered, and the refusal."""
    for number in range(MOST_CALLS):
        said = ask(gateway, session["credential"], SHORT)
        if said.status != 200:
            return number, said
    raise AssertionError("it loops for ever")


def test_a_loop_is_ended_by_its_calls(gateway: GatewayProcess) -> None:
    session = opened(gateway, "agent/calls")
    answered, refused = loop(gateway, session)
    assert (answered, refused.status, refused.code) == (5, 402, "session_limit")
    assert refused.headers["x-should-retry"] == "false"
    assert "0 calls left of its 5 calls" in refused.error["message"]
    row = own(gateway, session)
    assert (row["state"], row["spent"]["model_calls"]) == ("exhausted", 5)
    gateway.cli("sessions", "renew", session["session"], "--bound", "model_calls=7", "--reason", "two more")
    assert loop(gateway, session)[0] == 2


def test_a_loop_is_ended_by_its_money_however_many_call_at_once(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    session = opened(gateway, "agent/money")
    with ThreadPoolExecutor(8) as pool:
        refusals = [refused for _, refused in pool.map(lambda _: loop(gateway, session), range(8))]
    assert {refused.code for refused in refusals} == {"session_limit"}
    spent = nanos(own(gateway, session)["spent"]["usd"])
    calls = [row["id"] for row in gateway.admin("GET", f"/calls?session={session['session']}&limit=1000")]
    billed = sum(
        int(line["charge_nanos"])
        for line in sandbox.requests()
        if str(line["client_request_id"]).removesuffix(".1") in calls
    )
    assert 0 < billed == spent <= 2_000_000


def test_a_loop_is_ended_by_its_wall_clock_with_what_is_in_flight(gateway: GatewayProcess) -> None:
    session = opened(gateway, "agent/ant")
    child = opened(gateway, "agent/bee", parent=session["session"])
    with stream(gateway, child["credential"], chat(sandbox=LONG)) as response:
        call_id = response.headers["x-comptroller-call-id"]
        gateway.cli("sessions", "narrow", session["session"], "--bound", "wall_clock=1s", "--reason", "it is late")
        said = rest_of(response)
    assert b"session_ended" in said
    assert b"has run for as long as it may, until 20" in said
    assert settled_row(gateway, call_id)["outcome"] == "stopped"
    for each in (session, child):
        _, refused = loop(gateway, each)
        assert refused.code == "session_ended"
    assert "has run for as long as it may" in refused.error["message"]
    assert own(gateway, session)["state"] == "expired"
    brief = opened(gateway, "agent/clock")  # its credential ends with it
    assert loop(gateway, brief)[1].code in {"credential_expired", "session_ended"}


def test_a_session_that_nobody_uses_ends_by_itself(gateway: GatewayProcess) -> None:
    session, busy = opened(gateway, "agent/idle"), opened(gateway, "agent/idle")
    with stream(gateway, busy["credential"], chat(sandbox={"output_tokens": 100, "tokens_per_s": 25})) as response:
        row = eventually(lambda: row if (row := own(gateway, session))["state"] == "ended" else None)
        assert (row["outcome"], row["ended_by"], row["ended_reason"]) == ("idle", "gateway", "idle for 1 s")
        assert own(gateway, busy)["state"] == "active"  # a call in flight is work
        rest_of(response)
    refused = ask(gateway, session["credential"], SHORT)
    assert (refused.status, refused.code) == (402, "session_ended")
    assert "idle for 1 s" in refused.error["message"]
    eventually(lambda: own(gateway, busy)["outcome"] == "idle")


def test_a_retry_of_the_same_task_shares_its_budget(gateway: GatewayProcess) -> None:
    first, second = (opened(gateway, task_type="ticket", task="T-1") for _ in range(2))
    other = opened(gateway, task_type="ticket", task="T-2")
    answered, refused = loop(gateway, first)
    assert answered > 0
    assert refused.code == "budget_exhausted"
    assert "ticket[ticket:T-1]" in refused.error["message"]
    assert ask(gateway, second["credential"], SHORT).code == "budget_exhausted"
    said = ask(gateway, other["credential"], SHORT)
    assert settled_row(gateway, said.call_id)["task"] == "ticket:T-2"
    lines = {line["key"]: line["calls"] for line in gateway.cli("spend", "--by", "task")}
    assert (lines["ticket:T-1"], lines["ticket:T-2"]) == (answered, 1)


FORGED: dict[str, str] = {
    "x-comptroller-session": "SESSION",
    "x-comptroller-identity": "agent/bee",
    "x-comptroller-tenant": "another",
    "x-claude-code-session-id": "SESSION",
    "x-claude-code-agent-id": "agent/bee",
    "session-id": "SESSION",
    "x-session-id": "SESSION",
    "openai-organization": "another",
    "openai-project": "another",
    "x-team": "blue",
    "x-litellm-end-user-id": "agent/bee",
    "baggage": "session.id=SESSION,user.id=agent/bee",
}


def test_nothing_that_a_call_says_changes_whose_it_is(gateway: GatewayProcess) -> None:
    session = opened(gateway, tenant="shop-7", task_type="chat", subject="ann")
    other = opened(gateway, "agent/bee")
    told = {name: value.replace("SESSION", other["session"]) for name, value in FORGED.items()}
    body = SHORT | {
        "user": "agent/bee",
        "metadata": {"session": other["session"], "identity": "agent/bee", "tenant": "another", "task": "ticket:T-9"},
        "safety_identifier": other["session"],
        "prompt_cache_key": other["session"],
    }
    plain = ask(gateway, session["credential"], SHORT)
    forged = ask(gateway, session["credential"], body, headers=told)
    assert (plain.status, forged.status) == (200, 200), forged.body
    rows = [settled_row(gateway, said.call_id) for said in (plain, forged)]
    assert [row["client_session"] for row in rows] == [None, other["session"]]  # a hint, for whoever looks
    whose = ("identity", "owner", "team", "environment", "session", "task", "chain")
    assert [{name: row[name] for name in whose} for row in rows] == [{name: rows[0][name] for name in whose}] * 2
    assert rows[0]["session"] == session["session"]
    assert rows[0]["task"] is None  # a type alone is no task
    assert own(gateway, other)["spent"]["model_calls"] == 0
    assert own(gateway, session)["spent"]["model_calls"] == 2
    assert not [line for line in gateway.cli("spend", "--by", "tenant") if line["key"] == "another"]


def test_a_run_of_three_is_a_tree_with_its_chain_on_every_call(gateway: GatewayProcess) -> None:
    top = opened(gateway, task_type="chat")
    answer = ask(
        gateway, top["credential"], json.dumps({"name": "reader", "bounds": {"usd": "0.50"}}).encode(),
        path="/comptroller/v1/sessions",
    )  # fmt: skip
    assert answer.status == 201, answer.body
    child = json.loads(answer.body)
    bee = opened(gateway, "agent/bee", parent=child["session"]["id"])
    said = ask(gateway, bee["credential"], SHORT)
    row = settled_row(gateway, said.call_id)
    assert row["chain"] == ["agent/bee", "agent/ant/~reader", "agent/ant"]
    assert (row["identity"], row["team"]) == ("agent/bee", "blue")
    shown = gateway.cli("tree", top["session"])
    (reader,) = shown["children"]
    (leaf,) = reader["children"]
    assert [node["name"] for node in (shown, reader, leaf)] == ["agent/ant", "agent/ant/~reader", "agent/bee"]
    assert {node["spent"]["usd"] for node in (shown, reader, leaf)} == {row["charge_usd"]}
    assert [node["own"]["model_calls"] for node in (shown, reader, leaf)] == [0, 0, 1]
    closed = ask(gateway, top["credential"], b'{"outcome": "succeeded"}', path="/comptroller/v1/sessions/self/close")
    assert closed.status == 200, closed.body
    assert ask(gateway, bee["credential"], SHORT).code == "session_ended"
    assert row_of(gateway, said.call_id)["session"] == bee["session"]


def test_a_bound_holds_over_kill_9(sandbox: SandboxProcess, tmp_path: Path) -> None:
    files = registry([budget("all", "100.00 USD")], MEMBERS, profiles=PROFILES)
    with GatewayProcess(tmp_path, process(sandbox.url), files) as gateway:
        session = opened(gateway, "agent/calls")
        for _ in range(3):
            assert ask(gateway, session["credential"], SHORT).status == 200
        gateway.kill9()
        gateway.start()
        assert own(gateway, session)["spent"]["model_calls"] == 3
        answered, refused = loop(gateway, session)
        assert (answered, refused.code) == (2, "session_limit")
