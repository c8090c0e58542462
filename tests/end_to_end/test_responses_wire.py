"""Responses on the wire: what Codex sends goes on as it came, and what a provider answers comes back byte for byte."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.caller import Row, ask, mint, nanos, settled_row
from tests.harness.configuration import budget, model, process, registry
from tests.harness.gateway import GatewayProcess
from tests.harness.recorder import Recorder, respond, stream
from tests.wire.recorded import Exchange
from tests.wire.test_responses_stream import END, MESSAGE, START, STREAMS, about, event, last_of, says, tokens

pytestmark = pytest.mark.processes

PATH = "/v1/responses"
INPUT_NANOS, OUTPUT_NANOS = 3_000, 15_000  # of sandbox-large, for a token
DONE = stream(START, MESSAGE, says("hi"), END)

CODEX_HEADERS = {
    "openai-beta": "responses=experimental",
    "accept": "text/event-stream",
    "originator": "codex_exec",
    "session-id": "0199-session",
    "thread-id": "0199-thread",
    "x-codex-window-id": "0199:0",
    "x-codex-turn-metadata": '{"installation_id":"i","session_id":"s","sandbox":"seccomp"}',
    "x-client-request-id": "0199-thread",
    "user-agent": "codex_exec/0.169.0 (Debian 12; x86_64)",
}


def codex(**fields: Any) -> Row:
    """A body as Codex builds it in the middle of its work, of some 60 KB."""
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Mend the test. " * 900}]}
    parameters = {"type": "object", "properties": {"cmd": {"type": "string"}}, "additionalProperties": False}
    function = {"type": "function", "name": "exec_command", "description": "x" * 4_000, "strict": False}
    return {
        "model": "sandbox-large",
        "instructions": "You are a coding agent. " * 1_000,
        "input": [
            {**said, "role": "developer"},
            said,
            {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "A" * 3_000},
            {"type": "function_call", "name": "exec_command", "arguments": '{"cmd":"ls"}', "call_id": "call_1"},
            {"type": "function_call_output", "call_id": "call_1", "output": "a.py https://a.example\n" * 50},
            {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch", "call_id": "call_2"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
        ],
        "tools": [
            {**function, "parameters": parameters},
            {"type": "custom", "name": "apply_patch", "description": "x", "format": {"type": "grammar"}},
            {"type": "namespace", "name": "mcp", "description": "x", "tools": [{**function, "parameters": parameters}]},
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199-session",
        "client_metadata": {"x-codex-installation-id": "i"},
        "text": {"verbosity": "low"},
        **fields,
    }


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def own(upstream: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder: Path = tmp_path_factory.mktemp("responses")
    with GatewayProcess(folder, process(upstream.url), registry([budget("all", "10000.00 USD")])) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


@pytest.fixture(autouse=True)
def fresh(upstream: Recorder) -> None:
    upstream.forget()
    upstream.answer = lambda _: DONE


def test_what_codex_sends_goes_on_as_it_came(own: GatewayProcess, upstream: Recorder) -> None:
    body = json.dumps(codex(), separators=(",", ":")).encode()
    assert 39_000 < len(body) < 68_000
    said = ask(own, mint(own)["credential"], body, path=PATH, headers=CODEX_HEADERS)
    assert said.status == 200
    heard = upstream.only()
    assert heard.line == f"POST {PATH} HTTP/1.1"
    assert heard.names == [
        *("accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "openai-beta"),
        "x-client-request-id",
    ]
    limit = json.loads(heard.body)["max_output_tokens"]
    assert heard.body == body[:-1] + b',"max_output_tokens":%d}' % limit
    row = settled_row(own, said.call_id)
    assert nanos(row["charge_usd"]) == 10 * INPUT_NANOS + 5 * OUTPUT_NANOS
    assert nanos(row["held_usd"]) < 10**9, "a turn of an agent needs less than a dollar free"


def test_codex_searches_as_often_as_its_model_may(upstream: Recorder, tmp_path: Path) -> None:
    """It offers the provider's search with every call, and sets no limit: the model's entry does, and that is held."""
    models = {"sandbox-large": model("sandbox", max_tool_calls=3), "sandbox-small": model("sandbox")}
    known = registry([budget("all", "100.00 USD")], models=models)
    known["prices"] = [{**each, "web_search": "10.00"} for each in known["prices"]]
    body = codex(stream=False, tools=[{"type": "web_search", "external_web_access": True}])
    output = [{"type": "web_search_call", "id": f"ws_{n}", "action": {"type": "search"}} for n in range(3)]
    answer = {"id": "resp_1", "status": "completed", "output": output, **tokens(10, 5)}
    with GatewayProcess(tmp_path, process(upstream.url), known) as gateway:
        upstream.answer = lambda _: respond(json.dumps(answer).encode())
        credential = mint(gateway)["credential"]
        said = ask(gateway, credential, body, path=PATH)
        assert said.status == 200, said.body
        assert json.loads(upstream.only().body)["max_tool_calls"] == 3
        row = settled_row(gateway, said.call_id)
        assert nanos(row["charge_usd"]) == 10 * INPUT_NANOS + 5 * OUTPUT_NANOS + 3 * 10**7
        assert nanos(row["held_usd"]) >= 4 * 128_000 * INPUT_NANOS + 3 * 10**7, "the context is read after each search"
        upstream.forget()
        refused = ask(gateway, credential, {**body, "model": "sandbox-small"}, path=PATH)
        assert (refused.status, refused.code, upstream.heard) == (402, "estimate_unbounded", [])
        plain = ask(gateway, credential, {**body, "tools": []}, path=PATH)
        assert (plain.status, b"max_tool_calls" in upstream.only().body) == (200, False)


@pytest.mark.parametrize("exchange", STREAMS, ids=lambda exchange: exchange.name)
@pytest.mark.parametrize("piece", [1_009, 65_536])
def test_a_recorded_stream_comes_back_byte_for_byte(
    own: GatewayProcess, upstream: Recorder, exchange: Exchange, piece: int
) -> None:
    sent = exchange.response
    upstream.answer = lambda _: stream(*(sent[at : at + piece] for at in range(0, len(sent), piece)))
    said = ask(own, mint(own)["credential"], codex(), path=PATH)
    assert (said.status, said.body) == (200, sent)
    row, usage = settled_row(own, said.call_id), last_of(sent)["usage"]
    assert (row["outcome"], row["input_tokens"], row["output_tokens"]) == (
        *("completed", usage["input_tokens"]),
        usage["output_tokens"],
    )
    searched = b'"web_search_call"' in sent or b'"file_search_call"' in sent
    assert row["presumed"] == searched, "a search has no price here"
    if not searched:
        plain = usage["input_tokens"] - usage["input_tokens_details"]["cached_tokens"]
        cached = usage["input_tokens"] - plain
        charge = plain * INPUT_NANOS + cached * INPUT_NANOS // 10 + usage["output_tokens"] * OUTPUT_NANOS
        assert nanos(row["charge_usd"]) == charge


UNNUMBERED = [  # as llama.cpp says it
    event("response.created", response={"id": "resp_1", "object": "response", "status": "in_progress"}),
    event("response.output_item.added", item={"id": "msg_1", "type": "message", "content": []}),
    event("response.content_part.added", item_id="msg_1", part={"type": "output_text", "text": ""}),
    event("response.output_text.delta", item_id="msg_1", delta="hi"),
    event("response.completed", response={"id": "resp_1", "status": "completed", "output": [], **tokens(10, 5)}),
]
EXACT = 10 * INPUT_NANOS + 5 * OUTPUT_NANOS
ENDS: dict[str, tuple[list[bytes], str, bool, int | None]] = {
    "the usual": ([START, MESSAGE, says("hi"), END], "completed", False, EXACT),
    "no numbers": (UNNUMBERED, "completed", False, EXACT),
    "the end mark of Chat Completions": ([START, END, b"data: [DONE]\n\n"], "completed", False, EXACT),
    "at its limit": ([START, MESSAGE, says("hi"), about("incomplete", **tokens(10, 5))], "completed", False, EXACT),
    "usage twice": ([START, MESSAGE, says("hi"), END, END], "completed", False, EXACT),
    "usage of zero": ([START, MESSAGE, says("hi"), about("completed", **tokens(0, 0))], "completed", False, 0),
    "no usage": ([START, MESSAGE, says("hi"), about("completed", usage=None)], "completed", True, None),
    "failed with usage": ([START, says("hi"), about("failed", **tokens(10, 5))], "provider_error", False, EXACT),
    "failed without": ([START, says("hi"), about("failed", error={"code": "x"})], "provider_error", True, None),
    "an error": ([START, says("hi"), event("error", code="x", message="y")], "provider_error", True, None),
    "no end": ([START, says("hi")], "provider_cut", True, None),
}


@pytest.mark.parametrize("how", ENDS)
def test_every_end_is_charged_once_and_as_designed(own: GatewayProcess, upstream: Recorder, how: str) -> None:
    events, outcome, presumed, charge = ENDS[how]
    upstream.answer = lambda _: stream(*events)
    said = ask(own, mint(own)["credential"], codex(), path=PATH)
    row = settled_row(own, said.call_id)
    assert (row["outcome"], row["presumed"]) == (outcome, presumed)
    assert nanos(row["charge_usd"]) == (nanos(row["held_usd"]) if charge is None else charge)
    if outcome == "provider_cut":
        last = json.loads(said.body.rpartition(b"\ndata: ")[2])
        assert (last["type"], last["response"]["id"]) == ("response.failed", "resp_1")
        assert last["response"]["error"]["code"] == "upstream_failed"
    else:
        assert said.body == b"".join(events)


def test_a_whole_answer_comes_back_byte_for_byte(own: GatewayProcess, upstream: Recorder) -> None:
    answer = {"id": "resp_1", "status": "completed", "output": [], "odd": [1.50, {"x": None}], **tokens(10, 5)}
    sent = json.dumps(answer, indent=1).encode()
    upstream.answer = lambda _: respond(sent, "x-request-id: req_1", "openai-organization: org", "x-codex-plan: pro")
    said = ask(own, mint(own)["credential"], codex(stream=False), path=f"/openai{PATH}")
    assert (said.status, said.body) == (200, sent)
    assert said.headers["x-request-id"] == "req_1"
    assert not said.headers.keys() & {"openai-organization", "x-codex-plan"}
    assert nanos(said.headers["x-comptroller-charge-usd"]) == EXACT
