"""Two providers behind one model: what is tried elsewhere, what is not, and that each attempt is paid for once.

Both sandboxes keep a bill of their own; together they are what the books have to stand up to.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import (
    Row,
    Said,
    ask,
    budget_of,
    chat,
    mint,
    nanos,
    rest_of,
    row_of,
    settled_row,
    stream,
    unanswered,
)
from tests.harness.configuration import budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

MODELS = {"sandbox-*": model("first", "second"), "sandbox-small": model("first"), "sandbox-reasoner": model("second")}
BUDGETS = [
    budget("all", "1000.00 USD"),
    budget("at-first", "500.00 USD", scope={"provider": "first"}),
    budget("at-second", "500.00 USD", scope={"provider": "second"}),
    budget("purse", "1.00 USD", scope={"identity": "agent/poor"}),
    budget("calls", "100_000 calls"),
]
IDENTITIES = {"agent/ant": identity("red"), "agent/bee": identity("blue"), "agent/poor": identity("poor")}

Two = tuple[SandboxProcess, SandboxProcess]
PATIENCE_S = 2.0  # with the first provider: long for an honest answer on a busy machine, short for one that hangs


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[Two]:
    with SandboxProcess() as first, SandboxProcess() as second:
        yield first, second


@pytest.fixture
def two(sandboxes: Two) -> Two:
    for each in sandboxes:
        each.clear_faults()
        each.clear_cache()
        each.reset_bill()
    return sandboxes


def files(first: str, second: str, **changes: Any) -> Row:
    providers = {"first": provider(first, first_byte_timeout_s=PATIENCE_S), "second": provider(second)}
    return process(first, providers=providers, **changes)


@pytest.fixture(scope="module")
def shared(sandboxes: Two, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    first, second = sandboxes
    known = registry(BUDGETS, IDENTITIES, MODELS)
    with GatewayProcess(tmp_path_factory.mktemp("failover"), files(first.url, second.url), known) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@pytest.fixture
def gateway(shared: GatewayProcess, two: Two) -> GatewayProcess:
    """With empty bills, and both in use: a call that has no other provider is asked of one that is aside, too."""
    for name, each in zip(("sandbox-small", "sandbox-reasoner"), two, strict=True):
        said = ask(shared, mint(shared)["credential"], chat(model=name, max_tokens=20))
        assert said.status == 200, said.body
        each.settled()
        each.reset_bill()
    return shared


def posted(gateway: GatewayProcess, name: str) -> int:
    return nanos(budget_of(gateway, name)["posted"])


def streamed(gateway: GatewayProcess, credential: str, body: Row) -> Row:
    """The call of a stream that was read to its end."""
    with stream(gateway, credential, body) as response:
        call_id = response.headers["x-comptroller-call-id"]
        assert response.headers["x-comptroller-attempts"] == "2"
        assert rest_of(response).rstrip().endswith(b"data: [DONE]")
    return settled_row(gateway, call_id)


# What the first provider does, how its attempt ends, and whether that costs nothing.
MENDED = {
    "hang": ("provider_timeout", None, False),
    "cut_before_headers": ("provider_cut", None, False),
    "not_http": ("provider_malformed", None, False),
    "server_error": ("provider_error", 500, False),
    "server_error_billed": ("provider_error", 500, False),
    "overloaded": ("provider_refused", 529, True),
    "rate_limited": ("provider_refused", 429, True),
    "unauthorized": ("provider_refused", 401, True),
    "payment_required": ("provider_refused", 402, True),
    "forbidden": ("provider_refused", 403, True),
}


@pytest.mark.parametrize("as_stream", [False, True])
@pytest.mark.parametrize("fault", MENDED)
def test_another_provider_mends_it_under_a_hold_of_its_own(
    gateway: GatewayProcess, two: Two, fault: str, as_stream: bool
) -> None:
    first, second = two
    first.faults({"fault": fault})
    outcome, status, free = MENDED[fault]
    was = {name: posted(gateway, name) for name in ("all", "at-first", "at-second")}
    calls_were = int(budget_of(gateway, "calls")["posted"])
    body, credential = chat(max_tokens=20), mint(gateway)["credential"]
    if as_stream:
        row = streamed(gateway, credential, body)
    else:
        said = ask(gateway, credential, body)
        assert (said.status, said.headers["x-comptroller-attempts"]) == (200, "2")
        row = settled_row(gateway, said.call_id)
        assert said.headers["x-comptroller-charge-usd"] == row["charge_usd"]
    assert (row["provider"], row["outcome"], row["attempts"]) == ("second", "completed", 2)
    before, after = row["tried"]
    assert (before["provider"], before["outcome"], before["status"]) == ("first", outcome, status)
    assert (after["provider"], after["outcome"], after["status"]) == ("second", "completed", 200)
    assert [each["id"] for each in row["tried"]] == [f"{row['id']}.1", f"{row['id']}.2"]
    bills = [charged(each.settled()) for each in two]
    charges = [nanos(before["charge_usd"]), nanos(after["charge_usd"])]
    assert charges[0] == (0 if free else nanos(before["held_usd"])) >= bills[0], "at most one whole hold"
    assert charges[1] == bills[1] > 0
    assert row["presumed"] == before["presumed"] == (not free)
    assert nanos(row["charge_usd"]) == sum(charges)
    assert [line["client_request_id"] for line in second.requests()] == [after["id"]]
    now = {name: posted(gateway, name) - was[name] for name in was}
    assert now == {"all": sum(charges), "at-first": charges[0], "at-second": charges[1]}
    assert int(budget_of(gateway, "calls")["posted"]) - calls_were == 2, "both went upstream"


def test_spend_stands_with_the_provider_that_billed_it(gateway: GatewayProcess, two: Two) -> None:
    def spend() -> dict[str, Row]:
        return {line["key"]: line for line in gateway.admin("GET", "/spend?by=provider")["rows"]}

    was, (first, _) = spend(), two
    first.faults({"fault": "hang"})
    row = settled_row(gateway, ask(gateway, mint(gateway)["credential"], chat(max_tokens=20)).call_id)
    now = spend()

    def more(key: str, name: str) -> int:
        values = [lines.get(key, {}).get(name, "0") for lines in (was, now)]
        return nanos(values[1]) - nanos(values[0])

    before, after = row["tried"]
    assert more("first", "presumed_usd") == nanos(before["charge_usd"]) > 0
    assert more("second", "charge_usd") == nanos(after["charge_usd"]) > 0
    assert more("first", "charge_usd") == more("second", "presumed_usd") == 0
    calls = {key: now[key]["calls"] - was.get(key, {"calls": 0})["calls"] for key in ("first", "second")}
    assert calls == {"first": 0, "second": 1}, "one call, whatever it took"


def test_what_became_of_it_can_be_read(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "rate_limited"})
    call_id = ask(gateway, mint(gateway)["credential"], chat(max_tokens=20)).call_id
    settled_row(gateway, call_id)
    told = gateway.command("explain", call_id).stdout
    assert "Attempt 1 held" in told
    assert "the provider first: the provider answered with an error before any output (HTTP 429)" in told
    assert "All 2 attempts together were charged" in told
    assert "--charge" not in told, "nothing of it is presumed"


def test_what_is_told_to_be_put_right_is_the_presumed_attempt(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "server_error"})
    call_id = ask(gateway, mint(gateway)["credential"], chat(max_tokens=20)).call_id
    settled_row(gateway, call_id)
    told = gateway.command("explain", call_id).stdout
    assert [line.split()[0] for line in told.split("`comptroller correct ")[1:]] == [f"{call_id}.1"]
    _, page = gateway._ask_admin("GET", "/metrics", None, {"Authorization": f"Bearer {gateway.admin_token()}"})
    wanted = 'comptroller_failovers_total{next="second",outcome="provider_refused",provider="first"}'
    assert any(line.startswith(wanted) for line in page.decode().splitlines())


# What stays with the provider it happened at: the request is wrong, or output has begun.
KEPT: dict[str, tuple[Row, bool, int]] = {
    "a request that is refused": ({"fault": "bad_request"}, False, 400),
    "an answer that breaks off": ({"fault": "cut", "after_tokens": 0}, False, 502),
    "a stream that breaks off": ({"fault": "cut", "after_tokens": 3}, True, 200),
    "an error in a stream": ({"fault": "error_in_stream", "after_tokens": 3}, True, 200),
    "a stream that breaks off at once": ({"fault": "cut", "after_tokens": 0}, True, 200),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_another_provider_could_not_mend_is_not_tried_there(gateway: GatewayProcess, two: Two, case: str) -> None:
    fault, as_stream, status = KEPT[case]
    first, second = two
    first.faults(fault)
    said = ask(gateway, mint(gateway)["credential"], chat(max_tokens=20, stream=as_stream))
    assert said.status == status
    row = settled_row(gateway, said.call_id)
    assert (row["provider"], row["attempts"], row["tried"]) == ("first", 1, [])
    assert second.count() == 0
    assert nanos(row["charge_usd"]) >= charged(first.settled())


def test_the_last_failure_says_what_came_before_it(gateway: GatewayProcess, two: Two) -> None:
    first, second = two
    first.faults({"fault": "hang"})
    second.faults({"fault": "cut_before_headers"})
    said = ask(gateway, mint(gateway)["credential"], chat(max_tokens=20))
    assert (said.status, said.code) == (502, "upstream_failed")
    row = settled_row(gateway, said.call_id)
    cost = row["tried"][0]["charge_usd"]
    told = f"First the provider first did not answer in time ({cost} USD is charged for that as presumed). Then: "
    assert said.error["message"].startswith(f"{told}The provider second broke off its answer.")
    assert nanos(row["charge_usd"]) == sum(nanos(each["charge_usd"]) for each in row["tried"])


def test_a_provider_s_own_error_is_passed_on_when_all_failed(gateway: GatewayProcess, two: Two) -> None:
    for each in two:
        each.faults({"fault": "rate_limited", "retry_after_s": 7})
    said = ask(gateway, mint(gateway)["credential"], chat(max_tokens=20))
    assert (said.status, said.headers["retry-after"]) == (429, "7")
    assert said.headers["x-comptroller-error-source"] == "provider"
    row = settled_row(gateway, said.call_id)
    assert (row["attempts"], row["charge_usd"], row["outcome"]) == (2, "0.00", "provider_refused")


def test_a_budget_that_has_too_little_left_for_another_attempt_says_what_the_first_came_to(
    gateway: GatewayProcess, two: Two
) -> None:
    first, second = two
    first.faults({"fault": "hang"})
    credential = mint(gateway, "agent/poor")["credential"]
    said = ask(gateway, credential, chat(max_tokens=4000, n=11))  # 0.66 USD and a little of 1.00
    assert (said.status, said.code) == (402, "budget_exhausted"), said.body
    row = settled_row(gateway, said.call_id)
    assert row["charge_usd"] in said.error["message"]
    assert "First the provider first did not answer in time" in said.error["message"]
    assert "purse" in said.error["message"]
    assert (row["attempts"], row["outcome"], row["refusal"], row["presumed"]) == (
        1,
        "provider_timeout",
        "budget_exhausted",
        True,
    )
    assert second.count() == 0
    told = gateway.command("explain", said.call_id).stdout
    assert "when it was to be tried elsewhere" in told
    assert "cost nothing" not in told


def test_nobody_waits_for_another_attempt_of_a_caller_who_left(gateway: GatewayProcess, two: Two) -> None:
    first, second = two
    first.faults({"fault": "hang"})
    with unanswered(gateway, mint(gateway)["credential"], chat(max_tokens=20)):
        first.wait_for(lambda lines: len(lines) == 1)
    call_id = first.requests()[0]["client_request_id"].removesuffix(".1")
    assert settled_row(gateway, call_id)["attempts"] == 1
    assert second.count() == 0


def test_a_call_that_was_stopped_is_not_tried_elsewhere(gateway: GatewayProcess, two: Two) -> None:
    first, second = two
    first.faults({"fault": "hang"})
    session = mint(gateway)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, gateway, session["credential"], chat(max_tokens=20))
        first.wait_for(lambda lines: len(lines) == 1)
        gateway.admin("POST", f"/sessions/{session['session']}/end", {"reason": "a test"})
        said: Said = asked.result()
    assert said.status == 402
    assert settled_row(gateway, said.call_id)["attempts"] == 1
    assert second.count() == 0


def test_many_at_once_are_each_paid_for(gateway: GatewayProcess, two: Two) -> None:
    first, second = two
    shares = {"rate_limited": 0.3, "server_error": 0.2, "cut_before_headers": 0.2}
    first.faults(*({"fault": name, "probability": share} for name, share in shares.items()), seed=5)
    second.faults({"fault": "overloaded", "probability": 0.1}, {"fault": "cut", "probability": 0.1}, seed=6)
    was, credential = posted(gateway, "all"), mint(gateway)["credential"]

    def one(number: int) -> Said:
        return ask(gateway, credential, chat(f"{number}", max_tokens=20, stream=number % 2 == 0))

    with ThreadPoolExecutor(16) as pool:
        rows = [settled_row(gateway, said.call_id) for said in pool.map(one, range(64))]
    lines = [*first.settled(), *second.settled()]
    attempts = {each["id"]: each for row in rows for each in row["tried"]} | {
        f"{row['id']}.1": row for row in rows if row["attempts"] == 1
    }
    assert sum(row["attempts"] for row in rows) == len(attempts) > 64
    billed = {line["client_request_id"]: int(line["charge_nanos"]) for line in lines}
    assert set(billed) == set(attempts), "each attempt was one request, and each request is one attempt"
    for name, each in attempts.items():
        charge = nanos(each["charge_usd"])
        assert charge >= billed[name] if each["presumed"] else charge == billed[name], (name, each)
    assert posted(gateway, "all") - was == sum(nanos(row["charge_usd"]) for row in rows)
    assert nanos(budget_of(gateway, "all")["held"]) == 0


def test_an_attempt_is_corrected_by_its_own_name(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "hang"})
    row = settled_row(gateway, ask(gateway, mint(gateway)["credential"], chat(max_tokens=20)).call_id)
    was = {name: posted(gateway, name) for name in ("at-first", "at-second")}
    vague = gateway.command("correct", row["id"], "--charge", "0", "--reason", "the bill", check=False)
    assert vague.returncode != 0
    assert f"{row['id']}.1 (first) or {row['id']}.2 (second)" in vague.stderr
    gateway.command("correct", f"{row['id']}.1", "--charge", "0.0001", "--reason", "the bill")
    now = row_of(gateway, row["id"])
    assert [each["charge_usd"] for each in now["tried"]] == ["0.0001", row["tried"][1]["charge_usd"]]
    assert nanos(now["charge_usd"]) == 100_000 + nanos(row["tried"][1]["charge_usd"])
    assert not now["presumed"]
    assert posted(gateway, "at-first") == was["at-first"] - nanos(row["tried"][0]["charge_usd"]) + 100_000
    assert posted(gateway, "at-second") == was["at-second"]


def test_a_dead_provider_is_passed_by(two: Two, tmp_path: Path) -> None:
    _, second = two
    with SandboxProcess() as closed:
        port = closed.port
    dead = files(f"http://127.0.0.1:{port}", second.url)
    with GatewayProcess(tmp_path, dead, registry(BUDGETS, IDENTITIES, MODELS)) as gateway:
        row = settled_row(gateway, ask(gateway, mint(gateway)["credential"], chat(max_tokens=20)).call_id)
        assert [each["outcome"] for each in row["tried"]] == ["provider_unreachable", "completed"]
        assert nanos(row["charge_usd"]) == charged(second.settled())
        assert int(budget_of(gateway, "calls")["posted"]) == 1, "the first never went upstream"


def test_a_gateway_that_dies_in_a_second_attempt_charges_both(two: Two, tmp_path: Path) -> None:
    first, second = two
    for each in two:
        each.faults({"fault": "hang"})
    with GatewayProcess(tmp_path, files(first.url, second.url), registry(BUDGETS, IDENTITIES, MODELS)) as gateway:
        with unanswered(gateway, mint(gateway)["credential"], chat(max_tokens=20)):
            second.wait_for(lambda lines: len(lines) == 1)
            gateway.kill9()
        gateway.start()
        (row,) = gateway.calls()
        assert [each["outcome"] for each in row["tried"]] == ["provider_timeout", "crashed"]
        assert all(each["charge_usd"] == each["held_usd"] for each in row["tried"])
        assert posted(gateway, "all") == nanos(row["charge_usd"]) == sum(nanos(t["held_usd"]) for t in row["tried"])


def test_a_gateway_that_stops_tries_nothing_more(two: Two, tmp_path: Path) -> None:
    first, second = two
    first.faults({"fault": "hang"})
    slow = files(first.url, second.url)
    slow["providers"]["first"]["first_byte_timeout_s"] = 5.0
    with GatewayProcess(tmp_path, slow, registry(BUDGETS, IDENTITIES, MODELS)) as gateway:
        credential = mint(gateway)["credential"]
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, gateway, credential, chat(max_tokens=20))
            first.wait_for(lambda lines: len(lines) == 1)
            assert gateway.sigterm() == 0
            said = asked.result()
        assert (said.status, said.code) == (503, "draining")
        assert "First the provider first did not answer in time" in said.error["message"]
        (row,) = gateway.calls()
        assert (row["attempts"], row["outcome"], row["refusal"]) == (1, "provider_timeout", "draining")
        assert second.count() == 0


@pytest.mark.parametrize("limit", ["failover_attempts", "failover_s"])
def test_failover_can_be_switched_off(two: Two, tmp_path: Path, limit: str) -> None:
    first, second = two
    first.faults({"fault": "rate_limited"})
    off = files(first.url, second.url, limits={limit: 0})
    with GatewayProcess(tmp_path, off, registry(BUDGETS, IDENTITIES, MODELS)) as gateway:
        assert ask(gateway, mint(gateway)["credential"], chat(max_tokens=20)).status == 429
        assert second.count() == 0


POLICIES = """
@id("agents-may-call")
permit (principal, action == Action::"model.call", resource);

