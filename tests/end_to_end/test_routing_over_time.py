"""Routing as providers fail and budgets change: which model of a class is taken, and when a session goes back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.caller import Row, Said, ask, chat, mint, nanos, settled_row
from tests.harness.configuration import budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

IDENTITIES = {f"agent/{name}": identity("red") for name in ("ant", "low")}
MODELS = {
    "sandbox-small": model("first") | {"class": "small"},
    "sandbox-reasoner": model("second") | {"class": "small"},
    "sandbox-large": model("second") | {"class": "frontier"},
}
ROUTES: list[Row] = [
    {"name": "low", "scope": {"identity": "agent/low"}, "to": "small", "when": {"budget_below": "50%"}},
    {"name": "late", "scope": {"model": "sandbox-large"}, "to": "sandbox-small", "when": {"input_tokens_over": 900}},
]
Two = tuple[SandboxProcess, SandboxProcess]


def files(limit: str = "0.10 USD") -> Row:
    return registry(
        [budget("all", "100.00 USD"), budget("low", limit, scope={"identity": "agent/low"})],
        IDENTITIES,
        MODELS,
        aliases={"fast": "small"},
        classes={"order": ["small", "frontier"]},
        routes=ROUTES,
    )


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    with SandboxProcess() as first, SandboxProcess() as second:
        yield first, second


@pytest.fixture
def gateway(two: Two, tmp_path: Path) -> Iterator[GatewayProcess]:
    for each in two:
        each.clear_faults()
        each.reset_bill()
    settings = process(two[0].url, providers={"first": provider(two[0].url), "second": provider(two[1].url)})
    with GatewayProcess(tmp_path, settings, files()) as running:
        yield running
        assert "Traceback" not in running.log()


def row_of(gateway: GatewayProcess, said: Said) -> Row:
    assert said.status == 200, said
    return settled_row(gateway, said.call_id)


def test_the_cheapest_model_of_a_class_is_taken_as_long_as_its_provider_is_well(
    gateway: GatewayProcess, two: Two
) -> None:
    key = mint(gateway)["credential"]
    first, second = two
    one = row_of(gateway, ask(gateway, key, chat(model="fast", max_tokens=5)))
    assert (one["model"], one["attempts"]) == ("sandbox-small", 1)
    first.faults({"fault": "rate_limited", "retry_after_s": 120})
    rows = [row_of(gateway, ask(gateway, key, chat(model="fast", max_tokens=5))) for _ in range(3)]
    assert [(row["model"], row["attempts"]) for row in rows] == [
        ("sandbox-reasoner", 2),  # the call itself goes on to the next model of the class
        ("sandbox-reasoner", 1),  # and the next one asks that first
        ("sandbox-reasoner", 1),
    ]
    assert [row["asked_model"] for row in rows] == ["fast"] * 3
    billed = sum(int(line["charge_nanos"]) for each in two for line in each.settled())
    assert sum(nanos(row["charge_usd"]) for row in (one, *rows)) == billed
    assert second.count() == 3


def test_a_call_whose_target_fails_goes_on_where_it_asked_to(gateway: GatewayProcess, two: Two) -> None:
    two[0].faults({"fault": "overloaded"})
    row = row_of(gateway, ask(gateway, mint(gateway)["credential"], chat("long " * 300, max_tokens=5)))
    assert (row["model"], row["attempts"], row["routed_by"]) == ("sandbox-large", 2, None)
    assert row["tried"][0]["model"] == "sandbox-small"
    assert row["effects"][0]["kind"] == "warned"


def test_a_session_goes_back_once_five_points_more_are_left(gateway: GatewayProcess) -> None:
    old = mint(gateway, "agent/low")["credential"]

    def routed(key: str) -> bool:
        row = row_of(gateway, ask(gateway, key, chat(max_tokens=5)))
        return row["routed_by"] == "route:low"

    used = 0
    while used < 51_000_000:
        row = row_of(gateway, ask(gateway, old, chat(max_tokens=800, sandbox={"output_tokens": 800})))
        used += nanos(row["charge_usd"])
    assert routed(old)

    def left(share: int) -> None:
        """Set the limit so that about so many hundredths of it are left."""
        spent = next(nanos(each["posted"]) for each in gateway.budgets() if each["name"] == "low")
        limit = spent * 100 // (100 - share)
        gateway.write_registry(files(f"{limit // 10**9}.{limit % 10**9:09d} USD"))
        gateway.command("apply", "--yes")

    left(53)
    assert routed(old), "above the threshold, and not by five points"
    assert not routed(mint(gateway, "agent/low")["credential"]), "nothing holds a new session"
    left(60)
    assert not routed(old)
    left(53)
    assert not routed(old), "once back, it stays until less than the threshold is left"


def test_an_alias_in_a_batch_is_refused_by_name(gateway: GatewayProcess) -> None:
    line = {"custom_id": "a", "params": {"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}}
    line["params"]["model"] = "fast"  # type: ignore[index]
    said = ask(gateway, mint(gateway)["credential"], {"requests": [line]}, path="/v1/messages/batches")
    assert said.status == 402, said
    assert b"'fast' is an alias" in said.body
