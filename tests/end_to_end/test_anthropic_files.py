"""Files of Anthropic belong to their maker, on the path that OpenAI has, too."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlencode

import anthropic
import pytest

from tests.end_to_end.caller import ask, nanos, settled_row
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.forms import FORM_TYPE, form
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

TEXT = b"What is held is not spent."
MEMBERS = {"agent/ant": identity("red"), "agent/wasp": identity("blue")}
BETAS: Any = ["files-api-2025-04-14"]


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    files = registry([budget("all", "100.00 USD")], MEMBERS)
    with GatewayProcess(tmp_path_factory.mktemp("files"), process(sandbox_process.url), files) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def opened(gateway: GatewayProcess, name: str = "agent/ant", **given: object) -> str:
    return gateway.admin("POST", "/sessions/open", {"identity": name, **given})["credential"]


Connect = Callable[[str], anthropic.Anthropic]


@pytest.fixture
def client_of(gateway: GatewayProcess, sandbox: SandboxProcess) -> Iterator[Connect]:
    """Clients of the gateway, by credential; all are closed in the end."""
    with ExitStack() as clients:
        yield lambda credential: clients.enter_context(
            anthropic.Anthropic(base_url=gateway.url, api_key=credential, max_retries=0)
        )


def upload(client: anthropic.Anthropic, name: str = "holds.pdf") -> Any:
    return client.beta.files.upload(file=(name, TEXT, "application/pdf"))


def refused(act: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(anthropic.APIStatusError) as raised:
        act()
    body: Any = raised.value.body
    return raised.value.status_code, body["error"]["message"]


def ids(client: anthropic.Anthropic, **given: Any) -> list[str]:
    return [each.id for each in client.beta.files.list(**given)]


def assert_nobodys(client: anthropic.Anthropic, name: str) -> None:
    acts: list[Callable[[str], object]] = [
        client.beta.files.retrieve_metadata,
        client.beta.files.delete,
        client.beta.files.download,
    ]
    for act in acts:
        of_this, of_none = refused(lambda act=act: act(name)), refused(lambda act=act: act("file_of-nobody"))
        assert of_this[0] == 404
        assert of_this == of_none
    assert name not in ids(client)


def test_the_maker_reads_lists_uses_and_deletes_it(
    gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect
) -> None:
    ant = client_of(opened(gateway))
    file = upload(ant)
    assert (file.filename, file.size_bytes) == ("holds.pdf", len(TEXT))
    assert ant.beta.files.retrieve_metadata(file.id) == file
    assert ant.beta.files.download(file.id).read() == TEXT
    assert next(iter(ant.beta.files.list())) == file
    source: Any = {"type": "document", "source": {"type": "file", "file_id": file.id}}
    messages: Any = [{"role": "user", "content": [source, {"type": "text", "text": "What is it about?"}]}]
    raw = ant.beta.messages.with_raw_response.create(
        model="sandbox-large", max_tokens=16, messages=messages, betas=BETAS
    )
    row = settled_row(gateway, raw.headers["x-comptroller-call-id"])
    assert charged(sandbox.settled()[-1:]) == nanos(row["charge_usd"]) <= nanos(row["held_usd"])
    assert ant.beta.files.delete(file.id).id == file.id
    assert_nobodys(ant, file.id)


def test_another_identity_or_tenant_on_the_same_key_has_nothing_of_it(
    gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect
) -> None:
    file = upload(client_of(opened(gateway)))
    seen = len(sandbox.requests())
    assert_nobodys(client_of(opened(gateway, "agent/wasp")), file.id)
    assert_nobodys(client_of(opened(gateway, tenant="shop-7")), file.id)
    assert len(sandbox.requests()) == seen, "nothing was asked of the provider"


def test_a_list_is_paged_both_ways(gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect) -> None:
    client = client_of(opened(gateway, tenant="shop-8"))
    made = [upload(client).id for _ in range(5)][::-1]
    assert ids(client, limit=2) == made
    assert ids(client, ids=made[1:3]) == made[1:3]
    before = {"limit": 2, "before_id": made[-1]}
    path, headers = f"/v1/files?{urlencode(before)}", {"anthropic-version": "2023-06-01"}
    page = json.loads(ask(gateway, client.api_key, b"", path=path, method="GET", headers=headers).body)
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([made[2], made[3]], True)
    for query in ("limit=0", "limit=1001", "after_id=x", "page=page_x", "before_id=x"):
        said = ask(gateway, opened(gateway), b"", path=f"/anthropic/v1/files?{query}", method="GET")
        assert (said.status, said.error["comptroller"]["code"]) == (400, "request_invalid")


def test_a_restart_keeps_whose_it_is(gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect) -> None:
    maker, other = client_of(opened(gateway)), client_of(opened(gateway, "agent/wasp"))
    file = upload(maker)
    gateway.kill9()
    gateway.start()
    assert maker.beta.files.download(file.id).read() == TEXT
    assert_nobodys(other, file.id)


def test_one_path_speaks_two_apis_and_each_has_its_own_files(
    gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect
) -> None:
    credential = opened(gateway)
    theirs = upload(client_of(credential)).id
    for headers, path, status in (
        ({}, f"/v1/files/{theirs}", 404),
        ({"anthropic-version": "2023-06-01"}, f"/openai/v1/files/{theirs}", 404),
        ({"anthropic-version": "2023-06-01", "anthropic-beta": BETAS[0]}, f"/v1/files/{theirs}", 200),
        ({"anthropic-beta": BETAS[0]}, f"/anthropic/v1/files/{theirs}", 200),
    ):
        assert ask(gateway, credential, b"", path=path, method="GET", headers=headers).status == status, path
    plain = ask(gateway, credential, b"", path="/v1/files", method="GET")
    assert theirs.encode() not in plain.body
    body = form({"file": TEXT})
    headers = {"content-type": FORM_TYPE.decode(), "anthropic-version": "2023-06-01"}
    assert b"file_" not in ask(gateway, credential, body, path="/openai/v1/files", headers=headers).body
