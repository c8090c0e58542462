"""/metrics: true to the books and the bill, bounded whatever callers send, and closed to strangers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from comptroller.core.refusal import REFUSALS
from comptroller.flow.outcome import OUTCOMES
from comptroller.telemetry.families import FAMILIES
from comptroller.telemetry.tally import METERS
from tests.architecture.house import ROOT
from tests.end_to_end.caller import CHAT, ask, chat, eventually, mint, nanos, settled_row, stream
from tests.harness.configuration import budget, identity, model, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.scrape import Page, scrape
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

TOKEN = "scrape-" + "t0ken-of-this-test"
MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("blue"), "agent/poor": identity("red")}
BUDGETS = [
    budget("all", "100.00 USD"),
    budget("poor", "0.000001 USD", scope={"identity": "agent/poor"}),
    budget("watched", "10_000 tokens", "day", mode="shadow", per="identity"),
]
MESSAGES = "/v1/messages"


@pytest.fixture
def metered(
    sandbox_process: SandboxProcess, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[GatewayProcess]:
    """A gateway of its own, so that every number begins at nothing."""
    with started(sandbox_process, tmp_path, **getattr(request, "param", {})) as gateway:
        sandbox_process.reset_bill()
        yield gateway


@pytest.fixture(scope="module")
def shared(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with started(sandbox_process, tmp_path_factory.mktemp("metrics")) as gateway:
        yield gateway


@contextmanager
def started(sandbox: SandboxProcess, folder: Path, **metrics: Any) -> Iterator[GatewayProcess]:
    settings = process(sandbox.url, metrics={"token": "env:SCRAPE_TOKEN"} | metrics)
    known = registry(BUDGETS, MEMBERS, {"sandbox-*": model("sandbox")})
    with GatewayProcess(folder, settings, known, env={"SCRAPE_TOKEN": TOKEN}) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def test_the_numbers_are_those_of_the_bill_and_the_books(metered: GatewayProcess, sandbox: SandboxProcess) -> None:
    ant, bee, poor = (mint(metered, name)["credential"] for name in MEMBERS)
    for credential in (ant, bee, bee):
        assert ask(metered, credential, chat()).status == 200
    assert ask(metered, ant, chat(max_tokens=50), path=MESSAGES).status == 200
    with stream(metered, bee, chat("a stream")) as events:
        events.read()
    assert ask(metered, bee, chat(sandbox={"fault": "rate_limited"})).status == 429
    lost = ask(metered, bee, chat(sandbox={"fault": "cut_before_headers"}))
    assert ask(metered, poor, chat()).code == "budget_exhausted"
    assert ask(metered, None, chat()).code == "credential_missing"
    assert ask(metered, ant, b"{").code == "request_invalid"
    rows = metered.calls()
    bill = sandbox.settled(7)

    seen = scrape(metered).samples
    assert seen.by("comptroller_calls_total", "outcome") == {"completed": 5, "provider_refused": 1, "provider_cut": 1}
    assert seen.by("comptroller_calls_total", "end") == {"posted": 5, "voided": 1, "presumed": 1}
    assert seen.by("comptroller_calls_total", "dialect") == {"openai_chat": 6, "anthropic_messages": 1}
    assert seen.by("comptroller_calls_total", "model") == {"sandbox-*": 7}, "the registry's entry, not the name asked"
    assert seen.by("comptroller_refusals_total", "code", team="red") == {"budget_exhausted": 1, "request_invalid": 1}
    assert seen.by("comptroller_refusals_total", "code", team="") == {"credential_missing": 1}
    assert seen.by("comptroller_provider_answers_total", "status") == {"2xx": 5, "429": 1, "none": 1}

    presumed = nanos(settled_row(metered, lost.call_id)["charge_usd"])
    exact = charged(line for line in bill if line["state"] == "done")
    assert seen.total("comptroller_presumed_usd_total") == pytest.approx(presumed / 1e9, abs=1e-9)
    assert seen.total("comptroller_charge_usd_total") == pytest.approx((exact + presumed) / 1e9, abs=1e-9)
    for team in ("red", "blue"):
        booked = sum(nanos(row["charge_usd"]) for row in rows if row["team"] == team and row["charge_usd"])
        assert seen.total("comptroller_charge_usd_total", team=team) == pytest.approx(booked / 1e9, abs=1e-9)
    done = [line for line in bill if line["state"] == "done"]
    assert seen.total("comptroller_tokens_total", meter="input") == sum(line["input_tokens"] for line in done)
    assert seen.total("comptroller_tokens_total", meter="output") == sum(line["output_tokens"] for line in done)

    assert seen.total("comptroller_admission_seconds_count") == 7
    assert seen.total("comptroller_provider_first_byte_seconds_count") == 6
    assert seen.total("comptroller_call_seconds_count") == 7
    assert seen.total("comptroller_admission_seconds_sum") <= seen.total("comptroller_call_seconds_sum")


def test_what_is_in_flight_and_what_is_left(metered: GatewayProcess) -> None:
    assert scrape(metered).samples.by("comptroller_budget_remaining_ratio", "budget") == dict.fromkeys(
        ("all", "poor", "watched"), 1.0
    )
    credential = mint(metered)["credential"]
    slow = chat(sandbox={"output_tokens": 2000, "tokens_per_s": 50}, max_tokens=4000)
    with stream(metered, credential, slow) as events:
        events.readline()
        seen = scrape(metered).samples
        assert seen.by("comptroller_calls_in_flight", "kind") == {"stream": 1, "json": 0}
        assert (seen.total("comptroller_holds_open"), seen.total("comptroller_store_ok")) == (1, 1)
        held = seen.total("comptroller_held_usd")
        assert held > 0
        assert seen.by("comptroller_provider_connections", "state")["active"] == 1
        left = seen.by("comptroller_budget_remaining_ratio", "budget")
        assert left["all"] == pytest.approx(1 - held / 100)
        assert 0 < left["watched"] < 1
    metered.admin("POST", f"/sessions/{session_of(metered)}/end", {"reason": "test"})
    eventually(lambda: scrape(metered).samples.total("comptroller_calls_in_flight") == 0)


def test_a_start_takes_over_what_is_left_of_budgets(metered: GatewayProcess) -> None:
    """Before the first call after a start nobody has drawn on a window: what is posted there counts all the same."""
    ask(metered, mint(metered)["credential"], chat())
    before = scrape(metered).samples.by("comptroller_budget_remaining_ratio", "budget")
    metered.restart()
    assert scrape(metered).samples.by("comptroller_budget_remaining_ratio", "budget") == before
    assert before["all"] < 1


@pytest.mark.parametrize("metered", [{"label_sets": 10}], indirect=True)
def test_no_flood_makes_more_series(metered: GatewayProcess) -> None:
    """Whatever strangers and callers make up, and however many teams the registry has, the page has a bound."""
    members = {f"agent/a{number}": identity(f"team{number}") for number in range(25)}
    many = registry([budget(f"b{number}", "9.00 USD") for number in range(25)], members)
    metered.write_registry(many)
    metered.command("apply", "--yes")
    credentials = [mint(metered, name)["credential"] for name in members]
    flood(metered, credentials[0], 0)
    for credential in credentials:
        assert ask(metered, credential, chat(max_tokens=1)).status == 200
    first = scrape(metered)
    flood(metered, credentials[0], 1)
    second = scrape(metered)

    assert series(first) == series(second), "made-up words lead to series of their own"
    assert "made-up" not in second.text
    seen = second.samples
    assert seen.total("comptroller_calls_total") == 25 + 2 * 40, "what is folded is still counted"
    assert len(seen.by("comptroller_calls_total", "team")) == 11
    assert seen.by("comptroller_calls_total", "team")["other"] == 15
    assert len(seen.by("comptroller_budget_remaining_ratio", "budget")) == 11
    assert len(second.text.splitlines()) < bound(label_sets=10)
    for name, label, known in (
        ("comptroller_calls_total", "outcome", set(OUTCOMES)),
        ("comptroller_refusals_total", "code", set(REFUSALS)),
        ("comptroller_tokens_total", "meter", set(METERS)),
    ):
        assert set(seen.by(name, label)) <= known


def flood(gateway: GatewayProcess, credential: str, turn: int) -> None:
    for number in range(20):
        word = f"made-up-{turn}-{number}"
        assert ask(gateway, credential, chat() | {"model": word}).code == "model_unknown"
        assert ask(gateway, credential, chat() | {"model": f"sandbox-{word}"}).status in {402, 404}
        assert ask(gateway, credential, chat(), path=f"/{word}").code == "route_unknown"
        assert ask(gateway, credential, chat(), path=f"/v1/models/{word}", method="GET").code == "model_unknown"
        assert ask(gateway, credential, chat(), method=word.upper()).status in {400, 405}
        assert ask(gateway, word, chat()).code == "credential_invalid"
        assert ask(gateway, credential, chat(), headers={"user-agent": word, "x-stainless-lang": word}).status == 200
        assert ask(gateway, credential, chat(metadata={word: word}, user=word)).status == 200


def series(page: Page) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Our series, without those that tell of one moment or one machine."""
    return {(one.name, frozenset(one.labels.items())) for one in page.samples if one.name.startswith("comptroller_")}


