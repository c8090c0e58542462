"""Nothing goes upstream before its hold is on disk, and a disk that cannot be written stops everything."""

import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.end_to_end.caller import (
    Row,
    ask,
    ask_at_once,
    budget_of,
    chat,
    eventually,
    mint,
    nanos,
    rest_of,
    settled_row,
    stream,
)
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayFailed, GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

BUDGETS = [budget("all", "100.00 USD")]
SHIM = Path(__file__).with_name("order_shim.c")
AT_ONCE = 24
SHORT = {"max_tokens": 20}


class Step(NamedTuple):
    """One line of the shim's file."""

    number: int
    kind: str
    detail: str


class Order:
    """What the shim saw, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def steps(self) -> list[Step]:
        lines = [line.split(" ") for line in self._path.read_text().splitlines()]
        return sorted(Step(int(number), kind, detail) for number, kind, detail in lines)

    def after(self, number: int) -> list[Step]:
        return [step for step in self.steps() if step.number > number]

    def last(self) -> int:
        return max((step.number for step in self.steps()), default=-1)


def of_kind(steps: list[Step], kind: str) -> list[Step]:
    return [step for step in steps if step.kind == kind]


def was_synced(steps: list[Step], sent: Step) -> bool:
    """Whether the log had the hold of this attempt, and was then synced, before the attempt's bytes left."""
    call_id = sent.detail.partition(".")[0]
    logged = [step.number for step in of_kind(steps, "logged") if step.detail == call_id and step.number < sent.number]
    return bool(logged) and any(logged[0] < step.number < sent.number for step in of_kind(steps, "synced"))


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler, so the order of system calls cannot be watched")
    made = tmp_path_factory.mktemp("shim") / "order_shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(SHIM), "-ldl"], check=True)
    return made


def watched(folder: Path, shim: Path, sandbox: SandboxProcess, durability: str) -> tuple[GatewayProcess, Order]:
    path = folder / "order"
    gateway = GatewayProcess(folder, process(sandbox.url, durability=durability), registry(BUDGETS))
    gateway.env |= {
        "LD_PRELOAD": str(shim),
        "ORDER_LOG": str(path),
        "ORDER_LISTEN_PORT": str(gateway.port),
        "ORDER_UPSTREAM_PORT": str(sandbox.port),
    }
    return gateway, Order(path)


def test_a_hold_is_synced_before_the_first_byte_goes_upstream(
    tmp_path: Path, shim: Path, sandbox: SandboxProcess
) -> None:
    gateway, order = watched(tmp_path, shim, sandbox, "power")
    with gateway:
        credential = mint(gateway)["credential"]
        for number in range(5):
            gateway.admin("GET", "/status")  # folds the books: nothing of an earlier call is left to be synced
            before = order.last()
            assert ask(gateway, credential, chat(f"{number}", stream=number % 2 == 0, **SHORT)).status == 200
            steps = order.after(before)
            (arrived,), sent = of_kind(steps, "arrived"), of_kind(steps, "sent")
            assert sent, "the shim is blind for what goes upstream"
            assert [step for step in of_kind(steps, "synced") if arrived.number < step.number < sent[0].number]
            assert was_synced(steps, sent[0])


def test_each_hold_of_a_burst_is_synced_before_its_own_first_byte(
    tmp_path: Path, shim: Path, sandbox: SandboxProcess
) -> None:
    gateway, order = watched(tmp_path, shim, sandbox, "power")
    with gateway:
        credential = mint(gateway)["credential"]
        assert {said.status for said in ask_at_once(gateway, credential, AT_ONCE, **SHORT)} == {200}
        steps = order.steps()
        sent = [step for step in of_kind(steps, "sent") if step.detail != "-"]
        assert len({step.detail for step in sent}) == AT_ONCE == sandbox.count()
        assert [step.detail for step in sent if not was_synced(steps, step)] == []


