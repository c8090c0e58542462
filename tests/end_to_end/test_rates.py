"""Rates on a real gateway: how much comes through, in which order, and that every slot is free again.

The books say when each call was let in, the sandbox's bill how many came. No test here waits for a time to pass.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.end_to_end.caller import (
    Row,
    Said,
    ask,
    chat,
    eventually,
    mint,
    rest_of,
    settled_row,
    stream,
    unanswered,
)
from tests.end_to_end.test_durability import fill_disk
from tests.harness.configuration import budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

NAMES = (
    "fast",
    "slow",
    "hourly",
    "talker",
    "narrow",
    "queue",
    "polite",
    "greedy",
    "shade",
    "wide",
    "poor",
    "timed",
    "one",
    "two",
    "three",
    "roamer",
)
IDENTITIES = {f"agent/{name}": identity("red") for name in NAMES}
BUDGETS = [
    budget("all", "1000.00 USD"),
    budget("poor", "0.000001 USD", scope={"identity": "agent/poor"}),
]
MODELS = {
    "sandbox-*": model("sandbox"),
    "roaming": model("nowhere", "second", upstream_model={"second": "sandbox-large"}),
}
SHORT = {"max_tokens": 20}
SLOW = {"output_tokens": 3_000, "tokens_per_s": 20}  # longer than any test waits for it


def rate(name: str, limit: str, *identities: str, **more: object) -> Row:
    scope = {"identity": [f"agent/{each}" for each in identities or (name,)]}
    return {"name": name, "scope": scope, "limit": limit, **more}


RATES = [
    rate("fast", "4 calls/second", burst=5),
    rate("slow", "1 calls/hour", burst=2),
    rate("hourly", "40 calls/hour", visible="operator"),
    rate("talker", "50_000 tokens/hour"),
    rate("narrow", "1 calls at once"),
    rate("queue", "1 calls at once", "queue", "polite", "greedy", wait_ms=60_000),
    rate("shade", "1 calls/hour", mode="shadow"),
    rate("wide", "3 calls at once"),
    rate("poor", "1 calls/hour"),
    rate("timed", "1 calls/hour", wait_ms=50, burst=1),
    rate("smooth", "10 calls/second", "one", "two", "three", burst=2, wait_ms=60_000),
    {
        "name": "at-second",
        "scope": {"provider": "second", "identity": "agent/roamer"},
        "limit": "2 calls/hour",
        "burst": 2,
    },
    rate("roamer", "100 calls/hour", burst=100),
]


@pytest.fixture(scope="module")
def own_sandbox() -> Iterator[SandboxProcess]:
    with SandboxProcess() as running:
        yield running


def the_registry() -> Row:
    known = registry(BUDGETS, IDENTITIES, MODELS, rates=RATES)
    price = {"model": "roaming", "from": known["prices"][0]["from"], "input": "1.00", "output": "1.00"}
    return known | {"prices": [*known["prices"], price]}


# Where hanging up stops the bill, it ends the call at once; elsewhere a slot is taken until the provider has ended.
@pytest.fixture(scope="module")
def shared(own_sandbox: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    known = the_registry()
    settings = process(
        own_sandbox.url, providers={"sandbox": provider(own_sandbox.url, abort_stops_billing=True, tail_tokens=64)}
    )
    settings["providers"] |= {
        "nowhere": provider("http://127.0.0.1:1", breaker_failures=0),
        "second": provider(own_sandbox.url),
    }
    with GatewayProcess(tmp_path_factory.mktemp("rates"), settings, known) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@pytest.fixture
def sandbox(own_sandbox: SandboxProcess) -> SandboxProcess:
    own_sandbox.clear_faults()
    own_sandbox.reset_bill()
    return own_sandbox


@pytest.fixture
def gateway(shared: GatewayProcess, sandbox: SandboxProcess) -> GatewayProcess:
    del sandbox
    return shared


def credential(gateway: GatewayProcess, name: str) -> str:
    return mint(gateway, f"agent/{name}")["credential"]


def rate_row(gateway: GatewayProcess, name: str) -> Row:
    (row,) = [row for row in gateway.admin("GET", "/rates") if row["name"] == name]
    return row


def let_in(gateway: GatewayProcess, name: str) -> list[Row]:
    """Calls of an identity that took a hold, in the order in which they did."""
    rows = [row for row in gateway.admin("GET", "/calls?limit=1000") if row["identity"] == f"agent/{name}"]
    return [row for row in reversed(rows) if row["outcome"] != "refused"]


def test_in_no_stretch_of_time_more_come_through_than_the_limit_allows(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    key, clients, each = credential(gateway, "fast"), 16, 25
    with ThreadPoolExecutor(clients) as pool:
        said = list(pool.map(lambda number: ask(gateway, key, chat(f"{number}", **SHORT)), range(clients * each)))
    statuses = [one.status for one in said]
    assert set(statuses) == {200, 429}
    assert {one.code for one in said if one.status == 429} == {"rate_limited"}
    assert sandbox.count() == statuses.count(200)
    eventually(lambda: len(let_in(gateway, "fast")) == statuses.count(200))
    at_ms = [_ms(row["at"]) for row in let_in(gateway, "fast")]
    for begin, since_ms in enumerate(at_ms):
        for count, until_ms in enumerate(at_ms[begin:], 1):
            stretch_ms = until_ms - since_ms + 2  # instants in the books are whole milliseconds of another clock
            assert count <= 5 + Fraction(4 * stretch_ms, 1000)


def test_a_burst_that_waits_comes_through_whole_and_no_faster_than_the_limit(gateway: GatewayProcess) -> None:
    names, each = ("one", "two", "three"), 8
    keys = [credential(gateway, name) for name in names]
    with ThreadPoolExecutor(len(names) * each) as pool:
        said = list(
            pool.map(lambda number: ask(gateway, keys[number % 3], chat(f"{number}", **SHORT)), range(3 * each))
        )
    assert [one.status for one in said] == [200] * len(said)
    at_ms = sorted(_ms(row["at"]) for name in names for row in let_in(gateway, name))
    assert len(at_ms) == len(said)
    for begin, since_ms in enumerate(at_ms):
        for count, until_ms in enumerate(at_ms[begin:], 1):
            assert count <= 2 + Fraction(10 * (until_ms - since_ms + 2), 1000)


def test_a_rate_of_a_provider_counts_the_attempts_there(gateway: GatewayProcess) -> None:
    key = credential(gateway, "roamer")
    first = ask(gateway, key, chat(model="roaming", **SHORT))
    assert first.headers["x-comptroller-attempts"] == "2"
    assert rate_row(gateway, "at-second")["used"] == 1
    assert rate_row(gateway, "roamer")["used"] == 1  # the attempt that reached nobody was given back
    assert ask(gateway, key, chat(model="roaming", **SHORT)).status == 200
    refused = ask(gateway, key, chat(model="roaming", **SHORT))
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert refused.error["comptroller"]["limit"] == "at-second"
    assert rate_row(gateway, "roamer")["used"] == 2


def _ms(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def test_a_caller_is_told_how_long_to_wait_and_the_true_time_beyond_a_minute(gateway: GatewayProcess) -> None:
    key = credential(gateway, "slow")
    first = ask(gateway, key, chat(**SHORT))
    assert first.status == 200
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-reset-requests"].startswith(("59m", "1h"))
    ask(gateway, key, chat(**SHORT))
    refused = ask(gateway, key, chat(**SHORT))
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    assert "x-should-retry" not in refused.headers
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    body = refused.error
    assert (body["type"], body["code"]) == ("rate_limit_error", "rate_limited")
    told = body["comptroller"]
    assert (told["limit"], told["unit"], told["remaining"], told["retry_after_s"]) == ("slow", "calls", "0", 60)
    assert "1 call/hour" in body["message"]
    again = ask(gateway, key, chat(**SHORT))
    # A repeat takes nothing, and moves nothing.
    assert abs(_ms(again.error["comptroller"]["resets_at"]) - _ms(told["resets_at"])) < 1_000
    row = rate_row(gateway, "slow")
    assert (row["used"], row["remaining"], row["waiting"]) == (2, 0, 0)
    assert abs(_ms(row["next_free_at"]) - _ms(told["resets_at"])) < 1_000


def test_a_rate_of_others_is_named_without_its_numbers(gateway: GatewayProcess) -> None:
    key = credential(gateway, "hourly")
    first = ask(gateway, key, chat(**SHORT))
    assert not [name for name in first.headers if name.startswith("x-ratelimit")]
    refused = ask(gateway, key, chat(**SHORT))
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    assert refused.error["comptroller"]["limit"] == "hourly"
    assert "remaining" not in refused.error["comptroller"]
    assert "40" not in refused.error["message"]


def test_sdks_raise_it_as_their_own_rate_limit_error(gateway: GatewayProcess) -> None:
    key = credential(gateway, "timed")
    asked: Any = {"model": "sandbox-large", "messages": [{"role": "user", "content": "a"}], "max_tokens": 9}
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0) as client:
        client.chat.completions.create(**asked)
        with pytest.raises(openai.RateLimitError, match="The rate timed"):
            client.chat.completions.create(**asked)
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0) as other,
        pytest.raises(anthropic.RateLimitError, match="The rate timed") as raised,
    ):
        other.messages.create(**asked)
    assert raised.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert raised.value.response.headers["retry-after"] == "60"


def test_tokens_are_taken_as_a_bound_and_corrected_to_what_came(gateway: GatewayProcess) -> None:
    key = credential(gateway, "talker")
    said = ask(gateway, key, chat(max_tokens=1_000, sandbox={"output_tokens": 50}))
    row = settled_row(gateway, said.call_id)
    used = row["input_tokens"] + row["output_tokens"]
    assert 0 <= used - rate_row(gateway, "talker")["used"] <= used  # some of it may be back already
    assert rate_row(gateway, "talker")["used"] <= used
    assert int(said.headers["x-ratelimit-remaining-tokens"]) >= 50_000 - used
    with stream(gateway, key, chat(max_tokens=4_000, sandbox=SLOW)):
        assert rate_row(gateway, "talker")["used"] > 4_000


def test_a_call_larger_than_the_burst_will_never_fit_and_is_told_what_would(gateway: GatewayProcess) -> None:
    key = credential(gateway, "talker")
    said = ask(gateway, key, chat("long " * 12_000, max_tokens=4_000))
    assert (said.status, said.code) == (402, "rate_unsatisfiable")
    assert said.headers["x-should-retry"] == "false"
    assert "retry-after" not in said.headers
    fits = ask(gateway, key, chat("long " * 9_500, max_tokens=4_096))
    assert (fits.status, fits.code) == (402, "rate_unsatisfiable")
    assert 0 < fits.error["comptroller"]["largest_output_tokens"] < 4_096


def test_a_call_that_a_budget_refuses_takes_no_rate(gateway: GatewayProcess) -> None:
    key = credential(gateway, "poor")
    for _ in range(3):
        assert ask(gateway, key, chat(**SHORT)).code == "budget_exhausted"
    assert rate_row(gateway, "poor")["used"] == 0


def test_a_shadow_refuses_nothing_and_says_what_it_would_have_refused(gateway: GatewayProcess) -> None:
    key = credential(gateway, "shade")
    first, second = ask(gateway, key, chat(**SHORT)), ask(gateway, key, chat(**SHORT))
    assert (first.status, second.status) == (200, 200)
    assert "x-comptroller-effects" not in first.headers
    assert second.headers["x-comptroller-effects"] == 'shadowed;rule="shade";detail="rate_limited"'
    row = settled_row(gateway, second.call_id)
    assert row["effects"] == [{"kind": "shadowed", "rule": "shade", "detail": "rate_limited"}]


# Slots.

LONG = {"max_tokens": 4_000, "stream": True}


def is_free(gateway: GatewayProcess, name: str) -> None:
    eventually(lambda: rate_row(gateway, name)["used"] == 0)


def test_no_more_run_at_once_than_there_are_slots(gateway: GatewayProcess) -> None:
    key = credential(gateway, "wide")
    with ExitStack() as running:
        for number in range(3):
            running.enter_context(stream(gateway, key, chat(f"{number}", sandbox=SLOW, **LONG)))
        refused = ask(gateway, key, chat(**SHORT))
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert rate_row(gateway, "wide")["used"] == 3
    is_free(gateway, "wide")
    assert ask(gateway, key, chat(**SHORT)).status == 200


def test_a_slot_is_free_again_however_a_call_ends(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    session = mint(gateway, "agent/narrow")
    key = session["credential"]

    def free_again(said: Said | None = None) -> None:
        is_free(gateway, "narrow")
        if said is not None:
            assert said.headers.get("x-comptroller-refusal") != "rate_limited"

    free_again(ask(gateway, key, chat(**SHORT)))
    with stream(gateway, key, chat(sandbox=SLOW, **LONG)):
        assert rate_row(gateway, "narrow")["used"] == 1
    free_again()  # the client hung up in a stream
    with unanswered(gateway, key, chat(max_tokens=4_000, sandbox=SLOW)):
        eventually(lambda: rate_row(gateway, "narrow")["used"] == 1)
    free_again()  # and before an answer
    for fault in ("cut_before_headers", "server_error", "rate_limited", "not_http", "unauthorized"):
        sandbox.faults({"fault": fault})
        free_again(ask(gateway, key, chat(**SHORT)))
        sandbox.clear_faults()
    sandbox.faults({"fault": "cut", "after_tokens": 3})
    with stream(gateway, key, chat(**LONG)) as response:
        rest_of(response)
    free_again()
    sandbox.clear_faults()
    with stream(gateway, key, chat(sandbox=SLOW, **LONG)) as response:
        gateway.admin("POST", "/stops", {"scope": "identity", "value": "agent/narrow", "reason": "a test"})
        rest_of(response)
    free_again()
    assert ask(gateway, key, chat(**SHORT)).code == "identity_suspended"
    gateway.admin("POST", "/stops/resume", {"scope": "identity", "value": "agent/narrow", "reason": "a test"})
    free_again(ask(gateway, key, chat(**SHORT)))


def test_a_slot_is_free_again_where_the_hold_could_not_be_written(tmp_path: Path, sandbox: SandboxProcess) -> None:
    settings = process(sandbox.url)
    settings["providers"] |= dict.fromkeys(("nowhere", "second"), settings["providers"]["sandbox"])
    with GatewayProcess(tmp_path, settings, the_registry()) as own:
        narrow, hourly = credential(own, "narrow"), credential(own, "slow")
        fill_disk(own, full=True)
        assert ask(own, narrow, chat(**SHORT)).code == "ledger_unavailable"
        assert ask(own, hourly, chat(**SHORT)).code == "ledger_unavailable"
        is_free(own, "narrow")
        is_free(own, "slow")  # nothing left, so no call was made
        fill_disk(own, full=False)


# Lines.


def waiting(gateway: GatewayProcess, count: int) -> None:
    eventually(lambda: rate_row(gateway, "queue")["waiting"] == count)


def test_whoever_waits_is_served_in_turn_by_identity_and_nobody_starves(gateway: GatewayProcess) -> None:
    greedy, polite = credential(gateway, "greedy"), credential(gateway, "polite")
    with ThreadPoolExecutor(10) as pool:
        with stream(gateway, credential(gateway, "queue"), chat(sandbox=SLOW, **LONG)):
            asked = []
            for number in range(6):
                asked.append(pool.submit(ask, gateway, greedy, chat(f"{number}", **SHORT)))
                waiting(gateway, number + 1)
            for number in range(3):
                asked.append(pool.submit(ask, gateway, polite, chat(f"{number}", **SHORT)))
                waiting(gateway, number + 7)
        said = [each.result() for each in asked]
    assert [one.status for one in said] == [200] * 9
    assert all(one.headers["x-comptroller-effects"].startswith('queued;rule="queue"') for one in said)
    rows = gateway.admin("GET", "/calls?limit=1000")
    order = [
        row["identity"].removeprefix("agent/")[0]
        for row in reversed(rows)
        if row["identity"] in {"agent/greedy", "agent/polite"}
    ]
    assert "".join(order) == "gpgpgpggg"


def test_a_caller_that_leaves_the_line_frees_its_place(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    greedy, polite = credential(gateway, "greedy"), credential(gateway, "polite")
    with ThreadPoolExecutor(1) as pool:
        with stream(gateway, credential(gateway, "queue"), chat(sandbox=SLOW, **LONG)):
            with unanswered(gateway, greedy, chat("gone", **SHORT)):
                waiting(gateway, 1)
                stays = pool.submit(ask, gateway, polite, chat("stays", **SHORT))
                waiting(gateway, 2)
            waiting(gateway, 1)
        assert stays.result().status == 200
    assert sandbox.count() == 2


def test_a_stop_reaches_whoever_waits_at_once(gateway: GatewayProcess) -> None:
    greedy, polite = mint(gateway, "agent/greedy"), mint(gateway, "agent/polite")
    stopped = {"scope": "identity", "value": "agent/greedy", "reason": "a test"}
    with ThreadPoolExecutor(2) as pool, stream(gateway, credential(gateway, "queue"), chat(sandbox=SLOW, **LONG)):
        first, second = (pool.submit(ask, gateway, each["credential"], chat(**SHORT)) for each in (greedy, polite))
        waiting(gateway, 2)
        gateway.admin("POST", f"/sessions/{polite['session']}/end", {"reason": "a test"})
        assert second.result().code == "session_ended"
        waiting(gateway, 1)
        gateway.admin("POST", "/stops", stopped)
        assert first.result().code == "identity_suspended"
        waiting(gateway, 0)
    gateway.admin("POST", "/stops/resume", stopped)
    is_free(gateway, "queue")


def test_whoever_waits_when_the_gateway_stops_is_told_so(tmp_path: Path, sandbox: SandboxProcess) -> None:
    rates = [rate("one", "1 calls at once", wait_ms=60_000)]
    known = registry(BUDGETS, IDENTITIES, rates=rates)
    with GatewayProcess(tmp_path, process(sandbox.url), known) as own, ThreadPoolExecutor(1) as pool:
        key = credential(own, "one")
        with stream(own, key, chat(sandbox=SLOW, **LONG)):
            waits = pool.submit(ask, own, key, chat(**SHORT))
            eventually(lambda: rate_row(own, "one")["waiting"] == 1)
            own.signal(signal.SIGTERM)
            assert waits.result().code == "draining"
        eventually(lambda: not own.running)