def bound(label_sets: int) -> int:
    """The most lines that a page can have: what docs/observability.md says."""
    accounts = label_sets + 2  # one more for each dialect
    ends = 3
    per_account = len(OUTCOMES) * ends + len(METERS) + 3
    per_model = 2 * 16
    return accounts * (per_account + per_model + len(REFUSALS)) + 500


def session_of(gateway: GatewayProcess) -> str:
    (session,) = gateway.admin("GET", "/sessions")
    return session["id"]


def test_both_formats_are_spoken(shared: GatewayProcess) -> None:
    ask(shared, mint(shared)["credential"], chat())
    plain, open_metrics = scrape(shared, accept="*/*"), scrape(shared)
    assert plain.kind.startswith("text/plain; version=0.0.4")
    assert open_metrics.kind.startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.text.endswith("# EOF\n")
    known = {family.name.removesuffix("_total") for family in FAMILIES}
    for page in (plain, open_metrics):
        names = {family.name for family in page.families}
        assert known <= names
        assert {"process_resident_memory_bytes", "process_open_fds", "python_gc_collections"} <= names
    assert series(plain) == series(open_metrics)


def test_who_may_scrape(shared: GatewayProcess) -> None:
    session = mint(shared)["credential"]
    assert scrape(shared).status == 200, "the admin credential opens the whole admin plane"
    assert scrape(shared, credential=TOKEN).status == 200
    assert [scrape(shared, credential=other).status for other in ("", "guess", TOKEN + "x", session)] == [
        401,
        401,
        401,
        403,
    ]
    assert scrape(shared, credential=TOKEN, path="/api/v1/status").status == 401, "it opens the metrics alone"
    assert scrape(shared, credential=TOKEN, method="POST").status == 405
    assert TOKEN not in shared.log()


