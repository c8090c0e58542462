"""Notices as a receiver meets them: signed, in one shape, again until they arrive, over restarts and `kill -9`."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import ask, chat, eventually, mint
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import CommandFailed, GatewayProcess
from tests.harness.receiver import SECRET, Received, ReceiverServer
from tests.harness.scrape import scrape
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

CANARY = "the-canary-in-the-prompt"
ENV = {"HOOK_SECRET": SECRET}
SOFT = budget("acme-life", "0.10 USD", soft=["1% notify", "50% notify", "90% approval:finops"])


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as running:
        yield running


@pytest.fixture
def ops() -> Iterator[ReceiverServer]:
    with ReceiverServer() as running:
        yield running
        assert running.unsigned == []


def told(receiver: ReceiverServer, name: str = "ops", **changes: Any) -> dict[str, Any]:
    """A `[[notify]]` with little patience."""
    known = {"name": name, "url": receiver.url, "secret": "env:HOOK_SECRET", "first_retry_s": 0.05, "timeout_s": 5.0}
    return known | changes


def a_gateway(folder: Path, sandbox: SandboxProcess, *receivers: dict[str, Any], **changes: Any) -> GatewayProcess:
    files = process(sandbox.url, notify=list(receivers))
    return GatewayProcess(folder, files, registry([SOFT], **changes), env=ENV)


def receivers(gateway: GatewayProcess) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in gateway.admin("GET", "/notify")}


def stop_something(gateway: GatewayProcess, number: int = 0) -> None:
    """Something that is told of at once."""
    gateway.admin("POST", "/stops", {"scope": "tenant", "value": f"tenant-{number}", "reason": "a test"})


def names(taken: list[Received]) -> list[str]:
    return [one.name for one in taken]


def test_a_passed_step_is_told_once_signed_and_without_the_prompt(
    tmp_path: Path, sandbox: SandboxProcess, ops: ReceiverServer
) -> None:
    with a_gateway(tmp_path, sandbox, told(ops, events=["budget.*"])) as gateway:
        credential = mint(gateway)["credential"]
        for number in range(3):
            assert ask(gateway, credential, chat(f"{CANARY} {number} " * 40, max_tokens=60)).status == 200
        (notice,) = ops.wait_for("budget.threshold")
        gateway.restart()
        assert ask(gateway, credential, chat(f"{CANARY} once more", max_tokens=5)).status == 200
        stop_something(gateway)
        assert gateway.command("notify", "test", "ops").stdout.startswith("ops took ntc_")
        assert [name for name in names(ops.taken) if name != "notice.test"] == ["budget.threshold"]
        (row,) = [row for row in gateway.admin("GET", "/budgets") if row["name"] == "acme-life"]
        assert row["soft_passed"] == ["1% notify"]
        assert row["soft"] == SOFT["soft"]
    event = notice.event
    assert notice.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert (event["specversion"], event["id"], event["severity"]) == ("1.0", notice.id, "warning")
    assert event["source"] == gateway.url
    data = event["data"]
    assert (data["budget"], data["threshold"], data["limit"], data["unit"]) == ("acme-life", "1%", "0.10", "usd")
    assert Decimal(data["posted"]) + Decimal(data["held"]) + Decimal(data["remaining"]) == Decimal("0.1")
    assert all(CANARY.encode() not in one.body for one in ops.all)
    assert SECRET not in gateway.log()
    assert "/hooks/" not in gateway.log()


def test_a_budget_that_refuses_is_told_once(tmp_path: Path, sandbox: SandboxProcess, ops: ReceiverServer) -> None:
    with a_gateway(tmp_path, sandbox, told(ops, scope={"budget": "acme-life"})) as gateway:
        credential = mint(gateway)["credential"]
        for _ in range(3):
            assert ask(gateway, credential, chat("x" * 60_000, max_tokens=4_000)).code == "budget_exhausted"
        (notice,) = ops.wait_for("budget.exhausted")
        gateway.command("notify", "test", "ops")
        assert names(ops.taken) == ["budget.exhausted", "notice.test"]
    assert notice.event["data"]["refused_identity"] == "agent/ant"
    assert notice.event["data"]["about"]["team"] == "red"


def test_stops_and_their_end_are_told_to_whoever_wants_them(
    tmp_path: Path, sandbox: SandboxProcess, ops: ReceiverServer
) -> None:
    with ReceiverServer() as red:
        mine = told(red, "red", scope={"team": ["red"]}, min_severity="warning")
        with a_gateway(tmp_path, sandbox, told(ops, events=["stop.*"]), mine) as gateway:
            for team in ("blue", "red"):
                sent = {"scope": "team", "value": team, "reason": "a leak"}
                gateway.admin("POST", "/stops", sent)
                gateway.admin("POST", "/stops", sent)
            gateway.admin("POST", "/stops/resume", {"scope": "team", "value": "red", "reason": "mended"})
            ops.wait(lambda taken: len(taken) >= 3)
            (notice,) = red.wait_for("stop.suspended")
            gateway.command("notify", "test", "red")
            assert sorted(names(ops.taken)) == ["stop.resumed", "stop.suspended", "stop.suspended"]
            assert names(red.taken) == ["stop.suspended", "notice.test"], "a stop that is lifted is no warning"
    assert notice.event["data"]["reason"] == "a leak"


def test_what_is_not_delivered_is_tried_again_under_the_same_id(
    tmp_path: Path, sandbox: SandboxProcess, ops: ReceiverServer
) -> None:
    ops.answer = lambda number: ((503, {"retry-after": "0"}), (302, {"location": "/elsewhere"}), (204, {}))[number - 1]
    with a_gateway(tmp_path, sandbox, told(ops)) as gateway:
        stop_something(gateway)
        ops.wait_for("stop.suspended")
        assert [one.status for one in ops.all] == [503, 302, 204]
        assert len({one.id for one in ops.all}) == len({one.body for one in ops.all}) == 1
        eventually(lambda: receivers(gateway)["ops"]["delivered"] == 1)
        row = receivers(gateway)["ops"]
        assert (row["waiting"], row["state"], row["last_error"]) == (0, "well", None)
        assert row["url"] == ops.url.partition("/hooks")[0]


def test_what_waits_survives_a_killed_gateway(tmp_path: Path, sandbox: SandboxProcess, ops: ReceiverServer) -> None:
    ops.answer = lambda _: (500, {})
    with a_gateway(tmp_path, sandbox, told(ops, first_retry_s=0.3)) as gateway:
        for number in range(3):
            stop_something(gateway, number)
        ops.wait_for_requests(1)
        assert receivers(gateway)["ops"]["waiting"] == 3
        gateway.kill9()
        ops.answer = lambda _: (204, {})
        gateway.start()
        taken = ops.wait(lambda taken: len(taken) >= 3)
        assert {one.event["data"]["value"] for one in taken} == {"tenant-0", "tenant-1", "tenant-2"}
        eventually(lambda: receivers(gateway)["ops"]["waiting"] == 0)
        gateway.restart()
        gateway.command("notify", "test", "ops")
        assert names(ops.taken) == ["stop.suspended"] * 3 + ["notice.test"], "what was delivered is not sent again"


def test_a_dead_letter_is_listed_and_sent_again(tmp_path: Path, sandbox: SandboxProcess, ops: ReceiverServer) -> None:
    ops.answer = lambda _: (500, {})
    with a_gateway(tmp_path, sandbox, told(ops, give_up_after_s=0.3)) as gateway:
        stop_something(gateway)
        eventually(lambda: receivers(gateway)["ops"]["dead_letters"] == 1)
        (row,) = gateway.admin("GET", "/notify/failed")
        assert (row["receiver"], row["name"], row["error"]) == ("ops", "stop.suspended", "it answered with status 500")
        assert row["tries"] > 1
        assert row["id"] in gateway.command("notify", "failed").stdout
        assert '"notice_failed"' in gateway.log()
        gateway.restart()
        page = scrape(gateway).samples
        assert page.by("comptroller_notices_dead", "receiver") == {"ops": 1}
        ops.answer = lambda _: (204, {})
        assert gateway.command("notify", "retry", row["id"]).stdout == "1 sent again\n"
        (again,) = ops.wait_for("stop.suspended")
        assert again.id == row["id"]
        eventually(lambda: gateway.admin("GET", "/notify/failed") == [])
        with pytest.raises(CommandFailed, match="notify failed"):
            gateway.command("notify", "retry", row["id"])


def test_a_receiver_that_is_gone_gets_nothing_more(
    tmp_path: Path, sandbox: SandboxProcess, ops: ReceiverServer
) -> None:
    ops.answer = lambda _: (410, {})
    with a_gateway(tmp_path, sandbox, told(ops)) as gateway:
        for number in range(3):
            stop_something(gateway, number)
        eventually(lambda: receivers(gateway)["ops"]["dead_letters"] == 3)
        assert receivers(gateway)["ops"]["state"] == "gone"
        assert len(ops.all) == 1
        ops.answer = lambda _: (204, {})
        gateway.command("notify", "test", "ops")
        assert gateway.command("notify", "retry", "--receiver", "ops").stdout == "3 sent again\n"
        assert len(ops.wait_for("stop.suspended", 3)) == 3


def test_a_silent_receiver_delays_no_call_and_no_other_receiver(
    tmp_path: Path, sandbox: SandboxProcess, ops: ReceiverServer
) -> None:
    with ReceiverServer() as silent:
        silent.open.clear()
        with a_gateway(tmp_path, sandbox, told(silent, "silent", timeout_s=60.0), told(ops)) as gateway:
            for number in range(20):
                stop_something(gateway, number)
            assert len(ops.wait_for("stop.suspended", 20)) == 20
            assert ask(gateway, mint(gateway)["credential"], chat(max_tokens=5)).status == 200
            assert receivers(gateway)["silent"]["waiting"] == 20
            page = scrape(gateway).samples
            assert page.by("comptroller_notices_waiting", "receiver") == {"silent": 20, "ops": 0}


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("", "HOOK_SECRET is empty"),
        ("hunter2-hunter2-hunter2", "does not begin with whsec_"),
        ("whsec_eA==", "1 bytes"),
    ],
)
def test_without_a_good_secret_nothing_leaves(
    tmp_path: Path, sandbox: SandboxProcess, ops: ReceiverServer, secret: str, words: str
) -> None:
    files = process(sandbox.url, notify=[told(ops)])
    with GatewayProcess(tmp_path, files, registry(), env={"HOOK_SECRET": secret}) as gateway:
        with pytest.raises(CommandFailed, match=words) as said:
            gateway.command("notify", "test", "ops")
        assert "hunter2" not in str(said.value)
        assert ops.all == []
