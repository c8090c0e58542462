"""Context caps as callers and operators meet them: too much is refused with what to cut, or trimmed and said so."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from tests.end_to_end.caller import Row, Said, ask, chat, mint, row_of, settled_row
from tests.harness.configuration import budget, identity, model, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess
from tests.wire import talks
from tests.wire.talks import Group, Talk, Turn

pytestmark = pytest.mark.processes

MOST_BYTES = 12_000
MOST_RESULT = 2_000


def cap(name: str, scope: Row, **fields: Any) -> Row:
    return {"name": name, "scope": scope, **fields}


def of(name: str) -> Row:
    return {"identity": f"agent/{name}"}


CONTEXTS = [
    cap("small", of("small"), input_tokens=1_000),
    cap("things", of("things"), tools=2, images=1, tool_result_bytes=MOST_RESULT),
    cap("long-chats", of("trimmed"), action="trim", bytes=MOST_BYTES, tool_result_bytes=MOST_RESULT),
    cap("looked-at", of("shown"), action="trim", mode="shadow", messages=2),
    cap("whole-run", of("run"), session_tokens=500),
    cap("steady", of("grown"), growth_tokens=2_000),
    cap("support", {"profile": "support"}, messages=1),
    cap("only-small", of("led") | {"model": "sandbox-small"}, messages=1),
]
NAMES = ("small", "things", "trimmed", "shown", "run", "grown", "led", "free")
IDENTITIES = {f"agent/{name}": identity("red") for name in NAMES} | {"agent/helper": identity("red", profile="support")}
ROUTES = [{"name": "down", "scope": of("led"), "from": ["sandbox-large"], "to": "sandbox-small"}]


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    files = registry(
        [budget("all", "100.00 USD")],
        IDENTITIES,
        {"sandbox-*": model("sandbox"), "sandbox-small": model("sandbox", **{"class": "small"})},
        contexts=CONTEXTS,
        routes=ROUTES,
        profiles={"support": {"usd": "unbounded"}},
    )
    with GatewayProcess(tmp_path_factory.mktemp("contexts"), process(sandbox_process.url), files) as running:
        yield running
        assert "Traceback" not in running.log()


def said(gateway: GatewayProcess, name: str, body: Row, **given: Any) -> Said:
    return ask(gateway, mint(gateway, f"agent/{name}")["credential"], body, **given)


def talk(turns: int = 12, result: str = "found " * 100) -> Talk:
    """A run that has become long: every turn calls two tools at once, twice."""
    number, found = 0, list[Turn]()
    for place in range(turns):
        groups: list[Group] = []
        for results in ((result, "seen"), (result, "seen"), ()):
            number += 1
            groups.append(Group(number, thinks=False, text="I look.", results=results, image=False))
        found.append(Turn([f"What about number {place}?"], 0, groups[: 2 if place == turns - 1 else 3], None))
    return Talk("You are terse.", found)


# --- refuse ----------------------------------------------------------------------------------------------------------


def test_too_much_is_refused_with_what_to_cut(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    sandbox.reset_bill()
    refused = said(gateway, "small", chat("word " * 2_000, max_tokens=5))
    assert (refused.status, refused.code) == (413, "context_too_large")
    details = refused.error["comptroller"]
    assert (details["limit"], details["unit"], details["remaining"]) == ("small", "tokens", "1000")
    over = int(details["needed"]) - 1_000
    assert f"Cut at least {over:,} tokens" in refused.error["message"]
    assert sandbox.requests() == []
    row = row_of(gateway, refused.call_id)
    assert (row["outcome"], row["refusal"], row["charge_usd"]) == ("refused", "context_too_large", None)
    assert said(gateway, "free", chat("word " * 2_000, max_tokens=5)).status == 200


IMAGE: Row = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{talks.PIXEL}"}}
TOOL: Row = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CALL: Row = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": [TOOL] * 3}, "Offer at most 2 tools: leave out at least 1."),
        ({"messages": [{"role": "user", "content": [IMAGE, IMAGE]}]}, "Leave out at least 1 images."),
        (
            {
                "messages": [
                    {"role": "user", "content": "go"},
                    {"role": "assistant", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "c", "content": "x" * (MOST_RESULT + 1)},
                ]
            },
            "Shorten every result to 2,000 bytes; the largest of look has 2,001 bytes.",
        ),
    ],
)
def test_each_cap_says_what_it_is_about(gateway: GatewayProcess, fields: Row, words: str) -> None:
    refused = said(gateway, "things", chat(max_tokens=5) | fields)
    assert (refused.status, refused.code) == (413, "context_too_large")
    assert words in refused.error["message"]


def test_the_other_dialects_say_it_in_their_own_shape(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/small")["credential"]
    long = "word " * 2_000
    with anthropic.Anthropic(base_url=gateway.url, api_key=credential, max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError) as messages:
            client.messages.create(model="sandbox-large", max_tokens=5, messages=[{"role": "user", "content": long}])
        assert messages.value.status_code == 413
        assert "the context cap small allows" in str(messages.value)
        counted = client.messages.count_tokens(model="sandbox-large", messages=[{"role": "user", "content": long}])
        assert counted.input_tokens > 1_000, "what is free is for asking how much is too much"
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as responses:
            client.responses.create(model="sandbox-large", input=long)
        assert responses.value.status_code == 413
        with pytest.raises(openai.APIStatusError):
            client.embeddings.create(model="sandbox-embed", input=long)


def test_a_cap_of_a_profile_is_for_its_sessions(gateway: GatewayProcess) -> None:
    assert said(gateway, "helper", chat(max_tokens=5)).status == 200
    two = chat(max_tokens=5, messages=[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])
    refused = said(gateway, "helper", two)
    assert (refused.code, refused.error["comptroller"]["limit"]) == ("context_too_large", "support")


def test_a_cap_of_the_model_that_is_called_counts(gateway: GatewayProcess) -> None:
    """A route leads to the model that has it."""
    assert said(gateway, "led", chat(max_tokens=5)).status == 200
    two = chat(max_tokens=5, messages=[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}])
    assert said(gateway, "led", two).error["comptroller"]["limit"] == "only-small"


def test_what_is_planned_is_told_as_it_would_be_decided(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/small")["credential"]
    for tokens, allowed in ((900, True), (1_100, False)):
        path = f"/comptroller/v1/allowance?model=sandbox-large&input_tokens={tokens}"
        planned = json.loads(ask(gateway, credential, b"", path=path, method="GET").body)["planned"]
        assert (planned["allowed"], planned["binds"] == "small") == (allowed, not allowed)


# --- of a session ----------------------------------------------------------------------------------------------------


def test_a_session_sends_no_more_than_it_may_however_many_calls_at_once(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    credential = mint(gateway, "agent/run")["credential"]
    sandbox.reset_bill()

    def one(number: int) -> Said:
        return ask(gateway, credential, chat(f"{number} word " * 60, max_tokens=5))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(16)))
    codes = {answer.code for answer in answers if answer.status != 200}
    assert codes == {"context_too_large"}
    assert any(answer.status == 200 for answer in answers)
    for answer in answers:
        if answer.status == 200:
            settled_row(gateway, answer.call_id)
    assert sum(line["input_tokens"] for line in sandbox.settled()) <= 500
    last = ask(gateway, credential, chat("word " * 400, max_tokens=5))
    assert "Start a new session" in last.error["message"]


def test_a_session_that_was_long_is_long_after_a_restart(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/run")["credential"]
    first = ask(gateway, credential, chat("word " * 250, max_tokens=5))
    assert first.status == 200
    assert settled_row(gateway, first.call_id)["input_tokens"] > 200
    gateway.restart()
    assert ask(gateway, credential, chat("word " * 300, max_tokens=5)).error["comptroller"]["limit"] == "whole-run"


def test_a_cap_that_comes_later_begins_with_what_was_sent_before(
    sandbox_process: SandboxProcess, tmp_path: Path
) -> None:
    known = registry([budget("all", "100.00 USD")], {"agent/run": identity("red")})
    with GatewayProcess(tmp_path, process(sandbox_process.url), known) as gateway:
        credential = mint(gateway, "agent/run")["credential"]
        for _ in range(2):
            said = ask(gateway, credential, chat("word " * 250, max_tokens=5))
            assert settled_row(gateway, said.call_id)["input_tokens"] > 200
        gateway.write_registry(known | {"contexts": [cap("whole-run", of("run"), session_tokens=500)]})
        gateway.command("apply", "--yes")
        refused = ask(gateway, credential, chat("word " * 250, max_tokens=5))
        assert refused.error["comptroller"]["limit"] == "whole-run"
        assert int(refused.error["comptroller"]["needed"]) > 2 * 200 + 250


def test_a_turn_that_adds_too_much_is_refused(gateway: GatewayProcess) -> None:
    credential = mint(gateway, "agent/grown")["credential"]
    assert ask(gateway, credential, chat("word " * 3_000, max_tokens=5)).status == 200, "the first is no growth"
    assert ask(gateway, credential, chat("word " * 4_000, max_tokens=5)).status == 200
    refused = ask(gateway, credential, chat("word " * 9_000, max_tokens=5))
    assert (refused.code, refused.error["comptroller"]["limit"]) == ("context_too_large", "steady")


# --- trim ------------------------------------------------------------------------------------------------------------


def trimmed(gateway: GatewayProcess, headers: Any) -> Row:
    """The call, which says that it was trimmed, in its answer and on its record."""
    assert headers["x-comptroller-effects"].startswith('trimmed;rule="long-chats";detail="')
    row = settled_row(gateway, headers["x-comptroller-call-id"])
    (effect,) = row["effects"]
    assert (effect["kind"], effect["rule"]) == ("trimmed", "long-chats")
    assert "messages left out" in effect["detail"]
    assert row["outcome"] == "completed"
    return row


def test_openai_chat_is_trimmed(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    sandbox.reset_bill()
    request: Any = talks.chat(talk())
    credential = mint(gateway, "agent/trimmed")["credential"]
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="sandbox-large", messages=request["messages"], tools=request["tools"], max_tokens=50
        )
    assert raw.parse().choices
    row = trimmed(gateway, raw.headers)
    (line,) = sandbox.settled()
    assert line["input_tokens"] == row["input_tokens"] < MOST_BYTES / 3


def test_a_stream_of_responses_is_trimmed(gateway: GatewayProcess) -> None:
    request: Any = talks.responses(talk())
    credential = mint(gateway, "agent/trimmed")["credential"]
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=credential, max_retries=0) as client,
        client.responses.with_streaming_response.create(
            model="sandbox-large", input=request["input"], stream=True, max_output_tokens=50
        ) as raw,
    ):
        events = [event.type for event in raw.parse()]
    assert events[-1] in {"response.completed", "response.incomplete"}
    trimmed(gateway, raw.headers)


def test_messages_are_trimmed(gateway: GatewayProcess) -> None:
    request: Any = talks.messages(talk())
    credential = mint(gateway, "agent/trimmed")["credential"]
    with anthropic.Anthropic(base_url=gateway.url, api_key=credential, max_retries=0) as client:
        raw = client.messages.with_raw_response.create(
            model="sandbox-large", max_tokens=50, messages=request["messages"], tools=request["tools"],
            system=request["system"],
        )  # fmt: skip
    assert raw.parse().content
    trimmed(gateway, raw.headers)


def test_gemini_is_trimmed(gateway: GatewayProcess) -> None:
    request: Any = talks.gemini(talk())
    contents = [types.Content.model_validate(each) for each in request["contents"]]
    asked: dict[str, Any] = {"model": "sandbox-large", "contents": contents}
    options = types.HttpOptions(base_url=gateway.url, timeout=30_000)
    credential = mint(gateway, "agent/trimmed")["credential"]
    with genai.Client(api_key=credential, http_options=options, vertexai=False) as client:
        answer = client.models.generate_content(**asked)
    assert answer.sdk_http_response is not None
    trimmed(gateway, answer.sdk_http_response.headers)


def test_a_long_result_is_shortened_and_says_so(gateway: GatewayProcess) -> None:
    request = talks.chat(talk(1, "line\n" * 5_000))
    answer = said(gateway, "trimmed", chat(max_tokens=5) | {"messages": request["messages"]})
    assert answer.status == 200
    assert answer.headers["x-comptroller-effects"] == ('trimmed;rule="long-chats";detail="2 tool results shortened"')
    assert settled_row(gateway, answer.call_id)["input_tokens"] < 2 * MOST_RESULT


def test_what_cannot_be_trimmed_is_refused_and_says_why(gateway: GatewayProcess) -> None:
    refused = said(gateway, "trimmed", chat("word " * MOST_BYTES, max_tokens=5))
    assert (refused.status, refused.code) == (413, "context_too_large")
    assert "Trimming cannot bring it there" in refused.error["message"]
    credential = mint(gateway, "agent/trimmed")["credential"]
    first = ask(gateway, credential, {"model": "sandbox-large", "input": "hi"}, path="/v1/responses")
    going_on = {
        "model": "sandbox-large",
        "input": "word " * MOST_BYTES,
        "previous_response_id": json.loads(first.body)["id"],
    }
    refused = ask(gateway, credential, going_on, path="/v1/responses")
    assert "What is stored at the provider cannot be trimmed." in refused.error["message"]


def test_shadow_mode_says_what_it_would_have_done(gateway: GatewayProcess) -> None:
    request = talks.chat(talk(3))
    answer = said(gateway, "shown", chat(max_tokens=5) | {"messages": request["messages"]})
    assert answer.status == 200
    count = len(request["messages"])
    assert answer.headers["x-comptroller-effects"] == (
        f'shadowed;rule="looked-at";detail="trim: {count} messages of 2"'
    )
    (effect,) = settled_row(gateway, answer.call_id)["effects"]
    assert (effect["kind"], effect["rule"]) == ("shadowed", "looked-at")
