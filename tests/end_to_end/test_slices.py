"""Streams that hold in slices: what they hold, what a cap in mid-stream looks like, and what is billed then."""

import random
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from tests.end_to_end.caller import (
    Row,
    ask,
    budget_of,
    chat,
    eventually,
    mint,
    nanos,
    rest_of,
    settled_row,
    stream,
    unanswered,
)
from tests.harness.configuration import budget, model, process, provider, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import Line, SandboxProcess, charged

pytestmark = pytest.mark.processes

TAIL = 50
LIMIT = 100_000
LESS = 20_000
LARGE = "sandbox-large"  # at a provider who stops billing TAIL tokens after we hang up, and hides nothing
THINKER = "sandbox-reasoner"  # there, too, and it hides most of its output
STEADY = "sandbox-small"  # at one who does not
MODELS = {
    LARGE: model("stops", max_output_tokens=LIMIT, visible_output=True),
    THINKER: model("stops", max_output_tokens=LIMIT, visible_output=True),
    "sandbox-*": model("sandbox", max_output_tokens=1_000_000),
}
CAP = "3.10 USD"  # a whole stream, and hardly more
WHOLE = 30_000 * LIMIT  # what its limit would hold at the dearest tier, in nano-USD
LONG: Row = {"output_tokens": LIMIT, "tokens_per_s": 300}


def files(sandbox: SandboxProcess, **changes: Any) -> Row:
    stops = provider(sandbox.url, abort_stops_billing=True, tail_tokens=TAIL)
    return process(sandbox.url, providers={"sandbox": provider(sandbox.url), "stops": stops}, **changes)


@pytest.fixture
def gateway(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    with GatewayProcess(tmp_path, files(sandbox), registry([budget("all", CAP)], models=MODELS)) as running:
        yield running
        assert "Traceback" not in running.log()


def line_of(sandbox: SandboxProcess, call_id: str) -> Line:
    """What the provider billed for the call, once it has ended there."""
    (line,) = [line for line in sandbox.settled() if line["client_request_id"] == f"{call_id}.1"]
    return line


def held(gateway: GatewayProcess) -> int:
    return nanos(budget_of(gateway, "all")["held"])


@contextmanager
def nothing_left(gateway: GatewayProcess) -> Iterator[None]:
    """Another call holds all that is left of the budget."""
    credential = mint(gateway)["credential"]
    slow = {"fault": "slow_first_byte", "delay_s": 60.0}
    with unanswered(gateway, credential, chat("all of it", sandbox=slow)):
        eventually(lambda: nanos(budget_of(gateway, "all")["remaining"]) < 100_000)
        yield


def hear_openai(gateway: GatewayProcess, sandbox_options: Row, began: threading.Event) -> str:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=mint(gateway)["credential"], max_retries=0) as client:
        chunks = client.chat.completions.create(
            model=LARGE, messages=[{"role": "user", "content": "go"}], stream=True, max_tokens=LIMIT,
            stream_options={"include_usage": True}, extra_body={"sandbox": sandbox_options},
        )  # fmt: skip
        reasons: list[str] = []
        usages: list[int] = []
        for chunk in chunks:
            began.set()
            reasons += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
            usages += [chunk.usage.total_tokens] if chunk.usage else []
        assert reasons == ["length"]
        assert len(usages) == 1
        return chunks.response.headers["x-comptroller-call-id"]


def hear_anthropic(gateway: GatewayProcess, sandbox_options: Row, began: threading.Event) -> str:
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key=mint(gateway)["credential"], max_retries=0) as client,
        client.messages.stream(
            model=LARGE, max_tokens=LIMIT, messages=[{"role": "user", "content": "go"}],
            extra_body={"sandbox": sandbox_options},
        ) as heard,
    ):  # fmt: skip
        for _ in heard.text_stream:
            began.set()
        assert heard.get_final_message().stop_reason == "max_tokens"
        return heard.response.headers["x-comptroller-call-id"]


