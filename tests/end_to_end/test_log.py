"""The log of a gateway: one JSON object a line, a line for each call that somebody may look at, and never a secret."""

import json
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.end_to_end.caller import CHAT, Row, ask, chat, eventually, mint
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import PROVIDER_KEY, GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

MEMBERS = {"agent/ant": identity("red"), "agent/poor": identity("blue")}
BUDGETS = [budget("poor", "0.000001 USD", scope={"identity": "agent/poor"})]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture(scope="module")
def talkative(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    files = process(sandbox_process.url, log={"calls": "all"})
    with GatewayProcess(tmp_path_factory.mktemp("log"), files, registry(BUDGETS, MEMBERS)) as gateway:
        yield gateway


def lines(gateway: GatewayProcess) -> list[Row]:
    """Every line of the log; what `serve` says to a person is none."""
    said = [line for line in gateway.log().splitlines() if not line.startswith("comptroller listens on ")]
    return [json.loads(line) for line in said]


def line_of(gateway: GatewayProcess, call_id: str) -> Row:
    """The one line about a call."""
    found: list[Row] = eventually(
        lambda: [line for line in lines(gateway) if line.get("comptroller.call.id") == call_id]
    )
    assert len(found) == 1
    return found[0]


def test_a_call_has_one_line_with_what_the_books_say(talkative: GatewayProcess, sandbox: SandboxProcess) -> None:
    minted = mint(talkative)
    said = ask(talkative, minted["credential"], chat(), headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    line = line_of(talkative, said.call_id)
    (billed,) = sandbox.settled()
    assert list(line)[:6] == ["timestamp", "severity", "event.name", "trace_id", "span_id", "trace_flags"]
    durations = {name: line.pop(name) for name in list(line) if name.endswith("_s")}
    assert {name: value for name, value in line.items() if name != "timestamp"} == {
        "severity": "INFO",
        "event.name": "call",
        "trace_id": TRACE,
        "span_id": SPAN,
        "trace_flags": "01",
        "client.address": "127.0.0.1",
        "comptroller.call.id": said.call_id,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "comptroller.dialect": "openai_chat",
        "gen_ai.conversation.id": minted["session"],
        "comptroller.identity": "agent/ant",
        "comptroller.team": "red",
        "comptroller.environment": "testing",
        "comptroller.session": minted["session"],
        "gen_ai.agent.id": "agent/ant",
        "gen_ai.request.model": "sandbox-large",
        "gen_ai.request.max_tokens": 4096,
        "server.address": "127.0.0.1",
        "server.port": sandbox.port,
        "comptroller.provider": "sandbox",
        "comptroller.outcome": "completed",
        "comptroller.end": "posted",
        "comptroller.charge_usd": said.headers["x-comptroller-charge-usd"],
        "gen_ai.response.model": "sandbox-large-2026-01-01",
        "http.response.status_code": 200,
        "gen_ai.usage.input_tokens": billed["input_tokens"],
        "gen_ai.usage.output_tokens": billed["output_tokens"],
    }
    assert 0 < durations["comptroller.admission_s"] < durations["comptroller.duration_s"]
    assert 0 < durations["comptroller.first_byte_s"] < durations["comptroller.duration_s"]


def test_a_refusal_has_one_line_and_nothing_of_the_request(talkative: GatewayProcess) -> None:
    poor = mint(talkative, "agent/poor")["credential"]
    for said, code, who in (
        (ask(talkative, poor, chat()), "budget_exhausted", "agent/poor"),
        (ask(talkative, poor, chat() | {"model": "a-model-of-mine"}), "model_unknown", "agent/poor"),
        (ask(talkative, "nonsense", chat()), "credential_invalid", None),
        (ask(talkative, None, chat(), path="/a-path-of-mine"), "route_unknown", None),
    ):
        line = line_of(talkative, said.call_id)
        assert (line["event.name"], line["error.type"], line.get("comptroller.identity")) == ("refused", code, who)
        assert "of-mine" not in str(line)
    assert line_of(talkative, ask(talkative, poor, chat()).call_id)["comptroller.limit"] == "poor"


def test_what_failed_says_how(talkative: GatewayProcess) -> None:
    credential = mint(talkative)["credential"]
    for fault, outcome, severity in (
        ("rate_limited", "provider_refused", "INFO"),
        ("cut_before_headers", "provider_cut", "WARN"),
        ("server_error", "provider_error", "WARN"),
    ):
        line = line_of(talkative, ask(talkative, credential, chat(sandbox={"fault": fault})).call_id)
        assert (line["comptroller.outcome"], line["error.type"], line["severity"]) == (outcome, outcome, severity)


def test_no_secret_and_no_text_of_a_caller_gets_into_a_line(talkative: GatewayProcess) -> None:
    """Planted in every place that a request has, in calls that are answered, refused, and no calls at all."""
    credential, other = mint(talkative)["credential"], "cptr_" + "planted.credential"
    planted = {
        place: f"planted-{place}-" + "s3cret" for place in ("prompt", "header", "cookie", "query", "path", "user")
    }
    headers = {
        "x-planted": planted["header"],
        "cookie": f"session={planted['cookie']}",
        "traceparent": f"00-{planted['header']}",
        "user-agent": planted["header"],
    }
    body = chat(planted["prompt"], user=planted["user"])
    path = f"{CHAT}?api_key={planted['query']}"
    assert ask(talkative, credential, body, path=path, headers=headers).status == 200
    assert ask(talkative, credential, body | {"model": planted["prompt"]}, path=path, headers=headers).status == 404
    assert ask(talkative, credential, body | {"max_tokens": planted["prompt"]}, headers=headers).status == 400
    assert ask(talkative, credential, body | {planted["prompt"]: True}, headers=headers).status in {200, 400, 402}
    assert ask(talkative, credential, json.dumps(body).encode()[:-1], headers=headers).status == 400
    for slots in ({"x-api-key": other}, {"authorization": f"Basic {other}"}, {"api-key": other}):
        assert ask(talkative, credential, body, path=path, headers=headers | slots).status == 401
    assert ask(talkative, credential, body, path=f"/{planted['path']}%0asevere", headers=headers).status in {400, 404}
    last = ask(talkative, other, body, path=path, headers=headers)
    garbage(talkative, planted["header"])
    line_of(talkative, last.call_id)
    eventually(lambda: [line for line in lines(talkative) if line["event.name"] == "library"])
    log = talkative.log()
    secrets = {**planted, "credential": credential, "other": other, "key": PROVIDER_KEY}
    secrets["admin"] = talkative.admin_token()
    assert {place: secret in log for place, secret in secrets.items()} == dict.fromkeys(secrets, False)
    assert "planted" not in log


def garbage(gateway: GatewayProcess, word: str) -> None:
    """What is no HTTP makes the server say so."""
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(f"{word} \x00 not http\r\n\r\n".encode())
        connection.recv(1000)


def test_a_line_stays_one_line(talkative: GatewayProcess) -> None:
    """Even where the books have a name with line breaks in it: the models of the registry are patterns."""
    credential = mint(talkative)["credential"]
    said = ask(talkative, credential, chat() | {"model": 'sandbox-x\n{"event.name": "forged"}\u2028\u0085\x1b[31m'})
    assert said.status in {400, 402, 404}
    line_of(talkative, said.call_id)
    assert all(line["event.name"] != "forged" for line in lines(talkative))
    assert talkative.log().isascii()


def test_only_what_failed_has_a_line_unless_all_is_asked_for(sandbox_process: SandboxProcess, tmp_path: Path) -> None:
    files = process(sandbox_process.url)
    with GatewayProcess(tmp_path, files, registry(BUDGETS, MEMBERS)) as gateway:
        credential = mint(gateway)["credential"]
        ask(gateway, credential, chat())
        failed = ask(gateway, credential, chat(sandbox={"fault": "cut_before_headers"}))
        line_of(gateway, failed.call_id)
        gateway.sigterm()
        told = [line["event.name"] for line in lines(gateway)]
        assert told == ["started", "call", "stopped"]
        started = lines(gateway)[0]
        assert started["comptroller.listen"] == f"127.0.0.1:{gateway.port}"


def test_levels_and_none(sandbox_process: SandboxProcess, tmp_path: Path) -> None:
    files = process(sandbox_process.url, log={"calls": "none", "level": "error"})
    with GatewayProcess(tmp_path, files, registry(BUDGETS, MEMBERS)) as gateway:
        credential = mint(gateway)["credential"]
        ask(gateway, credential, chat(sandbox={"fault": "cut_before_headers"}))
        ask(gateway, None, chat())
        gateway.sigterm()
        assert lines(gateway) == []


def test_a_gateway_whose_log_nobody_reads_goes_on(sandbox_process: SandboxProcess, tmp_path: Path) -> None:
    """Standard error is a pipe to a reader that hangs: calls are answered, and the gateway stops when it is told to."""
    reading, writing = os.pipe()
    files = process(sandbox_process.url, log={"lines_per_s": 1_000_000})
    hang = partial(os.dup2, writing, 2)
    with GatewayProcess(tmp_path, files, registry(BUDGETS, MEMBERS), before_exec=hang) as gateway:
        os.close(writing)
        credential = mint(gateway)["credential"]
        for _ in range(400):  # a pipe takes 64 KiB
            assert ask(gateway, None, chat()).status == 401
        assert ask(gateway, credential, chat()).status == 200
        assert gateway.sigterm() == 0
    os.close(reading)
