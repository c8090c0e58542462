"""Reports of spend, with the sandbox's own bill as the judge."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from comptroller.core.ids import make_id
from tests.end_to_end.caller import Row, ask, chat, eventually, mint, nanos, rest_of, stream
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SRC, SandboxProcess, charged

pytestmark = pytest.mark.processes

MEMBERS = {
    "agent/ant": identity("red"),
    "agent/bee": identity("blue"),
    "service/cron": identity("blue", "service", environment="experimentation"),
}
BUDGETS = [
    budget("all", "100.00 USD", "month"),
    budget("bee-day", "0.01 USD", "day", scope={"identity": "agent/bee"}),
]
DIMENSIONS = ("team", "owner", "identity", "environment", "session", "task", "model", "provider")
LONG: Row = {"output_tokens": 3000, "tokens_per_s": 20}  # longer than any test waits for it


@pytest.fixture
def own(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def spent(gateway: GatewayProcess, by: str, **query: str) -> dict[str | None, Row]:
    asked = "&".join(f"{name}={value}" for name, value in {"by": by, **query}.items())
    return {row["key"]: row for row in gateway.admin("GET", f"/spend?{asked}")["rows"]}


def total(rows: dict[str | None, Row], name: str) -> int:
    return sum(nanos(row[name]) if name.endswith("_usd") else row[name] for row in rows.values())


def billed_by_call(sandbox: SandboxProcess) -> Counter[str]:
    bill: Counter[str] = Counter()
    for line in sandbox.settled():
        bill[line["client_request_id"].rpartition(".")[0]] += charged([line])
    return bill


def test_reports_say_what_the_provider_billed(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    sessions = {name: mint(own, name) for name in MEMBERS}
    made: dict[str, str] = {}
    refused: Counter[str] = Counter()

    def call(number: int) -> None:
        name = list(MEMBERS)[number % 3]
        asked = "sandbox-large" if number % 2 else "sandbox-small"
        body = chat(f"{number}", model=asked, max_tokens=10 + number, sandbox={"output_tokens": 5 + number})
        said = ask(own, sessions[name]["credential"], body)
        if said.status == 200:
            made[said.call_id] = name
        else:
            assert said.code == "budget_exhausted", said.body
            refused[name] += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(48)))
    for text in ("one", "two"):
        said = ask(own, sessions["agent/bee"]["credential"], chat(text, max_tokens=4000))
        assert said.code == "budget_exhausted"
        refused["agent/bee"] += 1
    said = ask(own, sessions["agent/ant"]["credential"], chat(model="made-up"))
    assert said.code == "model_unknown"
    refused["agent/ant"] += 1

    bill = billed_by_call(sandbox)
    assert set(bill) == set(made)
    everything = sum(bill.values())
    assert everything == int(sandbox.total()["charge_nanos"])
    for by in DIMENSIONS:
        rows = spent(own, by)
        assert (total(rows, "charge_usd"), total(rows, "presumed_usd")) == (everything, 0), by
        assert (total(rows, "calls"), total(rows, "refused")) == (len(made), refused.total()), by
        assert total(rows, "input_tokens") == sandbox.total()["input_tokens"], by
        assert total(rows, "output_tokens") == sandbox.total()["output_tokens"], by
    for name, row in spent(own, "identity").items():
        theirs = [call_id for call_id, caller in made.items() if caller == name]
        assert (row["calls"], row["refused"]) == (len(theirs), refused[str(name)])
        assert nanos(row["charge_usd"]) == sum(bill[call_id] for call_id in theirs)
    models = spent(own, "model")
    for model in ("sandbox-large", "sandbox-small"):
        lines = [line for line in sandbox.requests() if line["model"] == model]
        assert (models[model]["calls"], nanos(models[model]["charge_usd"])) == (len(lines), charged(lines))
    assert models[None]["refused"] == refused.total(), "what was refused is no name's line: callers make up names"
    red = spent(own, "model", team="red")
    assert total(red, "charge_usd") == nanos(spent(own, "team")["red"]["charge_usd"])
    (one,) = spent(own, "session", session=sessions["agent/bee"]["session"]).values()
    assert one["charge_usd"] == spent(own, "identity")["agent/bee"]["charge_usd"]


def test_what_nobody_knows_stands_apart_until_it_is_known(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    ant = mint(own)["credential"]
    assert ask(own, ant, chat("before", max_tokens=20)).status == 200
    with stream(own, ant, chat(sandbox=LONG)) as response:
        response.readline()
        call_id = response.headers["x-comptroller-call-id"]
        own.kill9()
        rest_of(response)
    own.start()
    assert ask(own, ant, chat("after", max_tokens=20)).status == 200
    bill = billed_by_call(sandbox)
    (row,) = spent(own, "team").values()
    assert nanos(row["charge_usd"]) == sum(bill.values()) - bill[call_id]
    assert nanos(row["presumed_usd"]) >= bill[call_id] > 0
    assert nanos(row["posted_usd"]) == nanos(row["charge_usd"]) + nanos(row["presumed_usd"])
    assert row["posted_usd"] == next(each for each in own.budgets() if each["name"] == "all")["posted"]
    assert "presumed USD" in own.command("spend").stdout
    invoice = f"{bill[call_id] // 10**9}.{bill[call_id] % 10**9:09d}"
    own.command("correct", call_id, "--charge", invoice, "--reason", "the sandbox's bill")
    for _ in range(2):
        (row,) = spent(own, "team").values()
        assert (nanos(row["charge_usd"]), nanos(row["presumed_usd"])) == (sum(bill.values()), 0)
        assert row["calls"] == 3
        own.kill9()
        own.start()


def test_a_call_belongs_to_the_team_and_owner_of_its_time(own: GatewayProcess) -> None:
    ask(own, mint(own)["credential"], chat("as red", max_tokens=20))
    moved: dict[str, Any] = {**MEMBERS, "agent/ant": identity("blue"), "agent/left": identity("red")}
    own.write_registry(registry(BUDGETS, moved))
    own.command("apply", "--yes")
    ask(own, mint(own)["credential"], chat("as blue", max_tokens=20))
    for by, keys in {"team": {"red", "blue"}, "owner": {"red-lead@acme.example", "blue-lead@acme.example"}}.items():
        rows = spent(own, by, identity="agent/ant")
        assert rows.keys() == keys
        assert all(row["calls"] == 1 for row in rows.values())
    # and a new budget counts it there, too
    own.write_registry(registry([*BUDGETS, budget("red", "9.00 USD", "month", scope={"team": "red"})], moved))
    own.command("apply", "--yes")
    (red,) = [each for each in own.budgets() if each["name"] == "red"]
    assert red["posted"] == spent(own, "team")["red"]["charge_usd"]


def test_what_is_too_old_goes_by_itself(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """The job of a running gateway, with its first quarter of an hour cut out of the source."""
    source = tmp_path / "source"
    shutil.copytree(SRC, source, ignore=shutil.ignore_patterns("__pycache__"))
    job = source / "comptroller" / "control" / "retention.py"
    at_once = job.read_text().replace("FIRST_S = 900.0", "FIRST_S = 0.0")
    assert at_once != job.read_text()
    job.write_text(at_once)
    lifelong = [budget("life", "100.00 USD")]
    files = process(sandbox.url, retention={"calls_days": 90, "spend_recent_days": 90})
    with GatewayProcess(tmp_path / "own", files, registry(lifelong, MEMBERS), source=source) as own:
        ant = mint(own)["credential"]
        call_id = ask(own, ant, chat("long ago", max_tokens=20)).call_id
        before = spent(own, "team"), own.budgets()
        assert own.sigterm() == 0
        old_id = grown_old(own.state / "comptroller.db", call_id, days=91)
        own.start()
        assert ask(own, ant, chat("today", max_tokens=20)).status == 200
        eventually(lambda: [row for row in own.admin("GET", "/changes") if row["noun"] == "records"])
        eventually(lambda: len(own.calls()) == 1)
        for command in (["explain", old_id], ["correct", old_id, "--charge", "1", "--reason", "the invoice"]):
            done = own.command(*command, check=False)
            assert (done.returncode, done.stdout) == (1, "")
            assert f"error: {old_id} is from 20" in done.stderr
            assert "not kept any more since 20" in done.stderr
            assert "(retention.calls_days = 90)" in done.stderr
        repriced = own.command("reprice", "--since", "200d")
        assert "Calls are kept since" in repriced.stderr
        eventually(lambda: "records_pruned" in own.log())
        told = own.command("spend", "--by", "session", "--since", "200d")
        assert "not kept for longer (retention.spend_recent_days)" in told.stderr
        (row,), (budget_row,) = spent(own, "team").values(), own.budgets()
        assert row["posted_usd"] == budget_row["posted"]
        assert nanos(row["posted_usd"]) == int(sandbox.total()["charge_nanos"]) > nanos(before[0]["red"]["posted_usd"])
        assert "Traceback" not in own.log()


def grown_old(database: Path, call_id: str, days: int) -> str:
    """Make the only call in this store so old; returns its id, which says how old a call is."""
    age_ns = days * 24 * 3600 * 10**9
    with closing(sqlite3.connect(database)) as connection, connection:
        ((at_ns,),) = connection.execute("SELECT at_ns FROM calls").fetchall()
        old_id = make_id("call", at_ns - age_ns, 1)
        connection.execute("UPDATE calls SET id = ?, at_ns = at_ns - ? WHERE id = ?", (old_id, age_ns, call_id))
        for table in ("spend_recent", "spend_daily"):
            connection.execute(f"UPDATE {table} SET start_ns = start_ns - ?", (age_ns,))
    return old_id
