"""Retry storms as callers and operators meet them: the breaker that refuses, and the budget for retries."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comptroller.core.budget.retry_budget import SHIPPED
from comptroller.core.detection.retries import ROW_MOST
from comptroller.core.routing.breaker import FAILURES_MOST
from tests.end_to_end.caller import Row, Said, ask, chat, eventually, mint, row_of, settled_row
from tests.harness.configuration import Table, budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

Two = tuple[SandboxProcess, SandboxProcess]
MODELS = {"sandbox-*": model("first"), "both": model("first", "second"), "kept-trying": model("tireless")}
for name in ("both", "kept-trying"):
    MODELS[name]["upstream_model"] = dict.fromkeys(MODELS[name]["providers"], "sandbox-small")
IDENTITIES = {f"agent/{name}": identity("red") for name in ("ant", "bee", "few", "shown", "child-free")}
FEW: Table = {"name": "few", "scope": {"identity": "agent/few"}, "share": "0%", "per_minute": 2}
SHOWN: Table = {"name": "shown", "scope": {"identity": "agent/shown"}, "share": "0%", "per_minute": 0, "mode": "shadow"}


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    with SandboxProcess() as first, SandboxProcess() as second:
        yield first, second


@pytest.fixture
def gateway(two: Two, tmp_path: Path) -> Iterator[GatewayProcess]:
    for each in two:
        each.clear_faults()
        each.reset_bill()
    providers = {
        "first": provider(two[0].url),
        "second": provider(two[1].url),
        "tireless": provider(two[0].url, breaker_failures=0),
    }
    files = process(two[0].url, providers=providers)
    known = registry([budget("all", "1000.00 USD")], IDENTITIES, MODELS, retries=[FEW, SHOWN])
    known["prices"] += [{**each, "model": name} for name in ("both", "kept-trying") for each in known["prices"][:1]]
    with GatewayProcess(tmp_path, files, known) as running:
        yield running
        assert "Traceback" not in running.log()


def said_by(gateway: GatewayProcess, credential: str, times: int, **fields: object) -> list[Said]:
    """Answers to so many different requests, one after another."""
    return [ask(gateway, credential, chat(f"{number}", max_tokens=5, **fields)) for number in range(times)]


def refused_at(gateway: GatewayProcess, name: str) -> Row:
    (row,) = [row for row in gateway.admin("GET", "/status")["providers"] if row["name"] == name]
    return row["refused"]


def test_a_provider_that_is_down_is_left_alone_and_found_again(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "server_error"})
    credential = mint(gateway)["credential"]
    assert {said.status for said in said_by(gateway, credential, FAILURES_MOST)} == {500}
    refused = ask(gateway, credential)
    assert (refused.status, refused.code) == (503, "upstream_unavailable")
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    row = row_of(gateway, refused.call_id)
    assert (row["refusal"], row["charge_usd"]) == ("upstream_unavailable", None)
    assert set(refused_at(gateway, "first")) == {""}
    assert "calls of every model at first until" in gateway.command("status").stdout
    assert "providers.first.circuit" in gateway.command("doctor", check=False).stdout
    sent = first.count()
    codes = Counter(said.code for said in said_by(gateway, mint(gateway, "agent/bee")["credential"], 200))
    assert codes["upstream_unavailable"] >= 199, "for everybody, and all but the one that tries it"
    assert first.count() - sent <= 1
    eventually(lambda: '"circuit_open"' in gateway.log())
    first.clear_faults()
    eventually(lambda: ask(gateway, credential).status == 200)
    assert {said.status for said in said_by(gateway, credential, 5)} == {200}
    eventually(lambda: '"circuit_closed"' in gateway.log())
    assert refused_at(gateway, "first") == {}


def test_one_call_tries_it_for_all(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "cut_before_headers"})
    credential = mint(gateway)["credential"]
    said_by(gateway, credential, FAILURES_MOST)
    eventually(lambda: refused_at(gateway, "first") == {})
    first.faults({"fault": "slow_first_byte", "delay_s": 2})
    sent = first.count()
    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(lambda number: ask(gateway, credential, chat(f"{number}")), range(12)))
    assert Counter(each.status for each in said) == {200: 1, 503: 11}
    assert first.count() - sent == 1


def test_a_request_that_is_wrong_says_nothing_of_its_provider(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "bad_request"})
    credential = mint(gateway)["credential"]
    assert {said.status for said in said_by(gateway, credential, 2 * FAILURES_MOST)} == {400}
    same = [ask(gateway, mint(gateway, "agent/few")["credential"]) for _ in range(2 * ROW_MOST)]
    assert {said.status for said in same} == {400}, "nor of whoever sends it again"


def test_too_many_calls_of_one_model_close_no_other(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    credential = mint(gateway)["credential"]
    first.faults({"fault": "rate_limited", "retry_after_s": 90})
    said = said_by(gateway, credential, FAILURES_MOST)
    assert {(each.status, each.headers["retry-after"]) for each in said} == {(429, "90")}, "handed on"
    refused = ask(gateway, credential)
    assert (refused.code, refused.headers["retry-after"]) == ("upstream_unavailable", "60")
    assert refused.error["comptroller"]["resets_at"] is not None, "the true time is in the body"
    assert set(refused_at(gateway, "first")) == {"sandbox-large"}
    first.clear_faults()
    assert ask(gateway, credential, chat(model="sandbox-small")).status == 200
    assert ask(gateway, credential).code == "upstream_unavailable", "it asked for a minute and a half"


def test_nobody_is_refused_as_long_as_another_provider_answers(gateway: GatewayProcess, two: Two) -> None:
    first, second = two
    first.faults({"fault": "server_error"})
    credential = mint(gateway)["credential"]
    said_by(gateway, credential, FAILURES_MOST)
    assert ask(gateway, credential).code == "upstream_unavailable"
    assert {said.status for said in said_by(gateway, credential, 5, model="both")} == {200}
    second.faults({"fault": "server_error"})
    said_by(gateway, mint(gateway, "agent/bee")["credential"], FAILURES_MOST + 1, model="both")
    refused = ask(gateway, credential, chat(model="both"))
    assert refused.code == "upstream_unavailable"
    assert "first, second" in refused.error["message"]


def test_a_breaker_can_be_switched_off(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "server_error"})
    credential = mint(gateway)["credential"]
    assert {each.status for each in said_by(gateway, credential, 2 * FAILURES_MOST, model="kept-trying")} == {500}


def test_the_same_request_after_an_error_is_paid_from_the_retry_budget(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "rate_limited", "retry_after_s": 45})
    credential = mint(gateway, "agent/few")["credential"]
    statuses = [ask(gateway, credential).status for _ in range(3)]
    assert (statuses, first.count()) == ([429] * 3, 3), "the call itself, and two retries"
    limited = ask(gateway, credential)
    assert (limited.status, limited.code, limited.error["comptroller"]["limit"]) == (429, "retry_limited", "few")
    assert 30 <= int(limited.headers["retry-after"]) <= 45, "as long as the provider asked, which is longer"
    assert {ask(gateway, credential).code for _ in range(50)} == {"retry_limited"}
    assert first.count() == 3, "a repeat gets the same refusal, and nobody else hears of it"
    row = row_of(gateway, limited.call_id)
    assert (row["refusal"], row["charge_usd"]) == ("retry_limited", None)
    assert ask(gateway, credential, chat("Something else.")).headers["x-comptroller-error-source"] == "provider"
    assert ask(gateway, mint(gateway, "agent/bee")["credential"]).headers["x-comptroller-error-source"] == "provider"
    first.clear_faults()
    assert ask(gateway, credential, chat("Something else again.")).status == 200
    assert ask(gateway, credential).code == "retry_limited", "what failed stands until its time is over"


def test_whoever_replans_after_every_error_is_retrying_too(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "overloaded"})
    credential = mint(gateway, "agent/few")["credential"]
    said = said_by(gateway, credential, ROW_MOST + 10, model="kept-trying")
    sources = Counter(each.headers.get("x-comptroller-refusal", "provider") for each in said)
    assert sources == {"provider": ROW_MOST + 2, "retry_limited": 8}


def test_in_shadow_mode_it_is_only_said(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "server_error"})
    credential = mint(gateway, "agent/shown")["credential"]
    said = [ask(gateway, credential) for _ in range(3)]
    assert {each.status for each in said} == {500}
    assert [each.headers.get("x-comptroller-effects") for each in said] == [
        None,
        *['shadowed;rule="shown";detail="a retry beyond the retry budget"'] * 2,
    ]
    assert settled_row(gateway, said[1].call_id)["effects"]


def test_those_who_said_nothing_may_retry_a_good_deal(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "rate_limited"})
    credential = mint(gateway)["credential"]
    said = [ask(gateway, credential, chat(model="kept-trying")) for _ in range(SHIPPED.per_minute)]
    assert {each.headers.get("x-comptroller-error-source") for each in said} == {"provider"}
    codes = {ask(gateway, credential, chat(model="kept-trying")).code for _ in range(30)}
    assert "retry_limited" in codes, "but not for ever"


def test_another_limit_holds_at_once(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "server_error"})
    credential = mint(gateway, "agent/bee")["credential"]
    for _ in range(2):
        assert ask(gateway, credential).status == 500
    tight: Table = {"name": "bees", "scope": {"identity": "agent/bee"}, "share": "0%", "per_minute": 0}
    known = registry([budget("all", "1000.00 USD")], IDENTITIES, MODELS, retries=[tight])
    gateway.write_registry(known)
    planned = gateway.command("plan", check=False)
    assert "add retry bees" in planned.stdout
    gateway.command("apply", "--yes")
    assert ask(gateway, credential).code == "retry_limited"


def test_further_attempts_of_the_gateway_are_no_retries_of_its_caller(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "cut_before_headers"})
    credential = mint(gateway, "agent/few")["credential"]
    said = [ask(gateway, credential, chat(model="both")) for _ in range(10)]
    assert {each.status for each in said} == {200}
