"""OpenAI batches over uploaded files: read at their upload, held when they are made, charged line by line."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.end_to_end.caller import Row, budget_of, eventually, mint, nanos, row_of
from tests.harness.configuration import Table, budget, model, process, registry
from tests.harness.gateway import PROVIDER_KEY, GatewayProcess
from tests.harness.toml import to_toml
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

MODEL = "sandbox-large"
CHAT = "/v1/chat/completions"
FILES = registry([budget("all", "100.00 USD")], models={"sandbox-*": model("sandbox", max_output_tokens=500)})
SAY = [{"role": "user", "content": "Of holds."}]
BODIES: dict[str, Any] = {
    CHAT: {"messages": SAY},
    "/v1/responses": {"input": "Of holds."},
    "/v1/completions": {"prompt": "Of holds.", "max_tokens": 20},
    "/v1/embeddings": {"input": ["Of holds.", "Of budgets."]},
}


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path_factory.mktemp("openai"), process(sandbox_process.url), FILES) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


Connect = Callable[..., openai.OpenAI]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Clients of a gateway, each with a session of its own; all are closed in the end."""
    with ExitStack() as clients:

        def connect(gateway: GatewayProcess, identity: str = "agent/ant") -> openai.OpenAI:
            key = mint(gateway, identity)["credential"]
            return clients.enter_context(openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0))

        yield connect


def line(name: str, url: str = CHAT, **fields: Any) -> str:
    body = {"model": MODEL, **BODIES[url], **fields}
    return json.dumps({"custom_id": name, "method": "POST", "url": url, "body": body})


def upload(client: openai.OpenAI, *lines: str) -> str:
    return client.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch").id


def begin(client: openai.OpenAI, file_id: str, url: Any = CHAT) -> tuple[Any, str]:
    """A batch, and the call that it was begun by."""
    raw = client.batches.with_raw_response.create(input_file_id=file_id, endpoint=url, completion_window="24h")
    return raw.parse(), raw.headers["x-comptroller-call-id"]


def ended(gateway: GatewayProcess, call_id: str) -> Row:
    return eventually(lambda: row if (row := row_of(gateway, call_id))["outcome"] != "open" else None)


def wait_for(client: openai.OpenAI, name: str) -> Any:
    def look() -> Any:
        batch = client.batches.retrieve(name)
        return batch if batch.status in {"completed", "cancelled", "expired"} else None

    return eventually(look)


def billed(sandbox: SandboxProcess) -> list[Row]:
    return [each for each in sandbox.requests() if each["surface"] == "batched_openai"]


def results(client: openai.OpenAI, file_id: str) -> dict[str, Any]:
    return {each["custom_id"]: each for each in map(json.loads, client.files.content(file_id).text.splitlines())}


