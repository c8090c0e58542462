"""What a recorded answer cost, computed twice: by us, and with fractions from its raw JSON and the second table."""

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from genai_prices import extract_usage

from comptroller.core.pricing.charge import charge_nanos
from comptroller.core.pricing.rates import DEFAULT_TIER, tier_name
from comptroller.core.pricing.usage import Usage
from comptroller.flow.dialect import Dialect
from comptroller.wire.anthropic_messages import AnthropicMessages
from comptroller.wire.gemini import GeminiGenerate
from comptroller.wire.head import Head
from comptroller.wire.openai_chat import OpenAIChat
from comptroller.wire.openai_responses import OpenAIResponses, ResponsesRequest
from tests.pricing.second import BOOK, DAY, ROWS, Prices, nanos
from tests.wire.recorded import Exchange, load

MILLION = 1_000_000

# Not in the second table: the price that its provider published.
PUBLISHED: dict[str, Prices] = {
    "anthropic/claude-sonnet-4-0": {
        "input": Fraction(3),
        "output": Fraction(15),
        "cache_read": Fraction("0.3"),
        "cache_write": Fraction("3.75"),
    },
    "google/gemini-2.0-flash": {"input": Fraction("0.1"), "output": Fraction("0.4")},
    "google/gemini-3-pro-preview": {"input": Fraction(2), "output": Fraction(12)},
    "openai/o1-mini": {"input": Fraction("1.1"), "output": Fraction("4.4"), "cache_read": Fraction("0.55")},
}
# Not in the second table either: what sound costs.
SOUND: dict[str, Prices] = {
    "gemini-2.5-flash": {"audio_input": Fraction(1), "cache_read_audio": Fraction("0.1")},
}
# Their charge would not be right, and under a budget in USD their requests are refused (`price_unknown`): audio
# of this model has no price in our table, and an advisor is billed at the prices of another model.
LEFT_OUT = {"gpt-4o-audio-preview-2024-12-17"}
ADVISED = "advisor_tool"


def events(text: str) -> Iterator[Any]:
    """The JSON of the data lines of a stream."""
    for line in text.splitlines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            yield json.loads(data)


def used(dialect: Dialect, exchange: Exchange) -> tuple[str, Usage]:
    """The model that was asked for, and what the gateway reads from the answer."""
    head = Head(exchange.model, b"alt=sse" if exchange.path and exchange.stream else b"")
    request: Any = dialect.read_request(exchange.body(), head)
    usage: Usage | None
    if exchange.stream:
        meter = dialect.stream_meter(request)
        meter.feed(exchange.response)
        meter.finish()
        usage = meter.usage
    else:
        usage = dialect.read_answer(request, exchange.response).usage
    assert usage is not None
    return request.asked.model, usage


def charged(dialect: Dialect, provider: str, exchange: Exchange) -> int:
    """What the gateway would post."""
    model, usage = used(dialect, exchange)
    rates = BOOK.rates(provider, model, DAY)[tier_name(usage.service_tier or DEFAULT_TIER)]
    return charge_nanos(usage, rates)


def prices_of(provider: str, model: str) -> Prices:
    name = f"{provider}/{model}"
    return PUBLISHED[name] if name in PUBLISHED else ROWS[name].prices["default"]


def usd(prices: Prices, counts: dict[str, int]) -> Fraction:
    return sum((Fraction(n, MILLION) * prices[meter] for meter, n in counts.items() if n), Fraction(0))


# --- chat completions ---------------------------------------------------------------------------


def chat_usage(exchange: Exchange) -> Any:
    text = exchange.response.decode()
    if not exchange.stream:
        return json.loads(text).get("usage")
    return next((event["usage"] for event in events(text) if event.get("usage")), None)


CHAT = [
    exchange
    for exchange in load("openai_chat")
    if exchange.status == 200
    and exchange.request
    and exchange.request["model"] not in LEFT_OUT
    and chat_usage(exchange) is not None
]


@pytest.mark.parametrize("exchange", CHAT, ids=lambda exchange: exchange.name)
def test_a_recorded_completion_costs_what_the_second_table_says(exchange: Exchange) -> None:
    usage = chat_usage(exchange)
    inside = usage.get("prompt_tokens_details") or {}
    read, written = inside.get("cached_tokens") or 0, inside.get("cache_write_tokens") or 0
    counts = {
        "input": usage["prompt_tokens"] - read - written,
        "cache_read": read,
        "cache_write": written,
        "output": usage["completion_tokens"],
    }
    expected = nanos(usd(prices_of("openai", exchange.request["model"]), counts))
    assert charged(OpenAIChat(), "openai", exchange) == expected


# --- responses ----------------------------------------------------------------------------------

PER_THOUSAND_SEARCHES = {"web_search_call": 10, "file_search_call": Fraction("2.5")}  # USD, as OpenAI publishes them


def last_response(exchange: Exchange) -> Any:
    text = exchange.response.decode()
    return [*events(text)][-1]["response"] if exchange.stream else json.loads(text)


def searches(response: Any, kind: str) -> int:
    """Calls of a kind that are billed: looking at a page that was found is not."""
    made = [item.get("action", {}).get("type") for item in response["output"] if item["type"] == kind]
    return len([action for action in made if action not in {"open_page", "find_in_page"}])