def hear_responses(gateway: GatewayProcess, sandbox_options: Row, began: threading.Event) -> str:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=mint(gateway)["credential"], max_retries=0) as client:
        events = client.responses.create(
            model=LARGE, input="go", stream=True, max_output_tokens=LIMIT, extra_body={"sandbox": sandbox_options}
        )
        text, last = "", None
        for last in events:
            began.set()
            text += last.delta if last.type == "response.output_text.delta" else ""
        assert last is not None
        assert last.type == "response.incomplete"
        assert last.response.incomplete_details is not None
        assert last.response.incomplete_details.reason == "max_output_tokens"
        assert last.response.output_text == text
        return events.response.headers["x-comptroller-call-id"]


def hear_google(gateway: GatewayProcess, sandbox_options: Row, began: threading.Event) -> str:
    options = types.HttpOptions(base_url=gateway.url, timeout=60_000, extra_body={"sandbox": sandbox_options})
    with genai.Client(api_key=mint(gateway)["credential"], http_options=options, vertexai=False) as client:
        config = types.GenerateContentConfig(max_output_tokens=LIMIT)
        reasons: list[types.FinishReason] = []
        for chunk in client.models.generate_content_stream(model=LARGE, contents="go", config=config):
            began.set()
            headers = chunk.sdk_http_response.headers if chunk.sdk_http_response else None
            reasons += [each.finish_reason for each in chunk.candidates or () if each.finish_reason]
        assert reasons == [types.FinishReason.MAX_TOKENS]
        return (headers or {})["x-comptroller-call-id"]


HEARERS = [
    pytest.param(hear_openai, id="openai"),
    pytest.param(hear_responses, id="responses"),
    pytest.param(hear_anthropic, id="anthropic"),
    pytest.param(hear_google, id="google"),
]


@pytest.mark.parametrize("ahead", [0, TAIL])
@pytest.mark.parametrize("hear", HEARERS)
def test_a_stream_at_the_cap_ends_as_at_its_limit_and_nothing_is_billed_above_its_hold(
    gateway: GatewayProcess, sandbox: SandboxProcess, hear: Any, ahead: int
) -> None:
    began, found = threading.Event(), list[str]()
    thread = threading.Thread(target=lambda: found.append(hear(gateway, {**LONG, "ahead": ahead}, began)))
    thread.start()
    assert began.wait(20)
    with nothing_left(gateway):
        thread.join(40)
        (call_id,) = found
        row = settled_row(gateway, call_id)
        line = line_of_cut(sandbox, call_id)
    assert (row["outcome"], row["presumed"]) == ("capped", True)
    assert charged([line]) <= nanos(row["charge_usd"]) <= nanos(row["held_usd"])
    assert line["output_tokens"] > 500  # it went on for as long as it was paid for
    window = budget_of(gateway, "all")
    assert nanos(window["posted"]) <= nanos(window["limit"])
    told = gateway.command("explain", call_id).stdout
    assert "the budget all has no more for it" in told
    assert gateway.admin("GET", "/findings") == []


def line_of_cut(sandbox: SandboxProcess, call_id: str) -> Line:
    """Its line, while that of another call is still open."""
    lines = sandbox.wait_for(
        lambda lines: any(line["client_request_id"] == f"{call_id}.1" and line["state"] != "open" for line in lines)
    )
    (line,) = [line for line in lines if line["client_request_id"] == f"{call_id}.1"]
    return line