@pytest.mark.parametrize("url", BODIES)
def test_held_when_it_is_made_and_charged_line_by_line(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect, url: str
) -> None:
    client = connect(gateway)
    file_id = upload(client, line("one", url), line("two", url))
    assert budget_of(gateway, "all")["held"] == "0.00"
    made, call_id = begin(client, file_id, url)
    row = row_of(gateway, call_id)
    assert row["outcome"] == "open"
    assert nanos(budget_of(gateway, "all")["held"]) == nanos(row["held_usd"]) > 0
    batch = wait_for(client, made.id)
    row = ended(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("completed", False)
    assert 0 < nanos(row["charge_usd"]) == charged(billed(sandbox)) <= nanos(row["held_usd"])
    assert set(results(client, batch.output_file_id)) == {"one", "two"}


def test_every_line_of_what_is_uploaded_has_its_output_limit(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    file_id = upload(client, line("open"), line("small", max_completion_tokens=7), line("large", max_tokens=9_999))
    limits = [
        json.loads(each)["body"]["max_completion_tokens"] for each in client.files.content(file_id).text.splitlines()
    ]
    assert limits == [500, 7, 500]


def test_failed_lines_cost_nothing_and_their_file_is_the_makers(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client, other = connect(gateway), connect(gateway, "agent/bee")
    file_id = upload(client, line("good"), line("bad", sandbox={"fault": "server_error"}))
    made, call_id = begin(client, file_id)
    batch = wait_for(client, made.id)
    assert set(results(client, batch.output_file_id)) == {"good"}
    assert set(results(client, batch.error_file_id)) == {"bad"}
    for name in (batch.output_file_id, batch.error_file_id, file_id):
        with pytest.raises(openai.NotFoundError):
            other.files.content(name)
    row = ended(gateway, call_id)
    assert nanos(row["charge_usd"]) == charged(billed(sandbox)) > 0


def test_a_batch_and_its_file_are_their_makers_alone(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client, other = connect(gateway), connect(gateway, "agent/bee")
    file_id = upload(client, line("mine"))
    with pytest.raises(openai.APIStatusError) as refused:
        begin(other, file_id)
    assert refused.value.code == "object_unknown"
    made, call_id = begin(client, file_id)
    assert next(each.id for each in client.batches.list()) == made.id
    assert list(other.batches.list()) == []
    for act in (other.batches.retrieve, other.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            act(made.id)
    wait_for(client, made.id)
    ended(gateway, call_id)
    listed = next(each for each in client.batches.list() if each.id == made.id)
    assert listed.status == "completed"


def test_what_is_cancelled_is_charged_for_what_was_made(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    later = line("later", sandbox={"first_byte_delay_s": 3_600})
    made, call_id = begin(client, upload(client, line("now"), later))
    eventually(lambda: billed(sandbox))
    client.batches.cancel(made.id)
    row = ended(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("cancelled", False)
    assert nanos(row["charge_usd"]) == charged(billed(sandbox)) > 0


def test_a_file_that_was_not_uploaded_for_batches_is_none(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    client = connect(gateway)
    file_id = client.files.create(file=("in.jsonl", line("one").encode()), purpose="user_data").id
    with pytest.raises(openai.APIStatusError, match="was not uploaded for batches"):
        begin(client, file_id)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([line("one"), line("two", stream=True)], "Line 'two' asks for a stream"),
        ([line("one"), line("two", "/v1/responses")], "Line 'two' is for /v1/responses"),
        ([line("one", "/v1/responses", previous_response_id="resp_1")], "Line 'one' uses something that is stored"),
        ([line("one"), line("two", model="sandbox-small")], "Line 'two' asks for 'sandbox-small'"),
        (["not JSON"], "is not a line of a batch"),
    ],
)
def test_a_wrong_line_is_refused_at_its_upload_by_its_name(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect, lines: list[str], says: str
) -> None:
    with pytest.raises(openai.APIStatusError, match=says):
        upload(connect(gateway), *lines)
    assert sandbox.requests() == []


def test_a_batch_that_does_not_fit_is_refused_when_it_is_made(
    tmp_path: Path, sandbox: SandboxProcess, connect: Connect
) -> None:
    files = registry([budget("all", "0.05 USD", visible="caller")])
    with GatewayProcess(tmp_path, process(sandbox.url), files) as gateway:
        client = connect(gateway)
        file_id = upload(client, *(line(f"line-{number}", max_tokens=1_000) for number in range(20)))
        with pytest.raises(openai.APIStatusError, match="about 6 of its 20 lines would fit") as refused:
            begin(client, file_id)
        assert refused.value.code == "budget_exhausted"
        assert billed(sandbox) == []


def test_a_gateway_that_is_killed_goes_on_with_it(tmp_path: Path, sandbox: SandboxProcess, connect: Connect) -> None:
    with GatewayProcess(tmp_path, process(sandbox.url), FILES) as gateway:
        client = connect(gateway)
        unused = upload(client, line("kept"))
        made, call_id = begin(client, upload(client, line("one"), line("two", sandbox={"first_byte_delay_s": 1})))
        gateway.kill9()
        eventually(lambda: len(billed(sandbox)) == 2)
        gateway.start()
        row = ended(gateway, call_id)
        assert (row["outcome"], row["presumed"]) == ("completed", False)
        assert nanos(row["charge_usd"]) == charged(billed(sandbox))
        batch = wait_for(client, made.id)
        assert set(results(client, batch.output_file_id)) == {"one", "two"}
        again, another = begin(client, unused)
        wait_for(client, again.id)
        assert ended(gateway, another)["presumed"] is False, "what bounds a file is on its record"


IMPATIENT = "from comptroller.__main__ import main; from comptroller.flow import poller; poller.GONE_S = 0; main()"


def test_results_that_are_gone_have_the_hold_presumed_and_a_person_told(
    tmp_path: Path, sandbox: SandboxProcess, connect: Connect
) -> None:
    """A provider that says for a while that it has no such file; here the while is none."""
    with (
        GatewayProcess(tmp_path, process(sandbox.url), FILES, program=("-c", IMPATIENT)) as gateway,
        openai.OpenAI(base_url=f"{sandbox.url}/v1", api_key=PROVIDER_KEY, max_retries=0) as past,
    ):
        client = connect(gateway)
        made, call_id = begin(client, upload(client, line("one")))
        batch = wait_for(past, made.id)
        past.files.delete(batch.output_file_id)
        row = ended(gateway, call_id)
        assert (row["outcome"], row["presumed"]) == ("unseen", True)
        assert nanos(row["charge_usd"]) == nanos(row["held_usd"]) >= charged(billed(sandbox)) > 0
        assert budget_of(gateway, "all")["held"] == "0.00"
        [finding] = [each for each in gateway.admin("GET", "/findings") if each["call"] == call_id]
        assert finding["code"] == "deferred_unseen"


def test_a_batch_is_for_the_endpoint_of_its_lines(
    gateway: GatewayProcess, sandbox: SandboxProcess, connect: Connect
) -> None:
    """A server that goes by the endpoint of the batch would read no limit in the lines of another."""
    client = connect(gateway)
    file_id = upload(client, line("one"))
    with pytest.raises(openai.APIStatusError, match="are for /v1/chat/completions"):
        begin(client, file_id, "/v1/responses")


def test_a_file_whose_model_is_another_by_now_is_not_begun(
    tmp_path: Path, sandbox: SandboxProcess, connect: Connect
) -> None:
    """What stands in the file is what is billed, whatever the name means today."""

    def files(sent_as: str) -> Table:
        return registry(
            [budget("all", "100.00 USD")], models={MODEL: model("sandbox", upstream_model={"sandbox": sent_as})}
        )

    with GatewayProcess(tmp_path, process(sandbox.url), files(MODEL)) as gateway:
        client = connect(gateway)
        file_id = upload(client, line("one"))
        document = to_toml(files("sandbox-small"))
        gateway.admin("POST", "/registry/apply", {"registry": document, "policies": {}})
        with pytest.raises(openai.APIStatusError, match="is another one by now"):
            begin(client, file_id)
        assert [each["surface"] for each in sandbox.requests()] == ["files"]
