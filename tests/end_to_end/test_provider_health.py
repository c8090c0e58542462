"""The health of providers as callers and operators meet it: by their own answers, and nothing is asked to find out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.caller import Row, Said, ask, chat, eventually, mint, row_of, settled_row
from tests.harness.configuration import model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.scrape import scrape
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

MODELS = {"sandbox-*": model("first", "second"), "sandbox-small": model("first")}
Two = tuple[SandboxProcess, SandboxProcess]


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    with SandboxProcess() as first, SandboxProcess() as second:
        yield first, second


@pytest.fixture
def gateway(two: Two, tmp_path: Path) -> Iterator[GatewayProcess]:
    for each in two:
        each.clear_faults()
        each.reset_bill()
    files = process(two[0].url, providers={"first": provider(two[0].url), "second": provider(two[1].url)})
    with GatewayProcess(tmp_path, files, registry(models=MODELS)) as running:
        yield running
        assert "Traceback" not in running.log()


def served_by(gateway: GatewayProcess, said: Said) -> str:
    return row_of(gateway, said.call_id)["provider"]


def standing(gateway: GatewayProcess) -> dict[str, Row]:
    return {row["name"]: row for row in gateway.admin("GET", "/status")["providers"]}


def test_a_provider_that_told_us_to_wait_is_asked_last(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "rate_limited", "retry_after_s": 120})
    credential = mint(gateway)["credential"]
    rows = [settled_row(gateway, ask(gateway, credential, chat(max_tokens=5)).call_id) for _ in range(5)]
    assert [(row["provider"], row["attempts"]) for row in rows] == [("second", 2), *[("second", 1)] * 4]
    assert first.count() == 1
    row = standing(gateway)["first"]
    assert (row["aside_why"], standing(gateway)["second"]["aside_until"]) == ("told to wait", None)
    assert "aside until" in gateway.command("status").stdout
    assert "providers.first.health" in gateway.command("doctor", check=False).stdout
    assert scrape(gateway).samples.by("comptroller_provider_aside", "provider") == {"first": 1, "second": 0}
    eventually(lambda: '"provider_aside"' in gateway.log())


def test_a_provider_that_is_aside_is_asked_where_there_is_no_other(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "unauthorized"})
    credential = mint(gateway)["credential"]
    ask(gateway, credential, chat(max_tokens=5))
    assert standing(gateway)["first"]["aside_why"] == "credential refused"
    said = ask(gateway, credential, chat(max_tokens=5, model="sandbox-small"))
    assert (said.status, said.code) == (503, "provider_credential_rejected"), "health alone refuses no call"
    first.clear_faults()
    assert ask(gateway, credential, chat(max_tokens=5, model="sandbox-small")).status == 200
    assert standing(gateway)["first"]["aside_until"] is None, "it has answered"
    assert served_by(gateway, ask(gateway, credential, chat(max_tokens=5))) == "first"


def test_no_further_attempt_goes_to_a_provider_that_is_aside(gateway: GatewayProcess, two: Two) -> None:
    first, second = two
    first.faults({"fault": "rate_limited", "retry_after_s": 120})
    credential = mint(gateway)["credential"]
    ask(gateway, credential, chat(max_tokens=5))
    second.faults({"fault": "server_error"})
    said = ask(gateway, credential, chat(max_tokens=5))
    assert said.status == 500
    assert settled_row(gateway, said.call_id)["attempts"] == 1
    assert first.count() == 1


def test_when_the_time_is_over_a_call_tries_it_again(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "rate_limited", "retry_after_s": 1})
    credential = mint(gateway)["credential"]
    assert served_by(gateway, ask(gateway, credential, chat(max_tokens=5))) == "second"
    first.clear_faults()
    eventually(lambda: served_by(gateway, ask(gateway, credential, chat(max_tokens=5))) == "first")
    eventually(lambda: '"provider_back"' in gateway.log())


def test_three_failures_in_a_row_put_a_provider_aside(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "cut_before_headers"})
    credential = mint(gateway)["credential"]
    rows = [settled_row(gateway, ask(gateway, credential, chat(max_tokens=5)).call_id) for _ in range(5)]
    assert [row["attempts"] for row in rows] == [2, 2, 2, 1, 1]
    eventually(lambda: "failed 3 times in a row, last provider_" in gateway.log())  # it says what was met
    assert standing(gateway)["first"]["aside_why"] == "failed"
