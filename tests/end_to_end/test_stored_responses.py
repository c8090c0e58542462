"""Stored responses belong to their maker: two identities on one provider key have nothing of each other's."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import openai
import pytest

from tests.end_to_end.caller import Row, ask, eventually, mint, nanos, settled_row, unanswered
from tests.harness.configuration import budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess, charged

pytestmark = pytest.mark.processes

ASK = "Tell me about holds."
MODEL = "sandbox-large"
MEMBERS = {
    "agent/ant": identity("red"),
    "agent/bee": identity("blue", may_act=["agent/ant"]),
    "agent/wasp": identity("blue"),
}


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    files = registry([budget("all", "100.00 USD")], MEMBERS)
    with GatewayProcess(tmp_path_factory.mktemp("stored"), process(sandbox_process.url), files) as gateway:
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


Act = Callable[[openai.OpenAI, str], object]
ACTS: dict[str, Act] = {
    "retrieve": lambda client, name: client.responses.retrieve(name),
    "delete": lambda client, name: client.responses.delete(name),
    "input_items": lambda client, name: client.responses.input_items.list(name),
    "cancel": lambda client, name: client.responses.cancel(name),
}


def refused(act: Callable[[], object]) -> tuple[int, Any, str]:
    with pytest.raises(openai.APIStatusError) as raised:
        act()
    return raised.value.status_code, raised.value.code, raised.value.message


def go_on(client: openai.OpenAI, name: str, **given: Any) -> Any:
    responses = cast("Any", client.responses)  # one overload for each way to stream
    return responses.create(model=MODEL, input="And budgets?", previous_response_id=name, **given)


def assert_nobodys(client: openai.OpenAI, name: str) -> None:
    """Nothing can be done with it, and nothing tells it from what never was."""
    for act in ACTS.values():
        of_this, of_none = refused(partial(act, client, name)), refused(partial(act, client, "resp_of-nobody"))
        assert of_this[:2] == (404, "object_not_found")
        assert of_this == of_none
    of_this, of_none = refused(lambda: go_on(client, name)), refused(lambda: go_on(client, "resp_of-nobody"))
    assert of_this[:2] == (402, "object_unknown")
    assert of_this == of_none


@pytest.mark.parametrize("stream", [False, True])
def test_the_maker_goes_on_with_it_reads_it_and_deletes_it(
    ant: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, stream: bool
) -> None:
    if stream:
        with ant.responses.stream(model=MODEL, input=ASK) as events:
            first = events.get_final_response()
    else:
        first = ant.responses.create(model=MODEL, input=ASK)
    second = go_on(ant, first.id)
    assert second.previous_response_id == first.id
    assert first.usage is not None
    assert second.usage.input_tokens > first.usage.total_tokens, "the provider read what it had stored"
    read = ant.responses.retrieve(first.id)
    assert read.output_text == first.output_text
    items: Any = ant.responses.input_items.list(second.id, limit=20, include=["reasoning.encrypted_content"])
    assert [item.content[0].text for item in items.data] == ["And budgets?"]
    asked = [line["path_query"] for line in sandbox.settled()]
    assert "include" in asked[-1]
    assert "limit=20" in asked[-1]
    ant.responses.delete(first.id)
    assert_nobodys(ant, first.id)
    assert go_on(ant, second.id).output_text, "what went on from it stays"


def test_what_goes_on_is_held_for_what_is_stored_and_not_for_a_whole_context(
    ant: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    first = ant.responses.create(model=MODEL, input=ASK * 50)
    assert first.usage is not None
    raw = ant.responses.with_raw_response.create(
        model=MODEL, input="x", previous_response_id=first.id, max_output_tokens=16
    )
    second = raw.parse()
    row = settled_row(gateway, raw.headers["x-comptroller-call-id"])
    assert second.usage is not None
    assert nanos(row["charge_usd"]) <= nanos(row["held_usd"]) < 10_000_000, "a whole context would be 100 million"
    assert charged(sandbox.settled()[-1:]) == nanos(row["charge_usd"])


def test_the_acts_are_recorded_and_cost_nothing(
    ant: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    first = ant.responses.create(model=MODEL, input=ASK)
    before = {row["name"]: row["posted"] for row in gateway.admin("GET", "/budgets")}
    raw = ant.responses.with_raw_response.retrieve(first.id)
    row = settled_row(gateway, raw.headers["x-comptroller-call-id"])
    assert (row["outcome"], row["charge_usd"], row["held_usd"]) == ("completed", "0.00", "0.00")
    assert row["input_tokens"] is None, "what was used was used by the call that made it"
    assert {row["name"]: row["posted"] for row in gateway.admin("GET", "/budgets")} == before
    status, _, message = refused(lambda: ant.responses.cancel(first.id))
    assert (status, "synchronous" in message) == (400, True), "it is the provider that says so"


def test_another_identity_on_the_same_key_has_nothing_of_it(
    ant: openai.OpenAI, gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect
) -> None:
    first = ant.responses.create(model=MODEL, input=ASK)
    seen = len(sandbox.requests())
    assert_nobodys(client_of(gateway, opened(gateway, "agent/wasp")), first.id)
    assert_nobodys(client_of(gateway, opened(gateway, tenant="shop-7")), first.id)  # the same, for somebody else
    assert len(sandbox.requests()) == seen, "nothing was asked of the provider"
    assert ant.responses.retrieve(first.id).id == first.id


def test_sessions_of_one_tree_and_of_one_identity_share(
    gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect
) -> None:
    parent = opened(gateway)
    child = opened(gateway, "agent/bee", parent=parent["session"])
    above, below = client_of(gateway, parent), client_of(gateway, child)
    first = above.responses.create(model=MODEL, input=ASK)
    second = go_on(below, first.id)
    assert above.responses.retrieve(second.id).id == second.id
    assert client_of(gateway, opened(gateway)).responses.retrieve(first.id).id == first.id  # the same identity
    assert_nobodys(client_of(gateway, opened(gateway, "agent/wasp")), second.id)
    later = client_of(gateway, opened(gateway, "agent/bee"))  # made it as a child
    assert later.responses.retrieve(second.id).id == second.id
    assert_nobodys(later, first.id)


def test_what_is_not_stored_is_nobodys(ant: openai.OpenAI, sandbox: SandboxProcess) -> None:
    assert_nobodys(ant, ant.responses.create(model=MODEL, input=ASK, store=False).id)


def test_a_restart_keeps_whose_it_is(gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect) -> None:
    parent, other = opened(gateway), opened(gateway, "agent/wasp")
    maker = client_of(gateway, parent)
    first = maker.responses.create(model=MODEL, input=ASK)
    gone = maker.responses.create(model=MODEL, input=ASK)
    with maker.responses.stream(model=MODEL, input=ASK) as events:
        streamed = events.get_final_response()
    maker.responses.delete(gone.id)
    gateway.kill9()
    gateway.start()
    for each in (first, streamed):
        assert_nobodys(client_of(gateway, other), each.id)
        assert maker.responses.retrieve(each.id).id == each.id
        assert go_on(maker, each.id).output_text
    assert_nobodys(maker, gone.id)


def test_what_was_made_when_the_gateway_was_killed_is_nobodys(
    gateway: GatewayProcess, sandbox: SandboxProcess, client_of: Connect
) -> None:
    maker, other = opened(gateway), opened(gateway, "agent/wasp")
    known = set(sandbox.stored())
    body = {"model": MODEL, "input": ASK, "sandbox": {"first_byte_delay_s": 60}}
    with unanswered(gateway, maker["credential"], body, path="/v1/responses"):
        (made,) = eventually(lambda: set(sandbox.stored()) - known)
        gateway.kill9()
    gateway.start()
    for each in (maker, other):
        assert_nobodys(client_of(gateway, each), made)


def test_it_stays_with_the_provider_that_has_it(tmp_path: Path, sandbox: SandboxProcess, client_of: Connect) -> None:
    """Another provider of the model is healthy, stands first in the registry, and does not know the response."""
    budgets = [budget("all", "100.00 USD")]

    def served_by(*names: str) -> Row:
        return registry(budgets, MEMBERS, {"sandbox-*": model(*names)})

    with SandboxProcess() as other:
        providers = {"other": provider(other.url), "sandbox": provider(sandbox.url)}
        files = process(sandbox.url, providers=providers)
        with GatewayProcess(tmp_path, files, served_by("sandbox")) as gateway:
            maker = client_of(gateway, opened(gateway))
            first = maker.responses.create(model=MODEL, input=ASK)
            gateway.write_registry(served_by("other", "sandbox"))
            gateway.command("apply", "--yes")
            assert go_on(maker, first.id).output_text
            assert maker.responses.retrieve(first.id).id == first.id
            failing = {"sandbox": {"fault": "server_error"}}
            assert refused(partial(go_on, maker, first.id, extra_body=failing))[0] == 500
            gateway.write_registry(served_by("other"))
            gateway.command("apply", "--yes")
            for act in (partial(go_on, maker, first.id), partial(maker.responses.retrieve, first.id)):
                status, code, message = refused(act)
                assert (status, code) == (402, "provider_unavailable")
                assert "has what the request names" in message
            assert other.requests() == [], "a response that it never had was not asked of it"


@pytest.mark.parametrize("name", ["..", "a/b", "resp_1%2f..%2fx", "resp_%00", "r" * 300, "%3Fx", "x/input_items/x"])
def test_a_name_leads_nowhere_else(gateway: GatewayProcess, sandbox: SandboxProcess, name: str) -> None:
    for method in ("GET", "DELETE"):
        said = ask(gateway, mint(gateway)["credential"], b"", path=f"/v1/responses/{name}", method=method)
        assert said.status in {400, 404, 405}
    assert sandbox.requests() == []