def test_the_data_plane_has_no_metrics(shared: GatewayProcess) -> None:
    assert shared.get("/metrics")[0] == 404
    assert ask(shared, TOKEN, chat(), path="/metrics", method="GET").code == "route_unknown"
    assert ask(shared, TOKEN, chat(), path=CHAT).code == "credential_invalid"


def test_a_token_that_cannot_be_read_opens_nothing(sandbox_process: SandboxProcess, tmp_path: Path) -> None:
    settings = process(sandbox_process.url, metrics={"token": "file:scrape.token"})
    with GatewayProcess(tmp_path, settings, registry()) as gateway:
        assert scrape(gateway, credential="").status == 401
        assert scrape(gateway).status == 200
        eventually(lambda: '"event.name": "metrics"' in gateway.log())
        (tmp_path / "scrape.token").write_text(f"{TOKEN}\n")
        gateway.restart()
        assert scrape(gateway, credential=TOKEN).status == 200


def test_the_scrape_configuration_of_the_docs_works(shared: GatewayProcess, tmp_path: Path) -> None:
    """Job, path and credential are those of the page; only the port is ours."""
    text = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    (job,) = re.findall(r"```yaml\n(scrape_configs:.*?)```", text, re.DOTALL)
    said = dict(re.findall(r"^\s*-?\s*([a-z_]+): (\S.*)$", job, re.MULTILINE))
    assert said["type"] == "Bearer"
    path = tmp_path / Path(said["credentials_file"]).name
    path.write_text(TOKEN)
    assert said["targets"] == '["127.0.0.1:8789"]', "where [admin] listens by default"
    page = scrape(shared, path=said["metrics_path"], credential=path.read_text())
    assert page.samples.total("comptroller_ready") == 1
