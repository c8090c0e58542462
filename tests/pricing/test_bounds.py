"""No answer that an honest provider can give costs more, at the published prices, than was held for its request."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.charge import charge_nanos, unpriced
from comptroller.core.pricing.estimate import Asked, Estimate, ModelLimits, estimate
from comptroller.core.pricing.rates import Rates, tier_name
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.flow.dialect import Dialect
from comptroller.wire.anthropic_messages import AnthropicMessages
from comptroller.wire.openai_chat import OpenAIChat
from tests.pricing.second import BOOK, DAY, ROWS

CONTEXT, MOST_OUTPUT, IMAGE = 1_000_000, 128_000, 5_000
LIMITS = ModelLimits(MOST_OUTPUT, CONTEXT, IMAGE)
MODELS = [(row.provider, row.model) for row in ROWS.values() if BOOK.rates(row.provider, row.model, DAY)]

# What a request may lead to, and the meters that it leads to beside those of any request.
HEARD = ("audio_input_tokens", "cached_audio_tokens", "audio_output_tokens")
SEEN = ("image_input_tokens", "cached_image_tokens")
KINDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "text": ({}, ()),
    "a cache of an hour": ({"long_cache_writes": True}, ("cache_write_1h_tokens",)),
    "images": ({"images": 2}, SEEN),
    "audio": ({"audio_input": True, "audio_output": True}, HEARD),
    "a file": ({"unbounded": ("a file",)}, (*SEEN, "video_input_tokens")),
}
ANY_INPUT = ("", "cached_tokens", "cache_write_tokens")
ANY_OUTPUT = ("", "reasoning_tokens", "image_output_tokens")
PARTS_OF = {
    "cache_write_1h_tokens": ("cache_write_tokens",),
    "cached_image_tokens": ("cached_tokens", "image_input_tokens"),
    "cached_audio_tokens": ("cached_tokens", "audio_input_tokens"),
}


def held(asked: Asked, rates: dict[str, Rates]) -> Estimate | Refusal:
    return estimate(asked, LIMITS, Tariff(rates), 10_000, money=True, metered=True)


def corners(bound: Estimate, rates: Rates, meters: tuple[str, ...]) -> Iterator[Usage]:
    """All tokens of one meter, on both sides of each size of prompt, up to the bound."""
    sizes = {size.over_input_tokens + more for size in rates.sizes for more in (0, 1)}
    for tokens in {bound.input_tokens, *(size for size in sizes if size <= bound.input_tokens)}:
        for read in (*ANY_INPUT, *(name for name in meters if "output" not in name)):
            for made in (*ANY_OUTPUT, *(name for name in meters if "output" in name)):
                inside = dict.fromkeys((name for name in (read, *PARTS_OF.get(read, ())) if name), tokens)
                output = bound.choices * bound.wanted_output_tokens
                yield Usage(tokens, output, **inside, **({made: output} if made else {}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text_tokens", [10, 200_001, 272_001])
def test_every_meter_of_every_model_that_two_tables_know(kind: str, text_tokens: int) -> None:
    given_, meters = KINDS[kind]
    held_for = 0
    for provider, model in MODELS:
        rates = dict(BOOK.rates(provider, model, DAY))
        for asked_tier in (None, *rates):
            asked = Asked(model, False, text_tokens, service_tier=asked_tier, choices=2, **given_)
            bound = held(asked, rates)
            if isinstance(bound, Refusal):
                assert bound.code == "price_unknown"
                continue
            held_for += 1
            possible = rates if asked_tier is None else {name: rates[name] for name in {asked_tier, "default"}}
            most = bound.amount_nanos(bound.wanted_output_tokens)
            for tier, tariff in possible.items():
                for usage in corners(bound, tariff, meters):
                    assert charge_nanos(usage, tariff) <= most, (model, asked_tier, tier, usage)
    assert held_for > (10 if kind == "audio" else 400)


# --- from the body of a request to the report in its answer --------------------------------------

CLAUDES = [model for provider, model in MODELS if provider == "anthropic"]
GPTS = [model for provider, model in MODELS if provider == "openai"]
HEARING = [m for m in GPTS if all(r.audio_input and r.audio_output for r in BOOK.rates("openai", m, DAY).values())]
TOKENS = st.integers(0, 400_000)


def up_to(most: int) -> st.SearchStrategy[int]:
    """Often all or none: what is billed at most is at an edge."""
    return st.sampled_from((most, 0)) | st.integers(0, most)


def most_nanos(dialect: Dialect, provider: str, body: dict[str, Any]) -> tuple[Any, int, int] | None:
    """The request, the bound of its input, and the most that is held for it; None if it is refused."""
    request = dialect.read_request(msgspec.json.encode(body))
    assert not isinstance(request, Refusal), request
    bound = held(request.asked, dict(BOOK.rates(provider, request.asked.model, DAY)))
    if isinstance(bound, Refusal):
        return None
    return request, bound.input_tokens, bound.amount_nanos(bound.wanted_output_tokens)


def answered(dialect: Dialect, provider: str, request: Any, answer: dict[str, Any]) -> int | None:
    """What is charged for an answer; None if it is presumed, at the hold."""
    usage = dialect.read_answer(request, msgspec.json.encode(answer)).usage
    assert usage is not None
    rates = BOOK.rates(provider, request.asked.model, DAY).get(tier_name(usage.service_tier or "default"))
    return None if rates is None or unpriced(usage, rates) else charge_nanos(usage, rates)


@given(st.data())
def test_a_message(data: st.DataObject) -> None:
    def one_of(*choices: Any) -> Any:
        return data.draw(st.sampled_from(choices))

    ttl = one_of(None, "5m", "1h")
    mark = {"cache_control": {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}} if one_of(True, False) else {}
    content = [{"type": "text", "text": "x" * data.draw(TOKENS), **mark}]
    chosen = {
        "service_tier": one_of(None, "auto", "standard_only"),
        "speed": one_of(None, "standard", "fast"),
        "inference_geo": one_of(None, "us", "global"),
    }
    limit = data.draw(st.integers(0, 70_000))
    body = {
        "model": one_of(*CLAUDES),
        "max_tokens": limit,
        "messages": [{"role": "user", "content": content}],
        **chosen,
    }
    sent = most_nanos(AnthropicMessages(), "anthropic", body)
    if sent is None:
        return
    request, input_tokens, most = sent
    read = data.draw(up_to(input_tokens))
    written = data.draw(up_to(input_tokens - read)) if mark else 0
    hour = data.draw(up_to(written)) if ttl == "1h" and mark else 0
    lifetimes = {"ephemeral_5m_input_tokens": written - hour, "ephemeral_1h_input_tokens": hour}
    usage = {
        "input_tokens": input_tokens - read - written,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": data.draw(up_to(limit)),
        "service_tier": one_of("standard", "priority") if chosen["service_tier"] != "standard_only" else "standard",
        "speed": one_of("standard", chosen["speed"] or "standard"),
        "inference_geo": chosen["inference_geo"] or one_of("us", "global", "not_available"),
    } | ({"cache_creation": lifetimes} if one_of(True, False) else {})
    charged = answered(AnthropicMessages(), "anthropic", request, {"model": "m", "usage": usage})
    assert charged is None or charged <= most


@given(st.data())
def test_a_completion(data: st.DataObject) -> None:
    def one_of(*choices: Any) -> Any:
        return data.draw(st.sampled_from(choices))

    tier, ttl, choices = one_of(None, "auto", "default", "flex", "fast", "priority"), one_of(None, "30m", "12h"), 2
    parts: list[Any] = [{"type": "text", "text": "x" * data.draw(TOKENS)}]
    heard = one_of(True, False)
    if heard:
        parts.append({"type": "input_audio", "input_audio": {"data": "x" * 3_000, "format": "wav"}})
    body = {
        "model": one_of(*(HEARING if heard else GPTS)),
        "messages": [{"role": "user", "content": parts}],
        "n": choices,
        "max_completion_tokens": data.draw(st.integers(1, 70_000)),
        **({"modalities": ["text", "audio"], "audio": {}} if heard else {}),
        **({"service_tier": tier} if tier else {}),
        **({"prompt_cache_options": {"ttl": ttl}} if ttl else {}),
    }
    sent = most_nanos(OpenAIChat(), "openai", body)
    if sent is None:
        return
    request, input_tokens, most = sent
    made = data.draw(up_to(choices * body["max_completion_tokens"]))
    read = data.draw(up_to(input_tokens))
    written = data.draw(up_to(input_tokens - read))
    inside = {
        "cached_tokens": read,
        "cache_write_tokens": written,
        "audio_tokens": data.draw(up_to(input_tokens - written)) if heard else 0,
    }
    thought = data.draw(up_to(made))
    outside = {"reasoning_tokens": thought, "audio_tokens": data.draw(up_to(made - thought)) if heard else 0}
    usage = {
        "prompt_tokens": input_tokens,
        "completion_tokens": made,
        "prompt_tokens_details": inside,
        "completion_tokens_details": outside,
    }
    served = {"fast": "priority", None: one_of("default", "flex", "priority"), "auto": one_of("default", "priority")}
    answer = {"model": "m", "service_tier": one_of("default", served.get(tier, tier)), "usage": usage}
    charged = answered(OpenAIChat(), "openai", request, answer)
    assert charged is None or charged <= most
