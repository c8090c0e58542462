"""What an older `anthropic` package makes of the gateway, as JSON. Runs in that package's own environment.

Arguments: the gateway's address, a credential, and a credential that has too little money. Or none: then the ways to
be refused come as JSON (name, address, credential, what is asked), and what was raised for each goes out.
"""

import json
import sys
from typing import Any

import anthropic

ASK: list[Any] = [{"role": "user", "content": "Tell me about holds."}]
TOOL: Any = {"name": "lookup", "input_schema": {"type": "object", "properties": {"word": {"type": "string"}}}}
SYSTEM: Any = [{"type": "text", "text": "a long prompt " * 40, "cache_control": {"type": "ephemeral"}}]
GIVEN: Any = {"model": "sandbox-small", "max_tokens": 200, "messages": ASK}
THINKS: Any = {**GIVEN, "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}


def main(url: str, credential: str, poor: str) -> None:
    found: dict[str, Any] = {"version": anthropic.__version__}
    with anthropic.Anthropic(base_url=url, api_key=credential) as client:
        found["message"] = client.messages.create(**GIVEN).content[0].type
        with client.messages.stream(**GIVEN) as stream:
            found["stream"] = len("".join(stream.text_stream)) > 0
        forced: Any = {"tools": [TOOL], "tool_choice": {"type": "any"}}
        found["tool"] = client.messages.create(**GIVEN, **forced).content[0].input
        found["thinking"] = [block.type for block in client.messages.create(**THINKS).content]
        for _ in range(2):
            cached = client.messages.create(**GIVEN, system=SYSTEM).usage.cache_read_input_tokens
        found["cached"] = cached
        found["beta"] = client.beta.messages.create(**GIVEN, betas=["context-1m-2025-08-07"]).type
        found["models"] = [model.id for model in client.models.list()]
        found["unknown"] = refusal(client, {**GIVEN, "model": "nobody"})
        found["unpriced"] = refusal(client, {**GIVEN, "model": "unpriced"})
        broken: Any = {"extra_body": {"sandbox": {"fault": "cut", "after_tokens": 2}}}
        found["cut"] = refusal(client, {**GIVEN, **broken, "stream": True})
        found["faulty"] = refusal(client, {**GIVEN, "extra_body": {"sandbox": {"fault": "bad_request"}}})
    with anthropic.Anthropic(base_url=url, api_key=poor) as client:
        found["poor"] = refusal(client, {**GIVEN, "model": "sandbox-large", "max_tokens": 4000})
    with anthropic.Anthropic(base_url=url, api_key="sk-ant") as client:
        found["stranger"] = refusal(client, GIVEN)
    print(json.dumps(found))


def refusal(client: anthropic.Anthropic, given: Any) -> list[Any]:
    """The exception's name, its status and its text."""
    try:
        answer = client.messages.create(**given)
        if given.get("stream"):
            list(answer)
    except anthropic.APIStatusError as error:
        return [type(error).__name__, error.status_code, str(error)]
    return ["nothing", 0, ""]


def refusals(ways: list[Any]) -> None:
    found: dict[str, Any] = {}
    for name, url, credential, given in ways:
        with anthropic.Anthropic(base_url=url, api_key=credential, max_retries=0) as client:
            found[name] = refusal(client, {**GIVEN, **given})
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:]:
        main(*sys.argv[1:])
    else:
        refusals(json.load(sys.stdin))
