"""The bill over HTTP, and the process itself."""

import http.client
import signal
import subprocess
import sys
from hashlib import sha256

import pytest

from comptroller.core.money import format_usd
from comptroller.sandbox.bill import Arrival, Bill
from comptroller.sandbox.prices import MODELS
from comptroller.sandbox.prompt import Cached
from tests.sandbox.process import SandboxProcess, charged, environment
from tests.sandbox.raw import chat, open_stream, post, read_tokens, unanswered

pytestmark = pytest.mark.processes


def test_the_bill_is_kept_by_key_and_shows_no_key(sandbox: SandboxProcess) -> None:
    for key in ("sandbox-one", "sandbox-one", "sandbox-two"):
        post(sandbox, chat(), key=key)
    bill = sandbox.bill()
    one, two = (sha256(key).hexdigest()[:12] for key in (b"sandbox-one", b"sandbox-two"))
    assert bill["keys"].keys() == {one, two}
    assert bill["keys"][one]["requests"] == 2
    assert "sandbox-one" not in str(bill)
    assert [line["key"] for line in sandbox.requests()] == [one, one, two]
    assert [line["seq"] for line in sandbox.requests(key=one)] == [line["seq"] for line in sandbox.requests()][:2]
    for account in (*bill["keys"].values(), bill["total"]):
        assert account["charge_usd"] == format_usd(int(account["charge_nanos"]))
    assert int(bill["total"]["charge_nanos"]) == charged(sandbox.requests())


def test_a_line_says_what_arrived(sandbox: SandboxProcess) -> None:
    secret = {"X-Client-Request-Id": "call-7", "X-Secret": "hidden-value"}
    post(sandbox, chat(), headers=secret, path="/v1/chat/completions?trace=1")
    [line] = sandbox.requests()
    assert line["client_request_id"] == "call-7"
    assert line["path_query"] == "/v1/chat/completions?trace=1"
    assert {"authorization", "x-client-request-id", "x-secret"} <= set(line["received_headers"])
    assert line["received_headers"] == sorted(line["received_headers"])
    assert "hidden-value" not in str(line)


def test_lines_after_one(sandbox: SandboxProcess) -> None:
    for _ in range(4):
        post(sandbox, chat())
    lines = sandbox.requests()
    assert sandbox.requests(after=lines[1]["seq"]) == lines[2:]
    assert sandbox.requests(after=lines[3]["seq"]) == []
    assert sandbox.count() == 4


def test_a_reset_starts_anew_and_numbers_go_on(sandbox: SandboxProcess) -> None:
    post(sandbox, chat())
    [line] = sandbox.requests()
    assert sandbox.reset_bill()["total"]["requests"] == 1
    assert sandbox.bill()["keys"] == {}
    assert (sandbox.count(), sandbox.requests()) == (0, [])
    post(sandbox, chat())
    assert sandbox.requests()[0]["seq"] == line["seq"] + 1


def test_what_runs_over_a_reset_is_not_on_the_new_bill(sandbox: SandboxProcess) -> None:
    wish = {"output_tokens": 1000, "tokens_per_s": 100}
    with open_stream(sandbox, chat(stream=True, sandbox=wish)) as stream:
        read_tokens(stream, 1)
        sandbox.reset_bill()
        read_tokens(stream, 2)
        assert sandbox.total()["charge_nanos"] == "0"


def test_old_lines_go_and_totals_stay() -> None:
    with SandboxProcess("--bill-lines", "3") as sandbox:
        for _ in range(5):
            post(sandbox, chat(sandbox={"output_tokens": 10}))
        lines = sandbox.requests()
        assert [line["seq"] for line in lines] == [3, 4, 5]
        assert sandbox.requests(after=4) == lines[2:]
        assert sandbox.total()["requests"] == 5
        assert sandbox.total()["output_tokens"] == 50
        assert int(sandbox.total()["charge_nanos"]) == 5 * int(lines[0]["charge_nanos"])


def test_many_pages_of_lines(sandbox: SandboxProcess) -> None:
    for _ in range(5):
        post(sandbox, chat())
    page = post(sandbox, b"", method="GET", path="/sandbox/bill/requests?limit=2")
    assert page.headers["content-type"] == "application/x-ndjson"
    assert len(page.body.splitlines()) == 2
    assert len(sandbox.requests()) == 5


def test_prices_and_health_can_be_read(sandbox: SandboxProcess) -> None:
    prices = post(sandbox, b"", method="GET", path="/sandbox/prices", key=None).json()["prices"]
    assert {price["model"]: (price["input"], price["cached_input"], price["output"]) for price in prices} == {
        "sandbox-large": ("3.00", "0.30", "15.00"),
        "sandbox-small": ("0.15", "0.0375", "0.60"),
        "sandbox-reasoner": ("1.10", "0.275", "4.40"),
    }
    assert post(sandbox, b"", method="GET", path="/healthz", key=None).json() == {"status": "ok"}


def test_a_connection_serves_many_requests(sandbox: SandboxProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.port, timeout=20)
    for _ in range(3):
        connection.request("POST", "/v1/chat/completions", b"{}", {"Authorization": "Bearer sandbox-x"})
        with connection.getresponse() as response:
            assert response.status == 400
            response.read()
    connection.close()


def test_a_line_adds_up_to_its_account() -> None:
    bill = Bill(capacity=1)
    for _ in range(3):
        line = bill.open("key", Arrival(None, (), "/", 0.0))
        line.model = MODELS[1]
        line.begin(input_tokens=7, audio_tokens=0, cached=Cached(read=3))
        for made in (1, 2, 5):
            line.generated(made, 1)
        bill.close(line, "done")
    # 4 x 150 + 3 x 37.5 + 5 x 600 = 3,712.5 nano-USD each, rounded up.
    assert line.charge_nanos == 3_713
    assert bill.as_json()["total"] == bill.as_json()["keys"]["key"]
    assert bill.as_json()["total"]["charge_nanos"] == str(3 * 3_713)
    assert bill.as_json()["total"]["reasoning_tokens"] == 3


def test_tokens_before_a_model_are_a_mistake() -> None:
    with pytest.raises(RuntimeError):
        Bill(capacity=1).open(None, Arrival(None, (), "/", 0.0)).generated(1, 0)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_whatever_hangs(ending: signal.Signals) -> None:
    with SandboxProcess() as sandbox, unanswered(sandbox, chat(sandbox={"fault": "hang"})):
        sandbox.wait_for(lambda lines: lines != [])
        assert sandbox.end(ending) == 0
        assert sandbox.errors() == ""


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "comptroller.sandbox", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment(), check=False)


def test_it_listens_on_loopback_only() -> None:
    ended = run_module("--host", "0.0.0.0", "--port", "0")
    assert ended.returncode == 2
    assert "--allow-any-host" in ended.stderr


@pytest.mark.parametrize("option", ["--ahead", "--tokens-per-s", "--bill-lines"])
def test_numbers_that_make_no_sense(option: str) -> None:
    ended = run_module("--port", "0", f"{option}=-1")
    assert ended.returncode == 2
    assert option.removeprefix("--").replace("-", "_") in ended.stderr


def test_an_address_in_use_is_said(sandbox: SandboxProcess) -> None:
    ended = run_module("--port", str(sandbox.port))
    assert ended.returncode == 2
    assert "in use" in ended.stderr


def test_another_host_when_allowed() -> None:
    with SandboxProcess("--host", "0.0.0.0", "--allow-any-host") as sandbox:
        assert post(sandbox, chat()).status == 200
