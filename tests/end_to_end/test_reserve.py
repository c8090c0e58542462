"""A share that is set aside for a session: it is there after a kill -9 in the middle of a stream, and in a failover."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.caller import Row, ask, budget_of, chat, nanos, row_of, settled_row, stream
from tests.harness.configuration import budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("red")}
BUDGETS = [budget("purse", "0.10 USD", scope={"team": "red"}, visible="caller")]
SHARE = nanos("0.06")
LONG: Row = {"output_tokens": 3000, "tokens_per_s": 20}  # longer than the gateway lives


def opened(gateway: GatewayProcess, **given: object) -> Row:
    return gateway.admin("POST", "/sessions/open", {"identity": "agent/ant", **given})


def child_of(gateway: GatewayProcess, parent: Row) -> Row:
    return opened(gateway, identity="agent/bee", parent=parent["session"], bounds={"usd": "0.06"}, reserve=True)


def counts(gateway: GatewayProcess) -> tuple[int, int]:
    """What the purse has posted, and what is held of it."""
    row = budget_of(gateway, "purse")
    return nanos(row["posted"]), nanos(row["held"])


def reserved(gateway: GatewayProcess, session: Row) -> int:
    return nanos(gateway.admin("GET", f"/sessions/{session['session']}")["reserved_usd"])


def test_a_kill_in_the_middle_of_a_stream_takes_from_the_share_alone(
    sandbox_process: SandboxProcess, tmp_path: Path
) -> None:
    with GatewayProcess(tmp_path, process(sandbox_process.url), registry(BUDGETS, MEMBERS)) as gateway:
        top = opened(gateway)
        child = child_of(gateway, top)
        with stream(gateway, child["credential"], chat(max_tokens=500, sandbox=LONG)) as response:
            call_id = response.headers["x-comptroller-call-id"]
            held = nanos(row_of(gateway, call_id)["held_usd"])
            assert counts(gateway) == (0, SHARE), "the call is held of the share, and nothing twice"
            assert reserved(gateway, child) == SHARE - held
            gateway.kill9()
        gateway.start()
        row = settled_row(gateway, call_id)
        assert row["presumed"]
        assert 0 < nanos(row["charge_usd"]) <= held
        spent = nanos(row["charge_usd"])
        assert counts(gateway) == (spent, SHARE - spent)
        assert reserved(gateway, child) == SHARE - spent
        # Nobody else has it, and the session can spend it.
        refused = ask(gateway, top["credential"], chat(max_tokens=1000, n=2))
        assert (refused.status, refused.code) == (402, "budget_exhausted"), refused.body
        assert "set aside for sessions below it" in refused.error["message"]
        gateway.kill9()  # a second time, with nothing in flight
        gateway.start()
        assert counts(gateway) == (spent, SHARE - spent)
        said = ask(gateway, child["credential"], chat(max_tokens=20))
        assert said.status == 200
        spent += nanos(settled_row(gateway, said.call_id)["charge_usd"])
        gateway.cli("sessions", "close", child["session"], "--outcome", "succeeded")
        assert counts(gateway) == (spent, 0)
        gateway.kill9()
        gateway.start()
        assert counts(gateway) == (spent, 0), "what is over stays over"


@pytest.fixture
def two() -> Iterator[tuple[SandboxProcess, SandboxProcess]]:
    with SandboxProcess() as first, SandboxProcess() as second:
        yield first, second


@pytest.mark.parametrize(("fault", "fits"), [("rate_limited", True), ("hang", False)])
def test_a_further_attempt_is_paid_from_what_the_share_has_left(
    two: tuple[SandboxProcess, SandboxProcess], tmp_path: Path, fault: str, fits: bool
) -> None:
    first, second = two
    providers = {"first": provider(first.url, first_byte_timeout_s=2.0), "second": provider(second.url)}
    known = registry(BUDGETS, MEMBERS, {"sandbox-*": model("first", "second")})
    with GatewayProcess(tmp_path, process(first.url, providers=providers), known) as gateway:
        top = opened(gateway)
        child = child_of(gateway, top)
        first.faults({"fault": fault})
        # Held at the dearest tier, a little over 0.03 of 0.06 USD: charged once, there is no room for a second.
        said = ask(gateway, child["credential"], chat(max_tokens=1000))
        row = settled_row(gateway, said.call_id)
        spent = nanos(row["charge_usd"])
        if fits:
            assert (said.status, row["attempts"]) == (200, 2), said.body
            assert spent == charged(second.settled())
        else:
            assert (said.status, said.code, row["attempts"]) == (402, "session_limit", 1), said.body
            assert row["presumed"]
            assert second.count() == 0
        assert counts(gateway) == (spent, SHARE - spent)
        assert reserved(gateway, child) == SHARE - spent
