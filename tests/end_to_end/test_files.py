"""Files belong to their maker: two identities on one provider key have nothing of each other's."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.end_to_end.caller import Row, ask, eventually, settled_row
from tests.harness.configuration import budget, identity, model, process, provider, registry
from tests.harness.forms import FORM_TYPE, form
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

TEXT = b"What is held is not spent."
MEMBERS = {"agent/ant": identity("red"), "agent/wasp": identity("blue")}


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    files = registry([budget("all", "100.00 USD")], MEMBERS)
    with GatewayProcess(tmp_path_factory.mktemp("files"), process(sandbox_process.url), files) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def opened(gateway: GatewayProcess, name: str = "agent/ant", **given: object) -> Row:
    return gateway.admin("POST", "/sessions/open", {"identity": name, **given})


Connect = Callable[[GatewayProcess, Row], openai.OpenAI]


@pytest.fixture
def client_of() -> Iterator[Connect]:
    """Clients of a gateway, for sessions; all are closed in the end."""
    with ExitStack() as clients:

        def connect(gateway: GatewayProcess, session: Row) -> openai.OpenAI:
            url, key = f"{gateway.url}/v1", session["credential"]
            return clients.enter_context(openai.OpenAI(base_url=url, api_key=key, max_retries=0))

        yield connect


@pytest.fixture
def ant(gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect) -> openai.OpenAI:
    return client_of(gateway, opened(gateway))


def upload(client: openai.OpenAI, name: str = "holds.txt", **given: Any) -> Any:
    return client.files.create(file=(name, TEXT), **{"purpose": "user_data", **given})


def refused(act: Callable[[], object]) -> tuple[int, Any, str]:
    with pytest.raises(openai.APIStatusError) as raised:
        act()
    return raised.value.status_code, raised.value.code, raised.value.message


def ids(client: openai.OpenAI, **given: Any) -> list[str]:
    return [each.id for each in client.files.list(**given)]


def assert_nobodys(client: openai.OpenAI, name: str) -> None:
    """Nothing can be done with it, and nothing tells it from what never was."""
    acts: list[Callable[[str], object]] = [client.files.retrieve, client.files.delete, client.files.content]
    for act in acts:
        of_this, of_none = refused(lambda act=act: act(name)), refused(lambda act=act: act("file-of-nobody"))
        assert of_this[:2] == (404, "object_not_found")
        assert of_this == of_none
    assert name not in ids(client)


def test_the_maker_reads_lists_and_deletes_it(ant: openai.OpenAI, sandbox: SandboxProcess) -> None:
    file = upload(ant)
    assert (file.filename, file.bytes, file.purpose) == ("holds.txt", len(TEXT), "user_data")
    assert ant.files.retrieve(file.id) == file
    assert ant.files.content(file.id).read() == TEXT
    assert next(iter(ant.files.list())) == file
    assert ant.files.delete(file.id).deleted
    assert_nobodys(ant, file.id)


def test_the_acts_are_recorded_and_cost_nothing(
    ant: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    before = {row["name"]: row["posted"] for row in gateway.admin("GET", "/budgets")}
    raw = ant.files.with_raw_response.create(file=("holds.txt", TEXT), purpose="user_data")
    read = ant.files.with_raw_response.retrieve(raw.parse().id)
    for said in (raw, read):
        row = settled_row(gateway, said.headers["x-comptroller-call-id"])
        assert (row["outcome"], row["charge_usd"], row["held_usd"]) == ("completed", "0.00", "0.00")
        assert (row["model"], row["provider"]) == (None, "sandbox")
    assert {row["name"]: row["posted"] for row in gateway.admin("GET", "/budgets")} == before


def test_another_identity_on_the_same_key_has_nothing_of_it(
    ant: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect
) -> None:
    file = upload(ant)
    seen = len(sandbox.requests())
    wasp = client_of(gateway, opened(gateway, "agent/wasp"))
    assert_nobodys(wasp, file.id)
    assert_nobodys(client_of(gateway, opened(gateway, tenant="shop-7")), file.id)  # the same, for somebody else
    assert len(sandbox.requests()) == seen, "nothing was asked of the provider"
    theirs = upload(wasp)
    assert theirs.id in ids(wasp)
    assert theirs.id not in ids(ant)
    assert file.id in ids(client_of(gateway, opened(gateway)))  # the same identity


def test_a_list_is_paged_and_filtered(gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect) -> None:
    client = client_of(gateway, opened(gateway, tenant="shop-8"))
    made = [upload(client, f"{number}.txt", purpose="vision" if number % 2 else "user_data").id for number in range(5)]
    assert ids(client, limit=2) == made[::-1], "the SDK goes on for as long as there is more"
    assert ids(client, limit=2, order="asc") == made
    assert ids(client, purpose="vision") == made[1::2][::-1]
    page = client.files.list(limit=2, after=made[3])
    assert ([each.id for each in page.data], page.has_more) == ([made[2], made[1]], True)
    for query in ("limit=0", "limit=x", "order=up", f"after={upload(client, 'x.txt').id}x"):
        said = ask(gateway, opened(gateway)["credential"], b"", path=f"/v1/files?{query}", method="GET")
        assert (said.status, said.code) == (400, "request_invalid")


def test_a_restart_keeps_whose_it_is(gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect) -> None:
    session, other = opened(gateway), opened(gateway, "agent/wasp")
    maker = client_of(gateway, session)
    file, gone = upload(maker), upload(maker)
    maker.files.delete(gone.id)
    gateway.kill9()
    gateway.start()
    assert maker.files.content(file.id).read() == TEXT
    assert file.id in ids(maker)
    assert_nobodys(maker, gone.id)
    assert_nobodys(client_of(gateway, other), file.id)


def test_what_expires_is_gone(gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect) -> None:
    client = client_of(gateway, opened(gateway))
    file = upload(client, extra_body={"expires_after[anchor]": "created_at", "expires_after[seconds]": "1"})
    assert file.expires_at == file.created_at + 1
    eventually(lambda: file.id not in ids(client))
    assert_nobodys(client, file.id)


def send(gateway: GatewayProcess, session: Row, fields: Row, **headers: str) -> Any:
    kind = {"content-type": FORM_TYPE.decode(), **headers}
    return ask(gateway, session["credential"], form(fields), path="/v1/files", headers=kind)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "user_data"}, "file"),
        ({"file": b"x"}, "purpose"),
        ({"file": b"x", "purpose": ""}, "purpose"),
        ({"file": b"x", "other": b"y", "purpose": "user_data"}, "file"),
        ({"file": "a text", "purpose": "user_data"}, "file"),
    ],
)
def test_what_is_no_upload_is_refused(
    gateway: GatewayProcess, sandbox: SandboxProcess, fields: Row, param: str
) -> None:
    said = send(gateway, opened(gateway), fields)
    assert (said.status, said.code, said.error["param"]) == (400, "request_invalid", param)
    assert ask(gateway, opened(gateway)["credential"], {"purpose": "x"}, path="/v1/files").code == "request_invalid"
    assert sandbox.requests() == []


def test_the_provider_is_named_where_there_are_several(
    tmp_path: Path, sandbox: SandboxProcess, client_of: Connect
) -> None:
    with SandboxProcess() as second:
        providers = {
            "first": provider(sandbox.url),
            "second": provider(second.url),
            "unused": provider(second.url),
            "elsewhere": provider(second.url, environments=["production"]),
        }
        files = process(sandbox.url, providers=providers)
        models = {"sandbox-*": model("first", "second", "elsewhere")}
        with GatewayProcess(tmp_path, files, registry([budget("all", "100.00 USD")], MEMBERS, models)) as gateway:
            session = opened(gateway)
            fields = {"file": TEXT, "purpose": "user_data"}
            said = send(gateway, session, fields)
            assert (said.status, said.code) == (400, "provider_ambiguous")
            assert "first, second." in said.error["message"]
            for name in ("unused", "elsewhere", "x"):
                assert send(gateway, session, fields, **{"x-comptroller-provider": name}).code == "provider_ambiguous"
            assert second.requests() == []
            made = json.loads(send(gateway, session, fields, **{"x-comptroller-provider": "second"}).body)["id"]
            client = client_of(gateway, session)
            assert client.files.content(made).read() == TEXT, "our records know where it is"
            assert sandbox.requests() == []


def test_a_policy_can_forbid_files(tmp_path: Path, sandbox: SandboxProcess, client_of: Connect) -> None:
    policies = '@id("all") permit (principal, action, resource);'
    policies += '@id("no-files") forbid (principal, action, resource == Model::"openai_files");'
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "files.cedar").write_text(policies)
    files = process(sandbox.url, policies="policies")
    with GatewayProcess(tmp_path, files, registry([budget("all", "100.00 USD")], MEMBERS)) as gateway:
        client = client_of(gateway, opened(gateway))
        status, code, message = refused(lambda: upload(client))
        assert (status, code) == (402, "policy_forbidden")
        assert "no-files" in message
        assert sandbox.requests() == []
