"""Tools inside model calls on real processes: official SDKs offer functions, the sandbox calls them, the books know."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from tests.end_to_end.caller import mint, settled_row
from tests.harness.configuration import budget, identity, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

MODEL = "sandbox-small"
READ, SEARCH = "mcp__files__read_text_file", "search"
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string", "const": "/srv/docs/ä.md"}, "head": {"type": "integer", "const": 3}},
}


@pytest.fixture(scope="module")
def own(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("inside")
    members = {"agent/ant": identity("red")}
    with GatewayProcess(folder, process(sandbox_process.url), registry([budget("all", "100.00 USD")], members)) as own:
        yield own
        assert "Traceback" not in own.log()


def by_chat(url: str, key: str, *, stream: bool) -> str:
    tools: Any = [{"type": "function", "function": {"name": each, "parameters": SCHEMA}} for each in (READ, SEARCH)]
    given: Any = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "read it"}],
        "tools": tools,
        "tool_choice": "required",
    }
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        if stream:
            with client.chat.completions.with_streaming_response.create(**given, stream=True) as answer:
                answer.read()
                return answer.headers["x-comptroller-call-id"]
        raw = client.chat.completions.with_raw_response.create(**given)
        assert raw.parse().choices[0].message.tool_calls
        return raw.headers["x-comptroller-call-id"]


def by_responses(url: str, key: str, *, stream: bool) -> str:
    tools: Any = [{"type": "function", "name": each, "parameters": SCHEMA, "strict": False} for each in (READ, SEARCH)]
    given: Any = {"model": MODEL, "input": "read it", "tools": tools, "tool_choice": "required", "store": False}
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as client:
        if stream:
            with client.responses.with_streaming_response.create(**given, stream=True) as answer:
                answer.read()
                return answer.headers["x-comptroller-call-id"]
        return client.responses.with_raw_response.create(**given).headers["x-comptroller-call-id"]


def by_messages(url: str, key: str, *, stream: bool) -> str:
    given: Any = {
        "model": MODEL,
        "max_tokens": 500,
        "messages": [{"role": "user", "content": "read it"}],
        "tools": [{"name": each, "input_schema": SCHEMA} for each in (READ, SEARCH)],
        "tool_choice": {"type": "any"},
    }
    with anthropic.Anthropic(base_url=url, api_key=key) as client:
        if stream:
            with client.messages.with_streaming_response.create(**given, stream=True) as answer:
                answer.read()
                return answer.headers["x-comptroller-call-id"]
        return client.messages.with_raw_response.create(**given).headers["x-comptroller-call-id"]


def by_gemini(url: str, key: str, *, stream: bool) -> str:
    client = genai.Client(api_key=key, http_options={"base_url": url})
    config: Any = {
        "tools": [
            {"function_declarations": [{"name": each, "parameters_json_schema": SCHEMA} for each in (READ, SEARCH)]}
        ],
        "tool_config": {"function_calling_config": {"mode": "ANY"}},
        "automatic_function_calling": {"disable": True},
    }
    if stream:
        last = list(client.models.generate_content_stream(model=MODEL, contents="read it", config=config))[-1]
    else:
        last = client.models.generate_content(model=MODEL, contents="read it", config=config)
    headers = last.sdk_http_response.headers if last.sdk_http_response is not None else None
    assert headers
    return headers["x-comptroller-call-id"]


SDKS: Mapping[str, Callable[..., str]] = {
    "chat": by_chat,
    "responses": by_responses,
    "messages": by_messages,
    "gemini": by_gemini,
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("sdk", SDKS)
def test_what_is_offered_and_what_is_called_is_on_record(own: GatewayProcess, sdk: str, stream: bool) -> None:
    call_id = SDKS[sdk](own.url, mint(own)["credential"], stream=stream)
    row = settled_row(own, call_id)
    assert [each["name"] for each in row["called"]] == [READ]
    told = own.admin("GET", f"/calls/{call_id}/explanation")
    assert (told["tools"], told["tools_offered"]) == ([READ, SEARCH], 2)
    said = " ".join(told["sentences"])
    assert f"It offered the model 2 functions: {READ} and {SEARCH}." in said
    assert f"The model called {READ}." in said


def test_the_same_arguments_have_one_digest_in_every_dialect(own: GatewayProcess) -> None:
    key = mint(own)["credential"]
    calls = [by(own.url, key, stream=stream) for by in SDKS.values() for stream in (False, True)]
    rows = [settled_row(own, each) for each in calls]
    digests = {each["called"][0]["arguments_digest"] for each in rows}
    assert len(digests) == 1
    assert all(len(each) == 32 for each in digests)
    assert len({each["tools_digest"] for each in rows}) == len(SDKS), "definitions differ by dialect alone"


def test_names_and_digests_are_kept_and_arguments_are_not(own: GatewayProcess) -> None:
    call_id = by_chat(own.url, mint(own)["credential"], stream=False)
    assert settled_row(own, call_id)["called"]
    assert "/srv/docs" not in own.command("calls", "--json").stdout + own.log()
