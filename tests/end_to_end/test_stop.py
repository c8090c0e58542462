"""A person stops a session or an identity: its open streams end at once, its next call is refused, nobody else's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.end_to_end.caller import Row, ask, budget_of, chat, mint, nanos, settled_row
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

BUDGETS = [budget("all", "100.00 USD")]
MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("blue")}
LONG: Row = {"output_tokens": 3000, "tokens_per_s": 20}  # longer than any test waits for it
SHORT = chat(max_tokens=10)


@pytest.fixture(scope="module")
def shared(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("stop")
    with GatewayProcess(folder, process(sandbox_process.url), registry(BUDGETS, MEMBERS)) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@contextmanager
def open_stream(gateway: GatewayProcess, session: Row) -> Iterator[Any]:
    """A stream of the SDK that has begun: the response, then its events."""
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=session["credential"], max_retries=0) as client,
        client.chat.completions.create(
            model="sandbox-large", messages=[{"role": "user", "content": session["session"]}], stream=True,
            extra_body={"sandbox": LONG},
        ) as events,
    ):  # fmt: skip
        next(events)
        yield events


def raised_by(events: Any) -> openai.APIError:
    """What the SDK raises at the end of a stream that was cut."""
    with pytest.raises(openai.APIError) as raised:
        for _ in events:
            pass
    return raised.value


def assert_stopped(gateway: GatewayProcess, sandbox: SandboxProcess, call_id: str) -> None:
    """The call is charged what must be presumed: nobody knows how much more the provider generated."""
    row = settled_row(gateway, call_id)
    assert (row["outcome"], row["presumed"], row["charge_usd"]) == ("stopped", True, row["held_usd"])
    lines = [line for line in sandbox.requests() if line["client_request_id"] == f"{call_id}.1"]
    assert [int(line["charge_nanos"]) <= nanos(row["charge_usd"]) for line in lines] == [True]


def test_ending_a_session_cuts_its_stream_and_refuses_its_next_call(
    shared: GatewayProcess, sandbox: SandboxProcess
) -> None:
    stopped, other = mint(shared), mint(shared)
    with open_stream(shared, stopped) as events, open_stream(shared, other) as others:
        done = shared.cli("sessions", "end", stopped["session"], "--reason", "it loops")
        assert done["cut_calls"] == 1
        error = raised_by(events)
        assert error.code == "session_ended"
        assert f"stopped in flight: its session {stopped['session']} was ended by bootstrap: it loops." in str(error)
        assert_stopped(shared, sandbox, events.response.headers["x-comptroller-call-id"])
        next(others)  # another session of the same identity goes on
        open_call = others.response.headers["x-comptroller-call-id"]
        (row,) = [row for row in shared.admin("GET", "/calls") if row["id"] == open_call]
        assert row["outcome"] == "open"
    refused = ask(shared, stopped["credential"], SHORT)
    assert (refused.status, refused.code) == (402, "session_ended")
    assert "was ended by bootstrap: it loops" in refused.error["message"]
    assert "comptroller token agent/ant" in refused.error["message"]
    assert ask(shared, other["credential"], SHORT).status == 200
    shared.restart()  # and it stays so
    assert ask(shared, stopped["credential"], SHORT).code == "session_ended"
    assert ask(shared, other["credential"], SHORT).status == 200
    assert budget_of(shared, "all")["held"] == "0.00"
    (change,) = [each for each in shared.admin("GET", "/changes") if each["verb"] == "end"]
    assert (change["key"], change["reason"], change["actor"]) == (stopped["session"], "it loops", "bootstrap")


def test_ending_a_session_twice_changes_nothing(shared: GatewayProcess) -> None:
    session = mint(shared)["session"]
    assert shared.cli("sessions", "end", session, "--reason", "first")["already_ended"] is False
    assert shared.cli("sessions", "end", session, "--reason", "second")["already_ended"] is True
    (row,) = [row for row in shared.cli("sessions", "--all") if row["id"] == session]
    assert (row["state"], row["ended_reason"]) == ("ended", "first")


def test_an_identity_that_leaves_the_registry_is_stopped_with_all_its_sessions(
    tmp_path: Path, sandbox: SandboxProcess
) -> None:
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        one, two, bee = mint(gateway), mint(gateway), mint(gateway, "agent/bee")
        with open_stream(gateway, one) as first, open_stream(gateway, two) as second, open_stream(gateway, bee) as bees:
            gateway.write_registry(registry(BUDGETS, {"agent/bee": MEMBERS["agent/bee"]}))
            assert "agent/ant" in gateway.command("apply", "--yes").stdout
            for events in (first, second):
                assert raised_by(events).code == "identity_unknown", "as its next call would be told"
                assert_stopped(gateway, sandbox, events.response.headers["x-comptroller-call-id"])
            next(bees)
        for session in (one, two):
            refused = ask(gateway, session["credential"], SHORT)
            assert (refused.status, refused.code) == (402, "identity_unknown")
        assert ask(gateway, bee["credential"], SHORT).status == 200
        assert gateway.command("token", "agent/ant", check=False).returncode == 1
        (row,) = [row for row in gateway.cli("identities") if row["id"] == "agent/ant"]
        assert row["state"] == "disabled"
        gateway.write_registry(registry(BUDGETS, MEMBERS))
        gateway.command("apply", "--yes")
        assert ask(gateway, mint(gateway)["credential"], SHORT).status == 200
        assert "Traceback" not in gateway.log()
