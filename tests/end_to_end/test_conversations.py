"""Conversations belong to their maker: nobody else reads them, writes into them or goes on in them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import openai
import pytest

from tests.end_to_end.caller import ask, nanos, settled_row
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

MEMBERS = {"agent/ant": identity("red"), "agent/wasp": identity("blue")}
HELLO: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]}


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    files = registry([budget("all", "100.00 USD")], MEMBERS)
    with GatewayProcess(tmp_path_factory.mktemp("talk"), process(sandbox_process.url), files) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def opened(gateway: GatewayProcess, name: str = "agent/ant", **given: object) -> str:
    return gateway.admin("POST", "/sessions/open", {"identity": name, **given})["credential"]


Connect = Callable[[str], openai.OpenAI]


@pytest.fixture
def client_of(gateway: GatewayProcess, sandbox: SandboxProcess) -> Iterator[Connect]:
    """Clients of the gateway, by credential; all are closed in the end."""
    with ExitStack() as clients:
        yield lambda credential: clients.enter_context(
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, max_retries=0)
        )


def refused(act: Callable[[], object]) -> tuple[int, Any, str]:
    with pytest.raises(openai.APIStatusError) as raised:
        act()
    return raised.value.status_code, raised.value.code, raised.value.message


def assert_nobodys(client: openai.OpenAI, name: str, item: str) -> None:
    talks = client.conversations
    acts: list[Callable[[str], object]] = [
        talks.retrieve,
        talks.delete,
        lambda each: talks.update(each, metadata={"a": "b"}),
        talks.items.list,
        lambda each: talks.items.create(each, items=[HELLO]),
        lambda each: talks.items.retrieve(item, conversation_id=each),
        lambda each: talks.items.delete(item, conversation_id=each),
    ]
    for act in acts:
        of_this, of_none = refused(lambda act=act: act(name)), refused(lambda act=act: act("conv_of-nobody"))
        assert of_this[:2] == (404, "object_not_found")
        assert of_this == of_none


def test_the_maker_does_all_of_it(gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect) -> None:
    ant = client_of(opened(gateway))
    talk = ant.conversations.create(items=[HELLO], metadata={"about": "holds"})
    assert ant.conversations.retrieve(talk.id) == talk
    assert ant.conversations.update(talk.id, metadata={"about": "budgets"}).metadata == {"about": "budgets"}
    added: Any = ant.conversations.items.create(talk.id, items=[HELLO, HELLO])
    assert len(list(ant.conversations.items.list(talk.id))) == 3
    item = added.data[0].id
    assert ant.conversations.items.retrieve(item, conversation_id=talk.id).id == item
    ant.conversations.items.delete(item, conversation_id=talk.id)
    assert len(list(ant.conversations.items.list(talk.id))) == 2, "the conversation is still there"
    raw = ant.responses.with_raw_response.create(
        model="sandbox-large", input="And budgets?", conversation=talk.id, max_output_tokens=16
    )
    row = settled_row(gateway, raw.headers["x-comptroller-call-id"])
    assert charged(sandbox.settled()[-1:]) == nanos(row["charge_usd"])
    assert nanos(row["held_usd"]) > 300_000_000, "nobody knows how long it is: a whole context is held"
    assert ant.conversations.delete(talk.id).deleted
    assert_nobodys(ant, talk.id, item)


def test_another_identity_or_tenant_on_the_same_key_has_nothing_of_it(
    gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect
) -> None:
    ant, wasp = client_of(opened(gateway)), client_of(opened(gateway, "agent/wasp"))
    talk = ant.conversations.create(items=[HELLO])
    item = next(iter(ant.conversations.items.list(talk.id))).id or ""
    seen = len(sandbox.requests())
    for client in (wasp, client_of(opened(gateway, tenant="shop-7"))):
        assert_nobodys(client, talk.id, item)
        going_on = refused(lambda client=client: client.responses.create(
            model="sandbox-large", input="x", conversation=talk.id
        ))  # fmt: skip
        assert going_on[:2] == (402, "object_unknown")
    assert len(sandbox.requests()) == seen, "nothing was asked of the provider"


def test_a_file_of_somebody_elses_does_not_get_in(
    gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect
) -> None:
    ant, wasp = client_of(opened(gateway)), client_of(opened(gateway, "agent/wasp"))
    file = ant.files.create(file=("x.txt", b"mine"), purpose="user_data")
    item: Any = {"type": "message", "role": "user", "content": [{"type": "input_file", "file_id": file.id}]}
    talk = wasp.conversations.create()
    seen = len(sandbox.requests())
    assert refused(lambda: wasp.conversations.create(items=[item]))[:2] == (402, "object_unknown")
    assert refused(lambda: wasp.conversations.items.create(talk.id, items=[item]))[:2] == (402, "object_unknown")
    assert len(sandbox.requests()) == seen
    assert ant.conversations.create(items=[item]).id


def test_a_restart_keeps_whose_it_is(gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect) -> None:
    maker, other = client_of(opened(gateway)), client_of(opened(gateway, "agent/wasp"))
    talk = maker.conversations.create()
    gateway.kill9()
    gateway.start()
    assert maker.conversations.retrieve(talk.id).id == talk.id
    assert_nobodys(other, talk.id, "msg_1")


@pytest.mark.parametrize("below", ["items/../x", "items/a/b", "items/%2e%2e", "other", "items/", "items/a%3fb"])
def test_a_path_leads_nowhere_else(
    gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect, below: str
) -> None:
    credential = opened(gateway)
    talk = client_of(credential).conversations.create().id
    seen = len(sandbox.requests())
    for method in ("GET", "POST", "DELETE"):
        said = ask(gateway, credential, b"{}", path=f"/v1/conversations/{talk}/{below}", method=method)
        assert said.status in {400, 404, 405}
    assert len(sandbox.requests()) == seen
