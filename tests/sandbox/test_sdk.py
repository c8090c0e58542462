"""The `openai` package, unmodified, against the sandbox."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

HELLO: Any = [{"role": "user", "content": "hello there"}]
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


class City(BaseModel):
    name: str
    inhabitants: int


@pytest.fixture
def client(sandbox: SandboxProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{sandbox.url}/v1", api_key="sandbox-sdk", max_retries=0, timeout=20) as client:
        yield client


def test_chat(client: openai.OpenAI, sandbox: SandboxProcess) -> None:
    answer = client.chat.completions.create(model="sandbox-large", messages=HELLO, n=2)
    assert len(answer.choices) == 2
    assert answer.usage is not None
    total = sandbox.total()
    assert (total["input_tokens"], total["output_tokens"]) == (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
    )
    assert answer.service_tier == "default"


def test_stream(client: openai.OpenAI, sandbox: SandboxProcess) -> None:
    with client.chat.completions.create(
        model="sandbox-reasoner",
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"sandbox": {"output_tokens": 12, "reasoning_tokens": 30}},
    ) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).count(" ") == 11
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 30
    [line] = sandbox.settled()
    assert (line["output_tokens"], line["reasoning_tokens"]) == (usage.completion_tokens, 30) == (42, 30)


def test_tools(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="sandbox-large", messages=HELLO, tools=TOOLS, tool_choice="required")
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city":"text"}')
    reply: Any = [
        *HELLO,
        answer.choices[0].message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    assert client.chat.completions.create(model="sandbox-large", messages=reply, tools=TOOLS).choices[0].message.content


def test_streamed_tools(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="sandbox-large", messages=HELLO, tools=TOOLS, tool_choice="required"
    ) as stream:
        answer = stream.get_final_completion()
    [call] = answer.choices[0].message.tool_calls or []
    assert call.function.arguments == '{"city":"text"}'


def test_structured(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(model="sandbox-large", messages=HELLO, response_format=City)
    assert answer.choices[0].message.parsed == City(name="text", inhabitants=1)


def test_models(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"sandbox-large", "sandbox-small", "sandbox-reasoner", "sandbox-large-2026-01-01"} <= names
    assert client.models.retrieve("sandbox-small").owned_by == "sandbox"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("bad_request", openai.BadRequestError),
        ("unauthorized", openai.AuthenticationError),
        ("forbidden", openai.PermissionDeniedError),
        ("rate_limited", openai.RateLimitError),
        ("server_error", openai.InternalServerError),
        ("overloaded", openai.InternalServerError),
        ("cut_before_headers", openai.APIConnectionError),
        ("not_http", openai.APIConnectionError),
    ],
)
def test_errors(client: openai.OpenAI, fault: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        client.chat.completions.create(model="sandbox-large", messages=HELLO, extra_body={"sandbox": {"fault": fault}})


def test_the_sdk_tries_again_after_a_rate_limit(client: openai.OpenAI, sandbox: SandboxProcess) -> None:
    """Each try is a request of its own on the bill; the seed says that the first is refused and the second is not."""
    sandbox.faults({"fault": "rate_limited", "retry_after_s": 0, "probability": 0.5}, seed=1)
    client.with_options(max_retries=5).chat.completions.create(model="sandbox-large", messages=HELLO)
    assert [line["status"] for line in sandbox.settled(2)] == [429, 200]