@id("reds-not-at-second")
forbid (principal in Team::"red", action == Action::"model.call", resource) when { context.provider == "second" };

@id("blues-not-at-first")
forbid (principal in Team::"blue", action == Action::"model.call", resource) when { context.provider == "first" };

@id("poor-nowhere") @reason("nobody pays for them")
forbid (principal in Team::"poor", action == Action::"model.call", resource);
"""


def test_policies_see_the_provider_that_is_tried(two: Two, tmp_path: Path) -> None:
    first, second = two
    first.faults({"fault": "rate_limited", "retry_after_s": 9})
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "one.cedar").write_text(POLICIES)
    with GatewayProcess(tmp_path, files(first.url, second.url), registry(BUDGETS, IDENTITIES, MODELS)) as gateway:
        red = ask(gateway, mint(gateway, "agent/ant")["credential"], chat(max_tokens=20))
        assert (red.status, red.headers["retry-after"]) == (429, "9"), "the second is none that could mend it"
        assert second.count() == 0
        blue = ask(gateway, mint(gateway, "agent/bee")["credential"], chat(max_tokens=20))
        assert (blue.status, settled_row(gateway, blue.call_id)["provider"]) == (200, "second")
        assert settled_row(gateway, blue.call_id)["attempts"] == 1
        poor = ask(gateway, mint(gateway, "agent/poor")["credential"], chat(max_tokens=20))
        assert (poor.status, poor.code) == (402, "policy_forbidden")
        assert "nobody pays for them" in poor.error["message"]
        assert first.count() == second.count() == 1