def test_the_same_look_finds_that_process_durability_does_not_sync(
    tmp_path: Path, shim: Path, sandbox: SandboxProcess
) -> None:
    gateway, order = watched(tmp_path, shim, sandbox, "process")
    with gateway:
        credential = mint(gateway)["credential"]
        assert {said.status for said in ask_at_once(gateway, credential, AT_ONCE, **SHORT)} == {200}
        steps = order.steps()
        sent = [step for step in of_kind(steps, "sent") if step.detail != "-"]
        assert len({step.detail for step in sent}) == AT_ONCE
        first_logged = {step.detail: step.number for step in reversed(of_kind(steps, "logged"))}
        assert all(first_logged[step.detail.partition(".")[0]] < step.number for step in sent)  # written, though
        assert [step for step in sent if not was_synced(steps, step)]


# A disk that cannot be written.


@pytest.fixture
def own(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that this test may harm."""
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS)) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def fill_disk(gateway: GatewayProcess, *, full: bool) -> None:
    """As on a full disk, no file of this process can grow by a byte: not the journal, and not its own log either."""
    _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (0 if full else hard, hard))


def assert_nothing_is_sent(gateway: GatewayProcess, sandbox: SandboxProcess, credential: str) -> None:
    """503 in the dialect's shape, for JSON and streams, as often as one asks; and /readyz is red."""
    before = sandbox.count()
    for body in (chat(**SHORT), chat(stream=True, **SHORT), chat("again", **SHORT)):
        said = ask(gateway, credential, body)
        assert (said.status, said.code, said.error["type"]) == (503, "ledger_unavailable", "api_error")
        assert said.headers["retry-after"] == "5"
        assert "Nothing was charged" in said.error["message"]
    assert gateway.get("/readyz")[0] == 503
    assert gateway.get("/healthz")[0] == 200
    assert sandbox.count() == before


def assert_books_equal_the_bill(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    rows: list[Row] = gateway.admin("GET", "/calls?limit=1000")
    window = budget_of(gateway, "all")
    assert sum(nanos(row["charge_usd"] or "0") for row in rows) == int(sandbox.total()["charge_nanos"])
    assert nanos(window["posted"]) == int(sandbox.total()["charge_nanos"])
    assert nanos(window["held"]) == 0


def works_again(gateway: GatewayProcess, credential: str) -> bool:
    return gateway.ready() and ask(gateway, credential, chat("back", **SHORT)).status == 200


def test_a_full_disk_stops_everything_before_it_is_sent_and_is_got_over(
    own: GatewayProcess, sandbox: SandboxProcess
) -> None:
    credential = mint(own)["credential"]
    assert ask(own, credential, chat(**SHORT)).status == 200
    fill_disk(own, full=True)
    assert_nothing_is_sent(own, sandbox, credential)
    with pytest.raises(GatewayFailed, match="503"):
        mint(own)
    fill_disk(own, full=False)
    eventually(lambda: works_again(own, credential))
    assert_books_equal_the_bill(own, sandbox)
    own.restart()
    assert_books_equal_the_bill(own, sandbox)


def test_what_was_in_flight_when_the_disk_filled_up_is_settled_when_it_can_be_written(
    own: GatewayProcess, sandbox: SandboxProcess
) -> None:
    credential = mint(own)["credential"]
    slow = chat(sandbox={"output_tokens": 40, "tokens_per_s": 40})
    with stream(own, credential, slow) as response:
        response.readline()
        fill_disk(own, full=True)
        assert_nothing_is_sent(own, sandbox, credential)
        assert rest_of(response).endswith(b"data: [DONE]\n\n")
        call_id = response.headers["x-comptroller-call-id"]
    fill_disk(own, full=False)
    eventually(own.ready)
    row = settled_row(own, call_id)
    assert (row["outcome"], row["presumed"]) == ("completed", False)
    assert_books_equal_the_bill(own, sandbox)


def test_a_store_that_another_program_locks_stops_everything_until_it_lets_go(
    own: GatewayProcess, sandbox: SandboxProcess
) -> None:
    credential = mint(own)["credential"]
    assert ask(own, credential, chat(**SHORT)).status == 200
    with closing(sqlite3.connect(own.state / "comptroller.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert_nothing_is_sent(own, sandbox, credential)
        eventually(lambda: "database is locked" in own.log())
        other.execute("ROLLBACK")
    eventually(lambda: works_again(own, credential))
    assert_books_equal_the_bill(own, sandbox)
