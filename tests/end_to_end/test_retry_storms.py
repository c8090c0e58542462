"""Retry storms as callers and operators meet them: the breaker that refuses, and the budget for retries."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comptroller.core.budget.retry_budget import SAVED_MOST, SHIPPED
from comptroller.core.detection.retries import ROW_MOST
from comptroller.core.routing.breaker import FAILURES_MOST, OPEN_NS
from tests.end_to_end.caller import Row, Said, ask, chat, eventually, mint, row_of, settled_row, unanswered
from tests.harness.configuration import Table, budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

Two = tuple[SandboxProcess, SandboxProcess]
MODELS = {"sandbox-*": model("first"), "both": model("first", "second"), "kept-trying": model("tireless")}
for name in ("both", "kept-trying"):
    MODELS[name]["upstream_model"] = dict.fromkeys(MODELS[name]["providers"], "sandbox-small")
IDENTITIES = {f"agent/{name}": identity("red") for name in ("ant", "bee", "few", "shown", "child-free")}
LONG_S = 300  # that a provider asks to wait: longer than any of this takes
FEW: Table = {"name": "few", "scope": {"identity": "agent/few"}, "share": "50%", "per_minute": 0}
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


def test_nothing_is_sent_to_a_provider_that_is_down(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "server_error", "retry_after_s": LONG_S})
    credential = mint(gateway)["credential"]
    assert {said.status for said in said_by(gateway, credential, FAILURES_MOST)} == {500}
    refused = ask(gateway, credential)
    assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "upstream_unavailable", "60")
    assert refused.error["comptroller"]["resets_at"] is not None, "the true time is in the body"
    row = row_of(gateway, refused.call_id)
    assert (row["refusal"], row["charge_usd"]) == ("upstream_unavailable", None)
    assert set(refused_at(gateway, "first")) == {""}
    assert "calls of every model at first until" in gateway.command("status").stdout
    assert "providers.first.circuit" in gateway.command("doctor", check=False).stdout
    others = said_by(gateway, mint(gateway, "agent/bee")["credential"], 100)
    assert {said.code for said in others} == {"upstream_unavailable"}, "for everybody"
    assert first.count() == FAILURES_MOST


def test_a_provider_that_is_back_is_found_by_itself(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "server_error"})
    credential = mint(gateway)["credential"]
    said_by(gateway, credential, FAILURES_MOST)
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
    first.faults({"fault": "hang"})
    sent, begun_ns = first.count(), time.monotonic_ns()
    with unanswered(gateway, credential, chat(max_tokens=5)):
        eventually(lambda: first.count() > sent)
        with ThreadPoolExecutor(12) as pool:
            for number in range(12):
                pool.submit(ask, gateway, credential, chat(f"{number}", max_tokens=5))
        # However slowly this runs: the others wait for the one, and another one may try it when that takes too long.
        assert first.count() - sent <= 1 + (time.monotonic_ns() - begun_ns) // OPEN_NS


def test_a_request_that_is_wrong_says_nothing_of_its_provider(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "bad_request"})
    credential = mint(gateway)["credential"]
    assert {said.status for said in said_by(gateway, credential, 2 * FAILURES_MOST)} == {400}
    same = [ask(gateway, mint(gateway, "agent/few")["credential"]) for _ in range(2 * ROW_MOST)]
    assert {said.status for said in same} == {400}, "nor of whoever sends it again"


def test_too_many_calls_of_one_model_close_no_other(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    credential = mint(gateway)["credential"]
    first.faults({"fault": "rate_limited", "retry_after_s": LONG_S})
    said = said_by(gateway, credential, FAILURES_MOST)
    assert {(each.status, each.headers["retry-after"]) for each in said} == {(429, f"{LONG_S}")}, "handed on"
    refused = ask(gateway, credential)
    assert (refused.code, refused.headers["retry-after"]) == ("upstream_unavailable", "60")
    assert set(refused_at(gateway, "first")) == {"sandbox-large"}
    first.clear_faults()
    assert ask(gateway, credential, chat(model="sandbox-small")).status == 200
    assert ask(gateway, credential).code == "upstream_unavailable", "it asked for five minutes"


def test_nobody_is_refused_as_long_as_another_provider_answers(gateway: GatewayProcess, two: Two) -> None:
    first, second = two
    first.faults({"fault": "server_error", "retry_after_s": LONG_S})
    credential = mint(gateway)["credential"]
    said_by(gateway, credential, FAILURES_MOST)
    assert ask(gateway, credential).code == "upstream_unavailable"
    assert {said.status for said in said_by(gateway, credential, 5, model="both")} == {200}
    second.faults({"fault": "server_error", "retry_after_s": LONG_S})
    said_by(gateway, mint(gateway, "agent/bee")["credential"], FAILURES_MOST + 1, model="both")
    refused = ask(gateway, credential, chat(model="both"))
    assert refused.code == "upstream_unavailable"
    assert "first, second" in refused.error["message"]


def test_a_breaker_can_be_switched_off(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "server_error"})
    credential = mint(gateway)["credential"]
    assert {each.status for each in said_by(gateway, credential, 2 * FAILURES_MOST, model="kept-trying")} == {500}


def test_free_calls_close_no_model(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    credential = mint(gateway)["credential"]
    first.faults({"fault": "rate_limited", "retry_after_s": LONG_S})
    for number in range(2 * FAILURES_MOST):
        counted: Row = {"model": "sandbox-large", "messages": [{"role": "user", "content": f"{number}"}]}
        said = ask(gateway, credential, counted, path="/v1/messages/count_tokens")
        assert (said.status, said.headers["x-comptroller-error-source"]) == (429, "provider")
    first.clear_faults()
    assert refused_at(gateway, "first") == {}
    assert ask(gateway, credential).status == 200, "counting tokens meets no rate, and others have to work"


def test_the_same_request_after_an_error_is_paid_from_the_retry_budget(gateway: GatewayProcess, two: Two) -> None:
    first, _ = two
    first.faults({"fault": "rate_limited"})
    credential = mint(gateway, "agent/few")["credential"]
    for _ in range(1 + SAVED_MOST):
        assert ask(gateway, credential).headers["x-comptroller-error-source"] == "provider"
    limited = ask(gateway, credential)
    assert (limited.status, limited.code, limited.error["comptroller"]["limit"]) == (429, "retry_limited", "few")
    assert limited.headers["retry-after"] == "60", "only other calls earn a retry"
    assert {ask(gateway, credential).code for _ in range(50)} == {"retry_limited"}
    assert first.count() == 1 + SAVED_MOST, "a repeat gets the same refusal, and nobody else hears of it"
    row = row_of(gateway, limited.call_id)
    assert (row["refusal"], row["charge_usd"]) == ("retry_limited", None)
    assert ask(gateway, mint(gateway, "agent/bee")["credential"]).headers["x-comptroller-error-source"] == "provider"
    first.clear_faults()
    for number in range(2):
        assert ask(gateway, credential, chat(f"Something else, {number}.")).status == 200
    assert ask(gateway, credential).status == 200, "two other calls have earned a retry"
    assert ask(gateway, credential).status == 200, "and it was answered: it is none any more"


def test_whoever_replans_after_every_error_is_retrying_too(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "overloaded"})
    credential = mint(gateway, "agent/few")["credential"]
    said = said_by(gateway, credential, ROW_MOST + SAVED_MOST + 8, model="kept-trying")
    sources = [each.headers.get("x-comptroller-refusal", "provider") for each in said]
    assert sources == ["provider"] * (ROW_MOST + SAVED_MOST) + ["retry_limited"] * 8


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
    again = (ask(gateway, credential, chat(model="kept-trying")).code for _ in range(300))
    assert "retry_limited" in again, "but not for ever"


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
