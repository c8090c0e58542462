"""`suspend`: what is in flight ends in its own dialect and is settled once, the next call says who, when and why."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anthropic
import openai
import pytest

from tests.end_to_end.caller import Row, ask, budget_of, chat, eventually, mint, nanos, row_of, settled_row
from tests.harness.configuration import budget, identity, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

BUDGETS = [budget("all", "100.00 USD")]
MEMBERS = {"agent/ant": identity("red"), "agent/bee": identity("blue")}
LONG: Row = {"output_tokens": 3000, "tokens_per_s": 20}  # longer than any test waits for it
SHORT = chat(max_tokens=10)
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def own(sandbox: SandboxProcess, tmp_path: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path, process(sandbox.url), registry(BUDGETS, MEMBERS)) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@contextmanager
def chat_stream(gateway: GatewayProcess, credential: str) -> Iterator[Any]:
    """A Chat Completions stream of its SDK that has begun."""
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, max_retries=2) as client,
        client.chat.completions.create(
            model="sandbox-large", messages=[{"role": "user", "content": "go on"}], stream=True,
            extra_body={"sandbox": LONG},
        ) as events,
    ):  # fmt: skip
        next(events)
        yield events


@contextmanager
def message_stream(gateway: GatewayProcess, credential: str) -> Iterator[Any]:
    """A Messages stream of its SDK that has begun."""
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=credential, max_retries=2) as client,
        client.messages.create(
            model="sandbox-large", messages=[{"role": "user", "content": "go on"}], stream=True, max_tokens=4000,
            extra_body={"sandbox": LONG},
        ) as events,
    ):  # fmt: skip
        next(events)
        yield events


def assert_stopped(gateway: GatewayProcess, sandbox: SandboxProcess, call_id: str) -> None:
    row = settled_row(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("stopped", True)
    (line,) = [line for line in sandbox.requests() if line["client_request_id"] == f"{call_id}.1"]
    assert int(line["charge_nanos"]) <= nanos(row["charge_usd"]) <= nanos(row["held_usd"])


def test_open_streams_end_in_their_dialect_and_say_who_when_and_why(
    own: GatewayProcess, sandbox: SandboxProcess
) -> None:
    ant, bee = mint(own), mint(own, "agent/bee")
    with ExitStack() as stack:
        chats = stack.enter_context(chat_stream(own, ant["credential"]))
        messages = stack.enter_context(message_stream(own, ant["credential"]))
        others = stack.enter_context(chat_stream(own, bee["credential"]))
        made = own.cli("suspend", "identity", "agent/ant", "--reason", "leaked key")
        assert (made["cut_calls"], made["already_stopped"]) == (2, False)
        said: list[Any] = []
        for events, kind in ((chats, openai.APIError), (messages, anthropic.APIStatusError)):
            with pytest.raises(kind) as raised:
                list(events)
            said.append(raised.value)
            assert "The identity agent/ant was suspended by bootstrap at 20" in str(raised.value)
            assert "leaked key. What it cost until then is charged." in str(raised.value)
            assert_stopped(own, sandbox, events.response.headers["x-comptroller-call-id"])
        assert said[0].code == "identity_suspended"
        next(others)  # nobody else's stream is touched
        running = row_of(own, others.response.headers["x-comptroller-call-id"])
        assert (running["outcome"], running["held_usd"]) == ("open", budget_of(own, "all")["held"])
    refused = ask(own, ant["credential"], SHORT)
    assert (refused.status, refused.code) == (402, "identity_suspended")
    assert "was suspended by bootstrap at 20" in refused.error["message"]
    lifting = "Ask whoever runs the gateway; an operator lifts it with `comptroller resume identity agent/ant"
    assert lifting in refused.error["message"]
    assert own.command("token", "agent/ant", check=False).returncode == 1
    assert ask(own, bee["credential"], SHORT).status == 200
    told = own.command("explain", chats.response.headers["x-comptroller-call-id"]).stdout
    assert "The identity agent/ant was suspended by bootstrap" in told


def test_a_call_that_waits_for_its_provider_is_cut(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    ant = mint(own)
    slow = chat("answered late", max_tokens=10, sandbox={"fault": "slow_first_byte", "delay_s": 120.0})
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, own, ant["credential"], slow)
        eventually(lambda: sandbox.count() == 1)
        made = own.cli("suspend", "model", "sandbox-*", "--reason", "wrong answers")
        said = asking.result()
    assert made["cut_calls"] == 1
    assert (said.status, said.code) == (402, "model_suspended")
    assert "The model sandbox-* was suspended by bootstrap" in said.error["message"]
    row = settled_row(own, said.call_id)
    assert (row["outcome"], row["charge_usd"]) == ("stopped", row["held_usd"])


def test_a_stop_survives_kill_9_and_ends_when_it_is_lifted(own: GatewayProcess) -> None:
    ant = mint(own)
    own.cli("suspend", "team", "red", "--reason", "incident 7")
    assert own.cli("suspend", "team", "red", "--reason", "me too")["stop"]["reason"] == "incident 7"
    own.kill9()
    own.start()
    assert ask(own, ant["credential"], SHORT).code == "identity_suspended"
    assert [(row["scope"], row["value"]) for row in own.cli("stops")] == [("team", "red")]
    own.cli("resume", "team", "red", "--reason", "the key is replaced")
    assert ask(own, ant["credential"], SHORT).status == 200
    own.kill9()
    own.start()
    assert ask(own, ant["credential"], SHORT).status == 200
    changes = [each for each in own.admin("GET", "/changes") if (each["noun"], each["key"]) == ("team", "red")]
    told = [(each["verb"], each["actor"], each["reason"]) for each in changes if each["verb"] != "add"]
    assert told == [("resume", "bootstrap", "the key is replaced"), ("suspend", "bootstrap", "incident 7")]


def test_a_provider_that_is_stopped_is_passed_over(sandbox: SandboxProcess, tmp_path: Path) -> None:
    files = process(sandbox.url, providers={"first": provider(sandbox.url), "second": provider(sandbox.url)})
    models = {"sandbox-*": model("first", "second")}
    with GatewayProcess(tmp_path, files, registry(BUDGETS, MEMBERS, models)) as gateway:
        ant = mint(gateway)
        for stopped, served_by in (("first", "second"), ("second", None)):
            gateway.cli("suspend", "provider", stopped, "--reason", "its keys leaked")
            said = ask(gateway, ant["credential"], SHORT)
            if served_by is None:
                assert (said.status, said.code) == (402, "model_suspended")
                assert "The provider first was suspended by bootstrap" in said.error["message"]
            else:
                assert row_of(gateway, said.call_id)["provider"] == served_by
        assert ask(gateway, ant["credential"], path="/v1/models", method="GET").body.count(b"sandbox") == 0


def test_everything_is_stopped_only_on_purpose(own: GatewayProcess) -> None:
    ant = mint(own)
    asked = own.command("suspend", "everything", "--reason", "on fire", check=False)
    assert (asked.returncode, "there is nobody to ask" in asked.stderr) == (1, True)
    assert ask(own, ant["credential"], SHORT).status == 200
    assert "everything is suspended" in own.command("suspend", "everything", "--yes", "--reason", "on fire").stdout
    assert ask(own, ant["credential"], SHORT).code == "gateway_suspended"
    assert "everything is stopped no longer" in own.command("resume", "everything", "--reason", "it is out").stdout
    assert ask(own, ant["credential"], SHORT).status == 200


def test_who_is_stopped_gets_no_credential_by_any_grant(own: GatewayProcess) -> None:
    minted = mint(own)
    secret = own.admin("POST", "/secrets", {"identity": "agent/ant", "expires_s": 600})
    own.cli("suspend", "owner", "red-lead@acme.example", "--reason", "incident 7")
    form = {"grant_type": "client_credentials", "client_id": "agent/ant", "client_secret": secret["secret"]}
    said = ask(own, None, urlencode(form).encode(), path="/oauth/token", headers=FORM)
    assert (said.status, json.loads(said.body)["error"]) == (400, "invalid_grant"), said.body
    assert "The owner red-lead@acme.example was suspended by bootstrap" in json.loads(said.body)["error_description"]
    by = mint(own, "agent/bee")["credential"]
    asked = urlencode({"token": minted["credential"]}).encode()
    told = ask(own, by, asked, path="/oauth/introspect", headers=FORM)
    assert json.loads(told.body) == {"active": False}
    own.cli("resume", "owner", "red-lead@acme.example", "--reason", "it is over")
    said = ask(own, None, urlencode(form).encode(), path="/oauth/token", headers=FORM)
    assert said.status == 200
    assert ask(own, json.loads(said.body)["access_token"], SHORT).status == 200
