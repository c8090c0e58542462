"""`apply` under load: one version for policies, prices and budgets, in force at one instant, and no call is dropped."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import Row, Said, ask, budget_of, chat, mint, nanos, stream
from tests.harness.configuration import budget, identity, prices, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("blue")}
OLD_POLICY = '@id("all-may-call")\npermit (principal, action == Action::"model.call", resource);\n'
NEW_POLICY = (
    OLD_POLICY
    + '\n@id("blue-stops") @reason("blue has stopped")\nforbid (principal in Team::"blue", action, resource);\n'
)
OLD = registry([budget("all", "100.00 USD")], MEMBERS)
NEW = registry([budget("all", "90.00 USD"), budget("fresh", "1_000_000 calls", "month")], MEMBERS)
CALLERS = 3
STREAMS = 3
SLOW: Row = {"output_tokens": 60, "tokens_per_s": 15}  # four seconds: `apply` happens in the middle


def dearer() -> list[dict[str, Any]]:
    """Every price of the sandbox, ten times over."""
    rates = ("input", "output", "cache_read", "cache_write", "audio_input")
    return [line | {rate: str(10 * float(line[rate])) for rate in rates} for line in prices()]


@pytest.fixture
def gateway(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    write_policy(tmp_path, OLD_POLICY)
    with GatewayProcess(tmp_path, process(sandbox.url), OLD) as running:
        yield running
        assert "Traceback" not in running.log()


def write_policy(folder: Path, text: str) -> None:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "one.cedar").write_text(text)


class Load:
    """Callers of two teams that never stop, and what they were told."""

    def __init__(self) -> None:
        self.said: dict[str, list[Said]] = {name: [] for name in MEMBERS}
        self._stop = threading.Event()

    def call(self, gateway: GatewayProcess, name: str, credential: str) -> None:
        while not self._stop.is_set():
            self.said[name].append(ask(gateway, credential, chat(f"{name} under load", max_tokens=10)))

    @contextmanager
    def running(self, gateway: GatewayProcess) -> Iterator[None]:
        credentials = {name: mint(gateway, name)["credential"] for name in MEMBERS}
        with ThreadPoolExecutor(CALLERS * len(MEMBERS)) as pool:
            calling = [pool.submit(self.call, gateway, *each) for each in credentials.items() for _ in range(CALLERS)]
            try:
                self.wait_for_more()
                yield
                self.wait_for_more()
            finally:
                self._stop.set()
            for each in calling:
                each.result()

    def wait_for_more(self) -> None:
        """Until each team was answered some more times."""
        enough = {name: len(said) + 10 for name, said in self.said.items()}
        pause = threading.Event()
        while any(len(self.said[name]) < count for name, count in enough.items()):
            pause.wait(0.02)


def test_one_version_at_one_instant_and_nothing_is_dropped(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    load = Load()
    in_flight = mint(gateway, "agent/ant")["credential"]
    with load.running(gateway), ExitStack() as streams:
        open_streams = [
            streams.enter_context(stream(gateway, in_flight, chat(f"{number}", max_tokens=60, sandbox=SLOW)))
            for number in range(STREAMS)
        ]
        for each in open_streams:
            each.readline()
        write_policy(gateway.folder, NEW_POLICY)
        gateway.write_registry(NEW | {"prices": dearer()})
        assert "Installed as version 2." in gateway.command("apply", "--yes").stdout
        ends = [each.read() for each in open_streams]
    assert all(end.endswith(b"data: [DONE]\n\n") for end in ends), "streams in flight go on to their end"
    assert [said.body for said in load.said["agent/ant"] if said.status != 200] == []
    assert {(said.status, said.code if said.status != 200 else "") for said in load.said["agent/bee"]} == {
        (200, ""),
        (402, "policy_forbidden"),
    }

    rows = gateway.calls()
    versions = {(row["policy_version"], row["price_version"]) for row in rows}
    assert len(versions) == 2, "policies and prices have changed together"
    old = rows[-1]["price_version"]  # of the first call
    before = [row for row in rows if row["price_version"] == old]
    after = [row for row in rows if row["price_version"] != old]
    assert max(row["at"] for row in before) <= min(row["at"] for row in after), "and at one instant"
    assert {row["outcome"] for row in before} == {"completed"}
    assert {(row["identity"], row["outcome"]) for row in after} == {
        ("agent/ant", "completed"),
        ("agent/bee", "refused"),
    }

    assert_charged_by_version(sandbox, before, after)
    streamed = {each.headers["x-comptroller-call-id"] for each in open_streams}
    assert streamed <= {row["id"] for row in before}, "and are charged by the version they began with"
    assert_budgets_count_all(gateway, rows)


def assert_charged_by_version(sandbox: SandboxProcess, before: list[Row], after: list[Row]) -> None:
    """The old prices are the sandbox's own, so its bill is the charge; the new ones are ten times that."""
    bill = {line["client_request_id"].partition(".")[0]: int(line["charge_nanos"]) for line in sandbox.requests()}
    assert all(nanos(row["charge_usd"]) == bill[row["id"]] for row in before)
    assert all(nanos(row["charge_usd"]) == 10 * bill[row["id"]] for row in after if row["outcome"] != "refused")


def assert_budgets_count_all(gateway: GatewayProcess, rows: list[Row]) -> None:
    """The old budget goes on with another limit; the new one began with what was spent, streams in flight included."""
    charged = [nanos(row["charge_usd"]) for row in rows if row["outcome"] != "refused"]
    kept = budget_of(gateway, "all")
    assert (nanos(kept["limit"]), nanos(kept["posted"]), nanos(kept["held"])) == (90 * 10**9, sum(charged), 0)
    fresh = budget_of(gateway, "fresh")
    assert (fresh["posted"], fresh["held"]) == (len(charged), 0)


def test_the_process_is_another_file(gateway: GatewayProcess) -> None:
    """What stands in comptroller.toml is read at a start: a provider that it names since then is not there yet."""
    text = gateway.config.read_text()
    gateway.config.write_text(text.replace("[providers.sandbox]", "[providers.elsewhere]"))
    assert gateway.command("plan").stdout.startswith("Nothing to change")
    assert ask(gateway, mint(gateway)["credential"], chat(max_tokens=5)).status == 200
    assert [row["name"] for row in gateway.cli("status")["providers"]] == ["sandbox"]
    assert gateway.sigterm() == 0
    gateway.start()
    assert [row["name"] for row in gateway.cli("status")["providers"]] == ["elsewhere"]
    refused = ask(gateway, mint(gateway)["credential"], chat(max_tokens=5))
    assert (refused.status, "[providers] in comptroller.toml" in refused.error["message"]) == (402, True)
