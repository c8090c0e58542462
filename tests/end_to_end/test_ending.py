"""How a gateway ends: one at a time on a store, drained by SIGTERM, killed at once; and what its books say then."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.end_to_end.caller import (
    Row,
    ask,
    budget_of,
    chat,
    eventually,
    mint,
    nanos,
    rest_of,
    row_of,
    stream,
)
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

BUDGETS = [
    budget("all", "100.00 USD"),
    budget("ant-day", "5.00 USD", "day", scope={"identity": "agent/ant"}),
    budget("tokens", "1_000_000 tokens", "month"),
]
LONG: Row = {"output_tokens": 3000, "tokens_per_s": 20}  # longer than any test waits for it


def gateway_of(folder: Path, sandbox: SandboxProcess, **changes: Any) -> GatewayProcess:
    return GatewayProcess(folder, process(sandbox.url, **changes), registry(BUDGETS))


@pytest.fixture
def own(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that this test may end."""
    with gateway_of(tmp_path, sandbox) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def assert_charged(gateway: GatewayProcess, row: Row) -> None:
    """This call alone stands in every budget, and nothing is held."""
    for name in ("all", "ant-day"):
        window = budget_of(gateway, name)
        assert (window["posted"], nanos(window["held"])) == (row["charge_usd"], 0)
        assert nanos(window["remaining"]) == nanos(window["limit"]) - nanos(row["charge_usd"])


def test_a_second_gateway_on_the_same_store_is_refused_and_told_who_holds_it(own: GatewayProcess) -> None:
    done = own.command("serve", check=False)
    assert done.returncode == 1
    assert f"in use by process {own.pid}" in done.stderr
    assert f"listening on 127.0.0.1:{own.port} and for operators on 127.0.0.1:{own.admin_port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert own.ready()


@contextmanager
def paused(sandbox: SandboxProcess) -> Iterator[None]:
    """The provider says nothing for a while."""
    os.kill(sandbox.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(sandbox.pid, signal.SIGCONT)


def test_sigterm_lets_a_stream_finish_and_takes_no_new_calls(tmp_path: Path, sandbox: SandboxProcess) -> None:
    with gateway_of(tmp_path, sandbox, drain_s=60.0) as own:
        credential = mint(own)["credential"]
        with stream(own, credential, chat(sandbox={"output_tokens": 60, "tokens_per_s": 30})) as response:
            response.readline()
            with paused(sandbox):
                own.signal(signal.SIGTERM)
                eventually(lambda: own.get("/readyz")[0] == 503)
                said = ask(own, credential, chat())
                assert (said.status, said.code, said.headers["retry-after"]) == (503, "draining", "5")
                assert "x-should-retry" not in said.headers
                assert own.get("/healthz")[0] == 200
            assert rest_of(response).endswith(b"data: [DONE]\n\n")
            call_id = response.headers["x-comptroller-call-id"]
        assert own.wait_exit() == 0
        own.start()
        row = row_of(own, call_id)
        assert (row["outcome"], row["presumed"], row["output_tokens"]) == ("completed", False, 60)
        (refused,) = [row for row in own.admin("GET", "/calls") if row["refusal"] == "draining"]
        assert refused["charge_usd"] is None


def test_a_stream_longer_than_the_drain_is_cut_said_and_charged(tmp_path: Path, sandbox: SandboxProcess) -> None:
    with gateway_of(tmp_path, sandbox, drain_s=0.3) as own:
        with openai.OpenAI(base_url=f"{own.url}/v1", api_key=mint(own)["credential"], max_retries=0) as client:
            chunks = client.chat.completions.create(
                model="sandbox-large", messages=[{"role": "user", "content": "go"}], stream=True,
                extra_body={"sandbox": LONG},
            )  # fmt: skip
            next(chunks)
            own.signal(signal.SIGTERM)
            with pytest.raises(openai.APIError) as raised:
                list(chunks)
        assert "The gateway shut down before this call was finished" in str(raised.value)
        assert raised.value.code == "draining"
        assert own.wait_exit() == 0
        own.start()
        (row,) = own.admin("GET", "/calls")
        assert (row["outcome"], row["presumed"], row["charge_usd"]) == ("drained", True, row["held_usd"])
        assert_charged(own, row)
        assert int(sandbox.total()["charge_nanos"]) <= nanos(row["charge_usd"])
        assert "recovered" not in own.log()  # it was settled before the end, not found afterwards


def test_a_second_sigterm_does_not_wait_for_the_drain(tmp_path: Path, sandbox: SandboxProcess) -> None:
    with gateway_of(tmp_path, sandbox, drain_s=3600.0) as own:
        with stream(own, mint(own)["credential"], chat(sandbox=LONG)) as response:
            response.readline()
            own.signal(signal.SIGTERM)
            eventually(lambda: own.get("/readyz")[0] == 503)
            own.signal(signal.SIGTERM)
            assert b'"code":"draining"' in rest_of(response)
        assert own.wait_exit() == 0


def killed_in_mid_stream(own: GatewayProcess) -> Row:
    """The row of a call that was open when the gateway was killed, after the next start."""
    with stream(own, mint(own)["credential"], chat(sandbox=LONG)) as response:
        response.readline()
        call_id = response.headers["x-comptroller-call-id"]
        own.kill9()
        assert b"[DONE]" not in rest_of(response)
    own.start()
    return row_of(own, call_id)


def test_a_call_that_was_open_at_kill_9_is_presumed_in_full(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    row = killed_in_mid_stream(own)
    assert (row["outcome"], row["presumed"], row["charge_usd"]) == ("crashed", True, row["held_usd"])
    assert nanos(row["charge_usd"]) > 0
    assert_charged(own, row)
    assert int(sandbox.total()["charge_nanos"]) <= nanos(row["charge_usd"])
    (finding,) = own.admin("GET", "/findings")
    assert finding["code"] == "holds_presumed"
    assert "1 call was in flight when the gateway died" in finding["sentence"]
    told = own.command("explain", row["id"]).stdout
    assert "the gateway died with the call in flight" in told
    assert "comptroller correct" in told
    own.kill9()  # and it is found once
    own.start()
    assert row_of(own, row["id"]) == row
    assert_charged(own, row)
    assert len(own.admin("GET", "/findings")) == 1


def test_a_correction_puts_a_presumed_charge_right_everywhere(own: GatewayProcess) -> None:
    row = killed_in_mid_stream(own)
    done = own.cli("correct", row["id"], "--charge", "0.0123", "--reason", "line 7 of the invoice")
    assert (done["charge_before_usd"], done["charge_usd"]) == (row["charge_usd"], "0.0123")
    for _ in range(2):
        after = row_of(own, row["id"])
        assert (after["charge_usd"], after["corrected"], after["held_usd"]) == ("0.0123", True, row["held_usd"])
        assert_charged(own, after)
        told = own.admin("GET", f"/calls/{row['id']}/explanation")
        (correction,) = told["corrections"]
        assert (correction["before_usd"], correction["after_usd"]) == (row["charge_usd"], "0.0123")
        assert (correction["actor"], correction["reason"]) == ("bootstrap", "line 7 of the invoice")
        assert any("corrected the charge" in sentence for sentence in told["sentences"])
        (change,) = [each for each in own.admin("GET", "/changes") if each["verb"] == "correct"]
        assert change["key"] == row["id"]
        own.restart()
    wrong = own.command("correct", row["id"], "--charge", "-1", "--reason", "x", check=False)
    assert wrong.returncode != 0
    assert row_of(own, row["id"])["charge_usd"] == "0.0123"
