"""Message Batches through the gateway: held whole, charged line by line, and the maker's alone."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import pytest

from tests.end_to_end.caller import Row, budget_of, eventually, mint, nanos, row_of, unanswered
from tests.harness.configuration import budget, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

MODEL = "sandbox-large"
LATER: Any = {"sandbox": {"first_byte_delay_s": 3_600}}
SOON: Any = {"sandbox": {"first_byte_delay_s": 1}}
BROKEN: Any = {"sandbox": {"fault": "server_error"}}
FILES = registry([budget("all", "100.00 USD"), budget("red", "1.00 USD", scope={"team": "red"})])


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("batches"), process(sandbox_process.url), FILES) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


POLICIES = """
@id("may-call")
permit (principal, action == Action::"model.call", resource);

@id("dear") @reason("that is dear")
forbid (principal, action, resource) when { context.estimate_nanos > 50000000 };
"""
Connect = Callable[..., anthropic.Anthropic]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Clients of a gateway, each with a session of its own; all are closed in the end."""
    with ExitStack() as clients:

        def connect(gateway: GatewayProcess, identity: str = "agent/ant") -> anthropic.Anthropic:
            key = mint(gateway, identity)["credential"]
            return clients.enter_context(anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0))

        yield connect


def line(name: str, **fields: Any) -> Any:
    params = {"model": MODEL, "max_tokens": 200, "messages": [{"role": "user", "content": f"Of {name}."}], **fields}
    return {"custom_id": name, "params": params}


def begin(client: anthropic.Anthropic, *lines: Any) -> tuple[Any, str]:
    """A batch, and the call that it was begun by."""
    raw = client.messages.batches.with_raw_response.create(requests=list(lines))
    assert "x-comptroller-charge-usd" not in raw.headers
    return raw.parse(), raw.headers["x-comptroller-call-id"]


def ended(gateway: GatewayProcess, call_id: str) -> Row:
    return eventually(lambda: row if (row := row_of(gateway, call_id))["outcome"] != "open" else None)


def held(gateway: GatewayProcess) -> int:
    return nanos(budget_of(gateway, "all")["held"])


def billed(sandbox: SandboxProcess) -> list[Row]:
    return [each for each in sandbox.requests() if each["surface"] == "batched_messages"]


def wait_for(client: anthropic.Anthropic, name: str) -> Any:
    def look() -> Any:
        batch = client.messages.batches.retrieve(name)
        return batch if batch.processing_status == "ended" else None

    return eventually(look)


