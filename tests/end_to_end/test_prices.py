"""Prices on a running gateway: shipped ones, ones that are missing, ones that are put right."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.cli.world import Typed
from tests.end_to_end.caller import Row, ask, chat, mint, nanos, row_of, settled_row
from tests.harness.configuration import budget, model, prices, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

SHORT: Row = {"max_tokens": 20}
MODELS = {
    "sandbox-*": model("sandbox"),
    "gpt-4o-mini": model("openai", max_output_tokens=16_384),
    "claude-sonnet-5": model("anthropic"),
}
HOUR = {"type": "ephemeral", "ttl": "1h"}
DRAWN = {"image_output": "40.00"}


def lines(*tiers: str, **more: str) -> list[Row]:
    return [line | more for line in prices() if line["service_tier"] in tiers]


@pytest.fixture(scope="module")
def own(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """The sandbox beside itself in two parts: OpenAI's and Anthropic's prices are said to hold for it."""
    files = process(sandbox_process.url)
    files["providers"] |= {
        "openai": provider(sandbox_process.url, dialects=["openai"], price_provider="openai"),
        "anthropic": provider(sandbox_process.url, dialects=["anthropic"], price_provider="anthropic"),
    }
    known = registry([budget("all", "100.00 USD")], models=MODELS)
    with GatewayProcess(tmp_path_factory.mktemp("prices"), files, known) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@pytest.fixture
def gateway(own: GatewayProcess, sandbox: SandboxProcess, typed: Typed) -> GatewayProcess:
    """With the sandbox's own prices, all of them, and an empty bill behind it."""
    install(typed, own, prices())
    return own


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(monkeypatch, capsys)


def install(typed: Typed, gateway: GatewayProcess, book: list[Row]) -> None:
    gateway.write_registry(registry([budget("all", "100.00 USD")], models=MODELS, prices=book))
    typed.about(gateway, "apply", "--yes")


def credential(gateway: GatewayProcess) -> str:
    return mint(gateway)["credential"]


def findings(gateway: GatewayProcess, call_id: str) -> list[str]:
    return [row["code"] for row in gateway.admin("GET", "/findings") if row["call"] == call_id]


@pytest.mark.parametrize(
    ("path", "body", "most"),
    [
        # 16,384 tokens of output at 1.00, the priority tier's: a request that names none may get it.
        ("/v1/chat/completions", chat(model="gpt-4o-mini"), 16_384 * 1_000),
        # At 11.00 USD: inference in the US, which the workspace may have set.
        ("/v1/messages", chat(model="claude-sonnet-5", max_tokens=100), 100 * 11_000),
        # An hour's cache costs 4.40 a million there, and its bytes are a bound of its tokens.
        (
            "/v1/messages",
            chat("x" * 10_000, model="claude-sonnet-5", max_tokens=100, cache_control=HOUR),
            100 * 11_000 + 10_000 * 4_400,
        ),
    ],
)
def test_shipped_prices_hold_calls_of_real_models(
    gateway: GatewayProcess, typed: Typed, path: str, body: Row, most: int
) -> None:
    said = ask(gateway, credential(gateway), body, path=path)
    assert said.status == 404, "the sandbox does not have this model"
    row = settled_row(gateway, said.call_id)
    assert most < nanos(row["held_usd"]) < most + 1_000_000
    sheet: Any = typed.rows(gateway, "prices", body["model"])
    assert row["price_version"] == sheet["version"]
    assert all(each["source"].startswith("genai-prices") for each in sheet["prices"])


def test_a_tier_without_a_price_is_presumed_and_found(gateway: GatewayProcess, typed: Typed) -> None:
    install(typed, gateway, lines("default"))
    said = ask(gateway, credential(gateway), chat(**SHORT, sandbox={"served_tier": "priority"}))
    row = settled_row(gateway, said.call_id)
    assert (row["outcome"], row["presumed"], row["charge_usd"]) == ("completed", True, row["held_usd"])
    assert findings(gateway, said.call_id) == ["tier_unpriced"]


def test_images_that_are_not_counted_apart_are_presumed_and_found(gateway: GatewayProcess, typed: Typed) -> None:
    """A model with a price for what it draws, on a server that does not say how much of its output that was."""
    install(typed, gateway, lines("default", **DRAWN))
    said = ask(gateway, credential(gateway), chat(**SHORT))
    row = settled_row(gateway, said.call_id)
    assert (row["presumed"], row["charge_usd"]) == (True, row["held_usd"])
    assert findings(gateway, said.call_id) == ["usage_unpriced"]
    assert "not every part of it has a price" in typed.about(gateway, "explain", said.call_id)


def test_an_hours_cache_without_a_price_is_refused(gateway: GatewayProcess, typed: Typed) -> None:
    def asked(ttl: str) -> Row:
        return chat(**SHORT) | {"cache_control": {"type": "ephemeral", "ttl": ttl}}

    install(typed, gateway, [{k: v for k, v in line.items() if k != "cache_write_1h"} for line in prices()])
    assert ask(gateway, credential(gateway), asked("5m"), path="/v1/messages").status == 200
    said = ask(gateway, credential(gateway), asked("1h"), path="/v1/messages")
    assert said.status == 402
    assert "`cache_write_1h`" in said.error["message"]


def test_a_price_that_is_put_right_shows_what_it_was_wrong_by(gateway: GatewayProcess, typed: Typed) -> None:
    asked = credential(gateway)
    calls = [ask(gateway, asked, chat(f"{number}", **SHORT)).call_id for number in range(3)]
    before = [settled_row(gateway, call_id) for call_id in calls]
    spent = sum(nanos(row["charge_usd"]) for row in before)
    session = ["--since", "1h", "--model", "sandbox-large"]
    wrong_by_none: Any = typed.rows(gateway, "reprice", *session)
    assert wrong_by_none["total"]["difference_usd"] == "0.00"
    compared = nanos(wrong_by_none["total"]["recorded_usd"])
    assert compared >= spent
    install(
        typed, gateway, [line | {"input": double(line["input"]), "output": double(line["output"])} for line in prices()]
    )
    found: Any = typed.rows(gateway, "reprice", *session)
    assert nanos(found["total"]["repriced_usd"]) == 2 * compared
    assert "difference USD" in typed.about(gateway, "reprice", *session)
    assert [row_of(gateway, call_id) for call_id in calls] == before, "nothing was changed"
    later = settled_row(gateway, ask(gateway, asked, chat("later", **SHORT)).call_id)
    assert {row["price_version"] for row in before} == {wrong_by_none["version"]}
    assert later["price_version"] == found["version"] != wrong_by_none["version"]


def double(usd: str) -> str:
    return str(Decimal(usd) * 2)