def test_a_stream_holds_a_slice_that_grows_and_is_exact_in_the_end(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    options = {"output_tokens": 4_000, "tokens_per_s": 500}
    with stream(gateway, mint(gateway)["credential"], chat(max_tokens=LIMIT, sandbox=options)) as response:
        call_id = response.headers["x-comptroller-call-id"]
        assert "x-comptroller-output-limit" not in response.headers
        first = held(gateway)
        assert 0 < first < WHOLE // 3
        eventually(lambda: held(gateway) > first)
        assert rest_of(response).endswith(b"data: [DONE]\n\n")
    row = settled_row(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("completed", False)
    assert nanos(row["charge_usd"]) == charged([line_of(sandbox, call_id)])
    assert first < nanos(row["held_usd"]) < WHOLE
    assert held(gateway) == 0


@pytest.mark.parametrize("said", ["hold=full", "respond-async, HOLD = full; wait=9"])
def test_who_prefers_a_full_hold_has_it_and_is_told(gateway: GatewayProcess, said: str) -> None:
    body = chat(max_tokens=LIMIT, stream=True, sandbox={"output_tokens": 5})
    answer = ask(gateway, mint(gateway)["credential"], body, headers={"prefer": said})
    assert answer.headers["preference-applied"] == "hold=full"
    assert nanos(settled_row(gateway, answer.call_id)["held_usd"]) >= WHOLE
    plain = ask(gateway, mint(gateway)["credential"], body, headers={"prefer": "hold=fuller"})
    assert "preference-applied" not in plain.headers
    assert nanos(settled_row(gateway, plain.call_id)["held_usd"]) < WHOLE // 3


@pytest.mark.parametrize(
    "body",
    [
        chat(max_tokens=LESS),
        chat(max_tokens=LESS, stream=True, n=2),
        chat(max_tokens=LESS, stream=True, prediction={"type": "content", "content": "as it was"}),
        chat(max_tokens=LESS, stream=True, model=STEADY),
        chat(max_tokens=LESS, stream=True, include_reasoning=False),
    ],
    ids=["json", "choices", "prediction", "not visible", "thinking that the caller hides"],
)
def test_what_cannot_be_counted_as_it_comes_is_held_in_full(gateway: GatewayProcess, body: Row) -> None:
    answer = ask(gateway, mint(gateway)["credential"], body | {"sandbox": {"output_tokens": 5}})
    row = settled_row(gateway, answer.call_id)
    rate = 15_000 if body["model"] == LARGE else 600
    assert nanos(row["held_usd"]) >= rate * LESS * body.get("n", 1)


def test_the_input_is_given_back_once_the_provider_says_what_it_cost(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """Messages tells it at its head: most of a long prompt is not held for as long as the answer takes."""
    text = "a word or two and no more than that " * 1_500
    credential = mint(gateway)["credential"]
    body = chat(text, max_tokens=2_000, stream=True, sandbox={"output_tokens": 400, "tokens_per_s": 200})
    with stream_of_messages(gateway, credential, body) as response:
        bound = 3_750 * len(text)
        eventually(lambda: held(gateway) < bound // 2)
        rest_of(response)
        call_id = response.headers["x-comptroller-call-id"]
    row = settled_row(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("completed", False)
    assert nanos(row["charge_usd"]) == charged([line_of(sandbox, call_id)]) <= nanos(row["held_usd"]) < bound // 2


def test_a_conversation_that_goes_on_is_held_at_what_was_billed_before(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """In this session; another one begins with the bytes of its body."""
    credential = mint(gateway)["credential"]
    turns = [{"role": "user", "content": "a word or two and no more than that " * 1_500}]
    more = [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]
    fields = {"model": LARGE, "max_tokens": 10}

    def spend(known: str, messages: list[Any]) -> tuple[int, int]:
        answer = ask(gateway, known, {**fields, "messages": messages}, path="/v1/messages")
        row = settled_row(gateway, answer.call_id)
        assert nanos(row["charge_usd"]) == charged([line_of(sandbox, answer.call_id)]) <= nanos(row["held_usd"])
        return nanos(row["held_usd"]), row["input_tokens"]

    cold, billed = spend(credential, turns)
    warm, _ = spend(credential, [*turns, *more])
    assert warm < cold // 2
    assert warm >= 3_000 * billed
    other, _ = spend(mint(gateway)["credential"], [*turns, *more])
    assert other > cold


def stream_of_messages(gateway: GatewayProcess, credential: str, body: Row) -> Any:
    return stream(gateway, credential, body, path="/v1/messages")


@pytest.mark.parametrize("how", ["client_gone", "stopped", "drained"])
def test_however_a_slice_ends_it_is_charged_once_and_no_less_than_was_billed(
    gateway: GatewayProcess, sandbox: SandboxProcess, how: str
) -> None:
    opened = mint(gateway)
    with stream(gateway, opened["credential"], chat(max_tokens=LIMIT, sandbox={**LONG, "ahead": TAIL})) as response:
        call_id = response.headers["x-comptroller-call-id"]
        first = held(gateway)
        eventually(lambda: held(gateway) > first)
        if how == "stopped":
            gateway.admin("POST", f"/sessions/{opened['session']}/end", {"reason": "enough"})
            assert b"session_ended" in rest_of(response)
        elif how == "drained":
            gateway.signal(signal.SIGTERM)
            assert b"draining" in rest_of(response)
            assert gateway.wait_exit() == 0
            gateway.start()
    row = settled_row(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == (how, True)
    assert charged([line_of(sandbox, call_id)]) <= nanos(row["charge_usd"]) <= nanos(row["held_usd"])
    window = budget_of(gateway, "all")
    assert (window["posted"], nanos(window["held"])) == (row["charge_usd"], 0)


def test_who_has_thinking_hidden_and_hangs_up_is_charged_the_whole_bound(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """What came says nothing of what was billed then."""
    body = chat(max_tokens=LESS, reasoning_effort="high", sandbox=LONG)
    with stream(gateway, mint(gateway)["credential"], body) as response:
        call_id = response.headers["x-comptroller-call-id"]
        response.readline()
    row = settled_row(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("client_gone", True)
    assert row["charge_usd"] == row["held_usd"]


def test_two_streams_race_for_the_last_slice(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """Each is cut or completes; together they never pass the limit."""
    with GatewayProcess(tmp_path, files(sandbox), registry([budget("all", "0.60 USD")], models=MODELS)) as gateway:
        credentials = [mint(gateway)["credential"] for _ in range(4)]
        heard: list[bytes] = []

        def hear(credential: str) -> None:
            # One that finds no room for the least is refused at the door.
            body = chat(max_tokens=9_000, stream=True, sandbox={"output_tokens": 8_000, "tokens_per_s": 600})
            heard.append(ask(gateway, credential, body).body)

        threads = [threading.Thread(target=hear, args=(each,)) for each in credentials]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(heard) == len(threads)
        eventually(lambda: all(row["outcome"] != "open" for row in gateway.calls()))
        rows = gateway.calls()
        outcomes = {row["outcome"] for row in rows}
        assert outcomes <= {"completed", "capped", "refused"}
        assert "capped" in outcomes
        assert all(body.endswith(b"data: [DONE]\n\n") or b"budget_exhausted" in body for body in heard)
        window = budget_of(gateway, "all")
        assert charged(sandbox.settled()) <= nanos(window["posted"]) <= nanos(window["limit"])
        assert nanos(window["held"]) == 0


def test_a_disk_that_is_too_slow_ends_the_stream_before_its_hold_is_used_up(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """Somebody else has the store: no piece becomes durable, and the stream goes on for what is on disk alone."""
    with stream(gateway, mint(gateway)["credential"], chat(max_tokens=LIMIT, sandbox=LONG)) as response:
        response.readline()
        call_id = response.headers["x-comptroller-call-id"]
        with closing(sqlite3.connect(gateway.state / "comptroller.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            rest = rest_of(response)
            other.execute("ROLLBACK")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b'"finish_reason":"length"' in rest
    row = settled_row(gateway, call_id)
    assert (row["outcome"], row["presumed"]) == ("capped", True)
    assert charged([line_of(sandbox, call_id)]) <= nanos(row["charge_usd"]) <= nanos(row["held_usd"])
    assert held(gateway) == 0
    told = gateway.command("explain", call_id).stdout
    assert "on disk in time" in told or "ledger could not be written" in told


def test_output_that_was_hidden_is_an_overrun_by_name_and_from_then_on_held_in_full(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """The registry says that all output of this model is visible, and it is not."""
    credential = mint(gateway)["credential"]
    hidden = {"output_tokens": 100, "reasoning_tokens": 8_900}
    answer = ask(gateway, credential, chat(model=THINKER, max_tokens=LIMIT, stream=True, sandbox=hidden))
    row = settled_row(gateway, answer.call_id)
    assert (row["outcome"], row["presumed"]) == ("completed", False)
    assert nanos(row["charge_usd"]) == charged([line_of(sandbox, answer.call_id)]) > nanos(row["held_usd"])
    (finding,) = gateway.admin("GET", "/findings")
    assert (finding["code"], "held in full for a day" in finding["sentence"]) == ("overrun", True)
    assert gateway.admin("GET", "/bounds")[0]["factor"] == "1.00"
    again = ask(
        gateway, credential, chat("more", model=THINKER, max_tokens=LIMIT, stream=True, sandbox={"output_tokens": 5})
    )
    assert nanos(settled_row(gateway, again.call_id)["held_usd"]) >= 4_400 * LIMIT


def test_an_answer_that_comes_at_once_is_not_cut_where_there_is_money(
    gateway: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """Far more than was held, in one piece: its hold follows."""
    options = {"output_tokens": 9_000, "tokens_per_chunk": 9_000}
    answer = ask(gateway, mint(gateway)["credential"], chat(max_tokens=LIMIT, stream=True, sandbox=options))
    assert b'"finish_reason":"length"' not in answer.body
    row = settled_row(gateway, answer.call_id)
    assert (row["outcome"], row["presumed"], row["output_tokens"]) == ("completed", False, 9_000)
    assert charged([line_of(sandbox, answer.call_id)]) == nanos(row["charge_usd"]) <= nanos(row["held_usd"])


def test_kill_9_in_mid_stream_charges_no_less_than_was_billed(tmp_path: Path, sandbox: SandboxProcess) -> None:
    """At any instant of any slice; and no more than the limit."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with GatewayProcess(tmp_path, files(sandbox), registry([budget("all", "3.00 USD")], models=MODELS)) as gateway:
        for _ in range(5):
            credential = mint(gateway)["credential"]
            threads = [
                threading.Thread(target=hear_until_the_end, args=(gateway, credential, chance.choice((200, 600, 1200))))
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            eventually(lambda: sandbox.bill()["total"]["output_tokens"] > 0)
            threading.Event().wait(chance.uniform(0.05, 2.5))  # sleep: a random instant
            gateway.kill9()
            for thread in threads:
                thread.join(30)
            gateway.start()
            billed = charged(sandbox.settled())
            window = budget_of(gateway, "all")
            assert billed <= nanos(window["posted"]) <= nanos(window["limit"])
            charges = {
                row["id"]: nanos(row["charge_usd"] or "0.00") for row in gateway.admin("GET", "/calls?limit=1000")
            }
            for line in sandbox.settled():
                assert int(line["charge_nanos"]) <= charges[line["client_request_id"].removesuffix(".1")]


def hear_until_the_end(gateway: GatewayProcess, credential: str, tokens_per_s: int) -> None:
    options = {"output_tokens": LIMIT, "tokens_per_s": tokens_per_s, "ahead": TAIL}
    try:
        ask(gateway, credential, chat(max_tokens=LIMIT, stream=True, sandbox=options))
    except (OSError, Exception):  # noqa: BLE001 - it was killed
        return