def test_a_batch_is_held_whole_and_charged_line_by_line_at_half_the_price(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    before = nanos(budget_of(gateway, "all")["posted"])
    made, call_id = begin(client, line("holds", **SOON), line("budgets"), line("faults", **BROKEN))
    open_row = row_of(gateway, call_id)
    assert open_row["outcome"] == "open"
    assert held(gateway) == nanos(open_row["held_usd"]) > 0
    wait_for(client, made.id)
    row = ended(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("completed", False)
    lines = billed(sandbox)
    assert [each["tier"] for each in lines] == ["batch"] * 3
    assert {each["client_request_id"] for each in lines} == {f"{call_id}.1"}
    assert 0 < nanos(row["charge_usd"]) == charged(lines) <= nanos(row["held_usd"])
    assert (row["input_tokens"], row["output_tokens"]) == (
        sum(each["input_tokens"] for each in lines),
        sum(each["output_tokens"] for each in lines),
    )
    assert nanos(budget_of(gateway, "all")["posted"]) - before == charged(lines)
    assert held(gateway) == 0
    results = {each.custom_id: each.result.type for each in client.messages.batches.results(made.id)}
    assert results == {"holds": "succeeded", "budgets": "succeeded", "faults": "errored"}


def test_what_is_not_made_costs_nothing(gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect) -> None:
    client = connect(gateway)
    made, call_id = begin(client, line("now"), line("later", **LATER))
    eventually(lambda: [each for each in billed(sandbox) if int(each["charge_nanos"])])
    client.messages.batches.cancel(made.id)
    row = ended(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("cancelled", False)
    assert nanos(row["charge_usd"]) == charged(billed(sandbox)) > 0


def test_a_batch_that_does_not_fit_is_refused_whole_and_says_how_much_of_it_would(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    requests = [line(f"line-{number}", max_tokens=4_096) for number in range(100)]
    client = connect(gateway)
    with pytest.raises(anthropic.APIStatusError) as refused:
        client.messages.batches.create(requests=requests)
    assert refused.value.status_code == 402
    said: Any = refused.value.body
    assert said["error"]["comptroller"]["code"] == "budget_exhausted"
    assert billed(sandbox) == []


def test_a_wrong_line_refuses_all_by_its_name(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    with pytest.raises(anthropic.BadRequestError, match="Line 'bad'"):
        client.messages.batches.create(requests=[line("good"), line("bad", stream=True)])
    assert billed(sandbox) == []


def test_a_refusal_names_the_lines_that_fit(tmp_path: Path, sandbox: SandboxProcess, connect: Connect) -> None:
    files = registry([budget("all", "0.50 USD", visible="caller")])
    with GatewayProcess(tmp_path, process(sandbox.url), files) as gateway:
        client = connect(gateway)
        with pytest.raises(anthropic.APIStatusError, match="about 16 of its 100 lines would fit"):
            client.messages.batches.create(requests=[line(f"line-{n}", max_tokens=4_096) for n in range(100)])
        assert billed(sandbox) == []
        made, call_id = begin(client, *(line(f"line-{n}", max_tokens=4_096) for n in range(16)))
        wait_for(client, made.id)
        assert nanos(ended(gateway, call_id)["charge_usd"]) == charged(billed(sandbox))


def test_a_batch_is_its_makers_alone(gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect) -> None:
    client, other = connect(gateway), connect(gateway, "agent/bee")
    made, call_id = begin(client, line("mine"))
    assert next(each.id for each in client.messages.batches.list()) == made.id
    assert list(other.messages.batches.list()) == []
    acts: list[Callable[[anthropic.Anthropic, str], object]] = [
        lambda who, name: who.messages.batches.retrieve(name),
        lambda who, name: who.messages.batches.cancel(name),
        lambda who, name: who.messages.batches.delete(name),
        lambda who, name: who.get(f"/v1/messages/batches/{name}/results", cast_to=object),
    ]
    for act in acts:
        said = []
        for name in (made.id, "msgbatch_of-nobody"):
            with pytest.raises(anthropic.NotFoundError) as refused:
                act(other, name)
            body: Any = refused.value.body
            said.append((body["error"]["comptroller"]["code"], body["error"]["message"]))
        assert said[0] == said[1] == ("object_not_found", said[0][1])
    wait_for(client, made.id)
    ended(gateway, call_id)
    assert client.messages.batches.delete(made.id).id == made.id
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(made.id)
    assert made.id not in {each.id for each in client.messages.batches.list()}


def test_lists_show_how_far_a_batch_is_and_where_its_results_are_here(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    made, call_id = begin(client, line("shown"))
    wait_for(client, made.id)
    ended(gateway, call_id)
    listed = next(each for each in client.messages.batches.list() if each.id == made.id)
    assert (listed.processing_status, listed.results_url) == ("ended", f"/v1/messages/batches/{made.id}/results")


def test_a_batch_cannot_be_deleted_before_its_cost_is_known(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    made, call_id = begin(client, line("later", **LATER))
    with pytest.raises(anthropic.ConflictError):
        client.messages.batches.delete(made.id)
    client.messages.batches.cancel(made.id)
    assert ended(gateway, call_id)["charge_usd"] == "0.00"
    client.messages.batches.delete(made.id)


def test_an_expired_batch_is_charged_for_what_was_made(tmp_path: Path, connect: Connect) -> None:
    with (
        SandboxProcess("--batch-expires-s", "1") as sandbox,
        GatewayProcess(tmp_path, process(sandbox.url), FILES) as gateway,
    ):
        client = connect(gateway)
        made, call_id = begin(client, line("now"), line("later", **LATER))
        wait_for(client, made.id)
        row = ended(gateway, call_id)
        assert (row["outcome"], row["presumed"]) == ("expired", False)
        assert nanos(row["charge_usd"]) == charged(billed(sandbox)) > 0
        assert held(gateway) == 0


@pytest.mark.parametrize("moment", ["open", "ended"])
def test_a_gateway_that_is_killed_goes_on_with_its_batches(
    tmp_path: Path, sandbox: SandboxProcess, connect: Connect, moment: str
) -> None:
    """Between submission and end, and between end and settlement: charged once, what was billed."""
    with GatewayProcess(tmp_path, process(sandbox.url), FILES) as gateway:
        client = connect(gateway)
        made, call_id = begin(client, line("one"), line("two", **(SOON if moment == "open" else {})))
        if moment == "ended":
            eventually(lambda: len(billed(sandbox)) == 2)
        gateway.kill9()
        eventually(lambda: len(billed(sandbox)) == 2)
        gateway.start()
        row = ended(gateway, call_id)
        assert (row["outcome"], row["presumed"]) == ("completed", False)
        assert nanos(row["charge_usd"]) == charged(billed(sandbox))
        assert held(gateway) == 0
        assert nanos(budget_of(gateway, "all")["posted"]) == charged(billed(sandbox))
        assert {each.custom_id for each in client.messages.batches.results(made.id)} == {"one", "two"}


def test_a_gateway_that_is_killed_before_the_answer_has_it_presumed(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """Nobody learned what the batch is called, so nobody can ask for it: the hold is charged, and it is enough."""
    with GatewayProcess(tmp_path, process(sandbox.url), FILES) as gateway:
        sandbox.faults({"fault": "hang"})
        with unanswered(gateway, mint(gateway)["credential"], {"requests": [line("one")]}, "/v1/messages/batches"):
            eventually(lambda: billed(sandbox))
            gateway.kill9()
        sandbox.clear_faults()
        gateway.start()
        [row] = gateway.admin("GET", "/calls?limit=10")
        assert row["presumed"]
        assert nanos(row["charge_usd"]) == nanos(row["held_usd"]) >= charged(billed(sandbox)) > 0
        assert held(gateway) == 0


def test_who_is_suspended_has_batches_cancelled(tmp_path: Path, sandbox: SandboxProcess, connect: Connect) -> None:
    with GatewayProcess(tmp_path, process(sandbox.url), FILES) as gateway:
        _, call_id = begin(connect(gateway), line("now"), line("later", **LATER))
        eventually(lambda: [each for each in billed(sandbox) if int(each["charge_nanos"])])
        gateway.admin("POST", "/stops", {"scope": "identity", "value": "agent/ant", "reason": "a runaway"})
        row = ended(gateway, call_id)
        assert (row["outcome"], row["presumed"]) == ("stopped", False)
        assert nanos(row["charge_usd"]) == charged(billed(sandbox)) > 0


def test_a_line_is_a_call_where_calls_are_counted(tmp_path: Path, sandbox: SandboxProcess, connect: Connect) -> None:
    files = registry([budget("calls", "5 calls", visible="caller")])
    with GatewayProcess(tmp_path, process(sandbox.url), files) as gateway:
        client = connect(gateway)
        made, call_id = begin(client, line("one"), line("two"), line("bad", **BROKEN))
        assert budget_of(gateway, "calls")["held"] == 3
        wait_for(client, made.id)
        ended(gateway, call_id)
        assert (budget_of(gateway, "calls")["posted"], budget_of(gateway, "calls")["held"]) == (2, 0)
        with pytest.raises(anthropic.APIStatusError, match="about 3 of its 4 lines would fit"):
            begin(client, *(line(f"line-{number}") for number in range(4)))


def test_policies_see_all_of_its_lines(tmp_path: Path, sandbox: SandboxProcess, connect: Connect) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "one.cedar").write_text(POLICIES)
    with GatewayProcess(tmp_path, process(sandbox.url), FILES) as gateway:
        client = connect(gateway)
        lines = [line(f"line-{number}", max_tokens=1_000) for number in range(10)]
        with pytest.raises(anthropic.APIStatusError, match="that is dear"):
            begin(client, *lines)
        made, call_id = begin(client, *lines[:5])
        wait_for(client, made.id)
        assert ended(gateway, call_id)["outcome"] == "completed"


def test_a_large_batch_is_read_beside_everything_else(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway, "agent/bee")
    text = "Of holds and of budgets. " * 100
    made, call_id = begin(client, *(line(f"line-{n}", max_tokens=5, system=text) for n in range(1_000)))
    wait_for(client, made.id)
    row = ended(gateway, call_id)
    lines = billed(sandbox)
    assert len(lines) == 1_000
    assert nanos(row["charge_usd"]) == charged(lines)
