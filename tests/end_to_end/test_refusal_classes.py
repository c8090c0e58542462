"""Every code of core/refusal.py as both current SDKs meet it on a real socket: the exception, its text, its retries."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import anthropic
import openai
import pytest

from comptroller.core.refusal import REFUSALS
from tests.end_to_end.refused import OF_TOOLS, WAYS, Refusing, Way, refusing
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

ASK: Any = [{"role": "user", "content": "Tell me about holds."}]
GIVEN: Mapping[str, Any] = {"model": "sandbox-large", "messages": ASK, "max_tokens": 400}
PICTURES: Mapping[str, Any] = {
    "openai": {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
    "anthropic": {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
}


class Sdk(NamedTuple):
    """One SDK, and what it raises for a status."""

    package: Any
    base: str
    call: Callable[[Any, Mapping[str, Any]], object]
    no_credential: Mapping[str, Any]
    no_route: Callable[[Any], object]
    wrong_method: Callable[[Any], object]
    raises: Mapping[int, str]


SDKS: dict[str, Sdk] = {
    "openai": Sdk(
        openai,
        "/v1",
        lambda client, given: client.chat.completions.create(**given),
        {"Authorization": openai.Omit()},
        lambda client: client.fine_tuning.jobs.create(model="sandbox-large", training_file="file-1"),
        lambda client: client.chat.completions.list(),
        {
            400: "BadRequestError",
            401: "AuthenticationError",
            404: "NotFoundError",
            409: "ConflictError",
            429: "RateLimitError",
        }
        | dict.fromkeys((402, 405, 408, 413, 426), "APIStatusError")
        | dict.fromkeys((500, 502, 503, 504), "InternalServerError"),
    ),
    "anthropic": Sdk(
        anthropic,
        "",
        lambda client, given: client.messages.create(**given),
        {"Authorization": anthropic.Omit()},
        lambda client: client.get("/v1/skills", cast_to=object),
        lambda client: client.get("/v1/messages", cast_to=object),
        {
            400: "BadRequestError",
            401: "AuthenticationError",
            402: "PaymentRequiredError",
            404: "NotFoundError",
            405: "APIStatusError",
            408: "RequestTimeoutError",
            413: "ContentTooLargeError",
            426: "APIStatusError",
            429: "RateLimitError",
            500: "InternalServerError",
            502: "InternalServerError",
            503: "ServiceUnavailableError",
            504: "GatewayTimeoutError",
        },
    ),
}


def ask_responses(client: Any, given: Mapping[str, Any]) -> object:
    """The same question by the other route of the same package."""
    others = {name: value for name, value in given.items() if name not in {"messages", "max_tokens"}}
    return client.responses.create(input="Tell me about holds.", **others)


SDKS["responses"] = SDKS["openai"]._replace(call=ask_responses)
# What other routes have no words for.
RESPONSES_ONLY = {"object_unknown", "object_not_found", "object_busy", "provider_ambiguous"}
BATCHES_ONLY = {"unsupported"}
# Of tools of MCP servers, which no model route knows: tests/end_to_end/test_mcp*.py meet them.
TOOLS_ONLY = {
    "server_unknown",
    "tool_unknown",
    "tool_forbidden",
    "tool_changed",
    "arguments_forbidden",
    "result_too_large",
}
HANDSHAKE: Any = {"headers": {"Connection": "Upgrade", "Upgrade": "websocket"}}
# Not what is asked, but how.
BESIDE = {
    "route_unknown",
    "method_not_allowed",
    "upgrade_refused",
    "credential_missing",
    "object_not_found",
    "provider_ambiguous",
    *BATCHES_ONLY,
    *TOOLS_ONLY,
}
RETRY_AFTER = {
    "gateway_busy": 1,
    "ledger_unavailable": 5,
    "draining": 5,
    "retry_limited": 60,
    "rate_limited": 60,
    "upstream_unavailable": 60,
}  # seconds
REACHES_A_PROVIDER = {"provider_credential_rejected"}
ASKED_FOR_MEANWHILE = {"object_busy"}  # by the gateway itself


@pytest.fixture(scope="module")
def world(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with refusing(tmp_path_factory.mktemp("refusing"), sandbox_process) as made:
        yield made


def test_every_code_is_met() -> None:
    assert set(REFUSALS) == WAYS.keys() | BESIDE | OF_TOOLS


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (name, code)
        for name in SDKS
        for code in REFUSALS
        if (name == "responses") == (code in RESPONSES_ONLY) and code not in BATCHES_ONLY | TOOLS_ONLY
    ],
)
def test_a_refusal_is_raised_as_it_should_be_and_retried_only_where_that_helps(
    world: Refusing, code: str, name: str
) -> None:
    sdk, kind = SDKS[name], REFUSALS[code]
    world.sandbox.clear_faults()
    world.sandbox.reset_bill()
    with WAYS[code](world) if code in WAYS else nullcontext(world.by()) as way:
        before = world.sandbox.count()
        refused = refusal_of(sdk, code, way, retries=0 if code in RETRY_AFTER else 1)
        sent = world.sandbox.count() - before
    assert (type(refused).__name__, refused.status_code) == (sdk.raises[kind.status], kind.status), (
        refused.response.text
    )
    headers, body = refused.response.headers, refused.response.json()
    said = body["error"]["comptroller"]
    assert said["code"] == headers["x-comptroller-refusal"] == code
    assert said["sentence"] in str(refused)
    assert said["hint"], said
    assert said["hint"] in str(refused)
    assert headers.get("x-should-retry") == (None if kind.transient else "false")
    assert headers.get("retry-after") == (str(RETRY_AFTER[code]) if code in RETRY_AFTER else None)
    asked_again = refused.response.request.headers["x-stainless-retry-count"]
    assert asked_again == ("1" if kind.transient and code not in RETRY_AFTER else "0")
    assert sent == (1 if code in REACHES_A_PROVIDER else 0) or code in ASKED_FOR_MEANWHILE


def refusal_of(sdk: Sdk, code: str, way: Way, *, retries: int) -> Any:
    """What the SDK raises."""
    given = {**GIVEN, **way.asked(PICTURES[sdk.package.__name__])}
    if code == "credential_missing":
        given["extra_headers"] = sdk.no_credential
    ways = {
        "route_unknown": sdk.no_route,
        "method_not_allowed": sdk.wrong_method,
        "upgrade_refused": lambda client: client.get("/v1/responses", cast_to=object, options=HANDSHAKE),
        "object_not_found": lambda client: client.responses.retrieve("resp_of-somebody"),
        "provider_ambiguous": lambda client: client.files.create(file=("a.txt", b"a"), purpose="user_data"),
        "object_busy": lambda client: client.responses.delete(way.given["made"]),
    }
    act = ways.get(code, lambda connected: sdk.call(connected, given))
    client = sdk.package.OpenAI if sdk.package is openai else sdk.package.Anthropic
    with (
        client(base_url=way.url + sdk.base, api_key=way.credential, max_retries=retries) as connected,
        pytest.raises(sdk.package.APIStatusError) as raised,
    ):
        act(connected)
    return raised.value
