"""Loops on real processes: warned, slowed, refused in words for the model, quarantined; and what is new goes on."""

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.end_to_end.caller import Row, Said, ask, chat, eventually, mint, row_of, settled_row, stream, unanswered
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

MEMBERS = {
    "agent/ant": identity("red"),
    "agent/bee": identity("blue", may_act=["agent/ant"]),
    "agent/slow": identity("red"),
    "agent/shadow": identity("red"),
    "agent/free": identity("red"),
    "service/bot": identity("red", "service"),
}
LOOPS: list[Row] = [
    {"name": "agents", "scope": {"kind": "agent"}, "slow_ms": 1, "quarantine_after": 3},
    {"name": "slow", "scope": {"identity": "agent/slow"}, "slow_ms": 30_000, "slow_after": 0},
    {"name": "trial", "scope": {"identity": "agent/shadow"}, "mode": "shadow"},
    {"name": "nobody", "scope": {"identity": "agent/free"}, "mode": "off"},
]
PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
PLAN = "Find the three largest costs of the last quarter, and who ordered them."


@pytest.fixture(scope="module")
def own(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("loops")
    rules = registry([budget("all", "100.00 USD")], MEMBERS, loops=LOOPS)
    settings = process(sandbox_process.url, limits={"finish_after_hangup_s": 0.1})
    with GatewayProcess(folder, settings, rules) as gateway:
        yield gateway
        assert "Traceback" not in gateway.log()


def again(gateway: GatewayProcess, credential: str, times: int, text: str = PLAN) -> list[Said]:
    return [ask(gateway, credential, chat(text, max_tokens=20)) for _ in range(times)]


def findings(gateway: GatewayProcess, session: str) -> list[Row]:
    return [row for row in gateway.admin("GET", "/findings") if row["code"] == "loop" and row["subject"] == session]


def test_warned_slowed_refused_quarantined_and_resumed(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    session = mint(own)
    key = session["credential"]
    before = len(sandbox.requests())
    said = again(own, key, 10)
    assert [each.status for each in said] == [200] * 7 + [402] * 3
    assert [each.headers.get("x-comptroller-effects") for each in said[4:7]] == [
        None,
        'warned;rule="agents";detail="same_step 6 times"',
        'slowed;rule="agents";detail="same_step 7 times, 1 ms"',
    ]
    assert {each.code for each in said[7:]} == {"loop_detected"}
    assert "the same message has come 8 times" in said[7].error["message"]
    assert len(sandbox.requests()) == before + 7, "what is refused costs nothing"
    (finding,) = findings(own, session["session"])
    assert finding["call"] == said[5].call_id
    assert said[0].call_id in finding["sentence"]
    assert "It was slowed by agents: same_step 7 times" in own.command("explain", said[6].call_id).stdout
    assert row_of(own, said[7].call_id)["refusal"] == "loop_detected"

    again(own, key, 1)  # the fourth try after the first refusal
    stopped = eventually(lambda: each if (each := again(own, key, 1)[0]).code == "session_suspended" else None)
    assert "quarantined by loops agents" in stopped.error["message"]
    (stop,) = [row for row in own.admin("GET", "/stops") if row["value"] == session["session"]]
    assert (stop["kind"], stop["actor"]) == ("quarantine", "loops agents")
    assert "the same message has come 8 times" in stop["reason"]

    own.command("resume", "session", session["session"], "--reason", "its prompt was mended")
    assert [each.status for each in again(own, key, 5)] == [200] * 5, "its steps begin anew"


def test_a_different_step_is_let_through_and_ends_the_loop(own: GatewayProcess) -> None:
    key = mint(own)["credential"]
    assert again(own, key, 8)[-1].code == "loop_detected"
    (other,) = again(own, key, 1, "Say instead which reports are missing.")
    assert (other.status, "x-comptroller-effects" in other.headers) == (200, False)


def tool_turn(arguments: str, answer: str) -> list[Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "fetch", "arguments": arguments}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": answer},
    ]


def test_the_refusal_reaches_the_model_in_its_own_loop(own: GatewayProcess) -> None:
    """An agent that hands the refusal to its model as the next message goes on."""
    messages: list[Any] = [{"role": "user", "content": "What does the page say?"}]
    with openai.OpenAI(base_url=f"{own.url}/v1", api_key=mint(own)["credential"]) as client:
        for attempt in range(2):
            messages += tool_turn('{"url": "https://a.example"}', f"Error 503 after {attempt} ms")
            client.chat.completions.create(model="sandbox-large", messages=messages)
        messages += tool_turn('{ "url":"https://a.example" }', "Error 503 after 7 ms")
        with pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(model="sandbox-large", messages=messages)
        assert (refused.value.status_code, refused.value.code) == (402, "loop_detected")
        body: Any = refused.value.body
        words: str = body["message"]
        assert "the tool 'fetch' has failed 3 times with the same error for the same arguments" in words
        assert "Change the arguments, use another tool, or report the error and stop." in words
        messages.append({"role": "user", "content": words})
        assert client.chat.completions.create(model="sandbox-large", messages=messages).choices


def test_messages_say_which_tool_failed(own: GatewayProcess) -> None:
    use = {"type": "tool_use", "id": "toolu_1", "name": "book", "input": {"room": 7}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "taken", "is_error": True}
    messages: list[Any] = [{"role": "user", "content": "Book a room."}]
    with anthropic.Anthropic(base_url=own.url, api_key=mint(own)["credential"]) as client:
        for _ in range(2):
            messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
            client.messages.create(model="sandbox-large", max_tokens=20, messages=messages)
        messages += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
        with pytest.raises(anthropic.APIStatusError) as refused:
            client.messages.create(model="sandbox-large", max_tokens=20, messages=messages)
        assert "the tool 'book' has failed 3 times" in refused.value.message
        assert refused.value.status_code == 402


def test_two_agents_of_one_tree_are_stopped(own: GatewayProcess) -> None:
    ant = mint(own)
    bee = own.admin("POST", "/sessions/open", {"identity": "agent/bee", "parent": ant["session"]})
    said: list[Said] = []
    for number in range(10):
        said += again(own, ant["credential"], 1, f"Round {number}: is it done?")
        said += again(own, bee["credential"], 1, f"Round {number}: please check it again.")
    refused = [each for each in said if each.status == 402]
    assert len(refused) >= 5
    assert "two agents of this run have sent each other the same" in refused[0].error["message"]


def test_equal_calls_at_the_same_time_are_one_step(own: GatewayProcess) -> None:
    """Two at a time are 4 steps: the ninth call has come 4 times before, and not 8 times."""
    key = mint(own)["credential"]
    for _ in range(4):
        with stream(own, key, chat(PLAN, sandbox={"output_tokens": 3000, "tokens_per_s": 20})) as first:
            (beside,) = again(own, key, 1)
        assert beside.status == 200
        settled_row(own, str(first.getheader("x-comptroller-call-id")))
    (last,) = again(own, key, 1)
    assert (last.status, "x-comptroller-effects" in last.headers) == (200, False)


def test_a_shadow_rule_says_what_it_would_do(own: GatewayProcess) -> None:
    session = mint(own, "agent/shadow")
    said = again(own, session["credential"], 9)
    assert {each.status for each in said} == {200}
    assert said[8].headers["x-comptroller-effects"] == 'shadowed;rule="trial";detail="same_step 9 times: refuse"'
    (finding,) = findings(own, session["session"])
    assert "It would be warned by the rule trial" in finding["sentence"]


def test_where_nothing_is_said_there_is_one_finding_and_nothing_else(own: GatewayProcess) -> None:
    session = mint(own, "service/bot")
    said = again(own, session["credential"], 15)
    assert {each.status for each in said} == {200}
    assert ["x-comptroller-effects" in each.headers for each in said] == [False] * 5 + [True] + [False] * 9
    assert len(findings(own, session["session"])) == 1


def test_off_looks_at_nothing(own: GatewayProcess) -> None:
    session = mint(own, "agent/free")
    assert {each.status for each in again(own, session["credential"], 12)} == {200}
    assert findings(own, session["session"]) == []


def test_a_caller_who_leaves_while_slowed_costs_nothing(own: GatewayProcess, sandbox: SandboxProcess) -> None:
    key = mint(own, "agent/slow")["credential"]
    again(own, key, 5)
    before, known = len(sandbox.requests()), {row["id"] for row in own.calls()}
    with unanswered(own, key, chat(PLAN, max_tokens=20)):
        pass
    (left,) = eventually(lambda: [row for row in own.calls() if row["id"] not in known])
    row = settled_row(own, left["id"])
    assert (row["outcome"], row["charge_usd"]) == ("client_gone", "0.00")
    assert [each["kind"] for each in row["effects"]] == ["slowed"]
    assert len(sandbox.requests()) == before


def test_a_bot_that_asks_the_same_of_every_picture_is_not_stopped(own: GatewayProcess) -> None:
    key = mint(own)["credential"]
    for number in range(10):
        picture = b64encode(PIXEL + bytes([number])).decode()
        shown = [
            {"type": "text", "text": "What does this picture show?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        ]
        said = ask(own, key, {"model": "sandbox-large", "messages": [{"role": "user", "content": shown}]})
        assert (said.status, "x-comptroller-effects" in said.headers) == (200, False), said.body