def carried(exchange: Exchange) -> bool:
    """Whether the gateway lets it through: not what is stored at the provider, and nothing in the background."""
    return isinstance(OpenAIResponses().read_request(exchange.body()), ResponsesRequest)


RESPONSES = [
    exchange
    for exchange in load("openai_responses")
    if exchange.status == 200 and exchange.request and carried(exchange)
]


@pytest.mark.parametrize("exchange", RESPONSES, ids=lambda exchange: exchange.name)
def test_a_recorded_response_costs_what_the_second_table_says(exchange: Exchange) -> None:
    response, model = last_response(exchange), exchange.request["model"]
    usage, inside = response["usage"], response["usage"]["input_tokens_details"]
    read, written = inside["cached_tokens"], inside.get("cache_write_tokens") or 0
    counts = {
        "input": usage["input_tokens"] - read - written,
        "cache_read": read,
        "cache_write": written,
        "output": usage["output_tokens"],
    }
    total = usd(prices_of("openai", model), counts)
    for kind, price in PER_THOUSAND_SEARCHES.items():
        total += Fraction(searches(response, kind)) * price / 1_000
    assert charged(OpenAIResponses(), "openai", exchange) == nanos(total)


@pytest.mark.parametrize("exchange", RESPONSES, ids=lambda exchange: exchange.name)
def test_others_read_the_same_from_a_recorded_response(exchange: Exchange) -> None:
    """The extraction of genai-prices: it knows tokens, and neither lifetimes of a cache nor searches."""
    theirs = extract_usage(last_response(exchange), provider_id="openai", api_flavor="responses").usage
    _, ours = used(OpenAIResponses(), exchange)
    assert (ours.input_tokens, ours.output_tokens) == (theirs.input_tokens, theirs.output_tokens)
    assert ours.cached_tokens == theirs.cache_read_tokens
    assert ours.cache_write_tokens == (theirs.cache_write_tokens or 0)
    assert ours.reasoning_tokens == theirs.output_reasoning_tokens


# --- messages -----------------------------------------------------------------------------------


def messages_usage(exchange: Exchange) -> Any:
    text = exchange.response.decode()
    if not exchange.stream:
        return json.loads(text).get("usage")
    said: dict[str, Any] = {}
    for event in events(text):
        said |= event.get("usage") or event.get("message", {}).get("usage") or {}
    return said


def rounds(usage: Any) -> Iterator[Any]:
    """Whatever was billed: the counts, and the compactions that are not in them."""
    yield usage
    yield from (each for each in usage.get("iterations") or () if each["type"] == "compaction")


MESSAGES = [
    exchange
    for exchange in load("anthropic_messages")
    if exchange.status == 200 and exchange.request and ADVISED not in exchange.name
]


@pytest.mark.parametrize("exchange", MESSAGES, ids=lambda exchange: exchange.name)
def test_a_recorded_message_costs_what_the_second_table_says(exchange: Exchange) -> None:
    usage, model = messages_usage(exchange), exchange.request["model"]
    prices = prices_of("anthropic", model)
    total = Fraction(0)
    for each in rounds(usage):
        written = each.get("cache_creation_input_tokens") or 0
        for_an_hour = (each.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0
        counts = {
            "input": each["input_tokens"],
            "cache_read": each.get("cache_read_input_tokens") or 0,
            "cache_write": written - for_an_hour,
            "cache_write_1h": for_an_hour,
            "output": each["output_tokens"],
        }
        total += usd(prices, counts)
    if usage.get("inference_geo") == "us":
        total *= ROWS[f"anthropic/{model}"].us_times or 1
    searches = (usage.get("server_tool_use") or {}).get("web_search_requests") or 0
    total += Fraction(searches * 10, 1_000)
    assert charged(AnthropicMessages(), "anthropic", exchange) == nanos(total)


# --- gemini -------------------------------------------------------------------------------------

GEMINI = load("gemini")


def gemini_counts(usage: Any) -> dict[str, int]:
    """What its provider bills: sound apart, the rest of the prompt as one, thoughts as output."""

    def heard(name: str) -> int:
        return sum(each["tokenCount"] for each in usage.get(name, ()) if each["modality"] == "AUDIO")

    cached, sound, cached_sound = (
        usage.get("cachedContentTokenCount", 0),
        heard("promptTokensDetails"),
        heard("cacheTokensDetails"),
    )
    return {
        "input": usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0) - cached - (sound - cached_sound),
        "audio_input": sound - cached_sound,
        "cache_read": cached - cached_sound,
        "cache_read_audio": cached_sound,
        "output": usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0),
    }


@pytest.mark.parametrize("exchange", GEMINI, ids=lambda exchange: exchange.name)
def test_a_recorded_content_costs_what_the_second_table_says(exchange: Exchange) -> None:
    text = exchange.response.decode()
    usage = (list(events(text))[-1] if exchange.stream else json.loads(text))["usageMetadata"]
    prices = prices_of("google", exchange.model) | SOUND.get(exchange.model, {})
    expected = nanos(usd(prices, gemini_counts(usage)))
    assert charged(GeminiGenerate("v1beta", stream=exchange.stream), "google", exchange) == expected


def test_there_are_recordings_of_each_dialect() -> None:
    assert len(GEMINI) >= 40
    assert len(CHAT) >= 50
    assert len(RESPONSES) >= 40
    assert len(MESSAGES) >= 30
