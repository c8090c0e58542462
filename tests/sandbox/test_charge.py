"""The arithmetic of the bill and the tokenizer, against other ways to say the same."""

import json
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.sandbox.prices import MODELS, TIERS, Model, charge_nanos, find_model
from comptroller.sandbox.prompt import count_prompt
from comptroller.sandbox.request import read_chat
from comptroller.sandbox.tokens import count_tokens, split_tokens

TOKENS = st.integers(0, 10**9)
USD_PER_MILLION = {
    "sandbox-large": ("3.00", "0.30", "15.00"),
    "sandbox-small": ("0.15", "0.0375", "0.60"),
    "sandbox-reasoner": ("1.10", "0.275", "4.40"),
}
FACTORS = {"default": 1, "priority": 2, "flex": Fraction(1, 2)}


@given(st.sampled_from(MODELS), st.sampled_from(TIERS), TOKENS, TOKENS, TOKENS)
def test_a_charge_is_exact_and_rounded_up_once(model: Model, tier: str, fresh: int, cached: int, output: int) -> None:
    prices = [Fraction(price) for price in USD_PER_MILLION[model.name]]
    usd = sum(units * price / 10**6 for units, price in zip((fresh, cached, output), prices, strict=True))
    charge = charge_nanos(model, tier, input_tokens=fresh + cached, cached_tokens=cached, output_tokens=output)
    assert charge == ceil(usd * FACTORS[tier] * 10**9)


def test_a_fraction_of_a_nano_is_rounded_up() -> None:
    small = find_model("sandbox-small")
    assert small is not None
    # One cached token is 37.5 nano-USD, and half of it on flex: 18.75.
    assert charge_nanos(small, "default", input_tokens=1, cached_tokens=1, output_tokens=0) == 38
    assert charge_nanos(small, "flex", input_tokens=1, cached_tokens=1, output_tokens=0) == 19
    assert charge_nanos(small, "priority", input_tokens=1, cached_tokens=1, output_tokens=0) == 75


@pytest.mark.parametrize("counts", [(1, 2, 0), (-1, -1, 0), (1, 0, -1)])
def test_impossible_counts_have_no_charge(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="impossible counts"):
        charge_nanos(MODELS[0], "default", input_tokens=counts[0], cached_tokens=counts[1], output_tokens=counts[2])


@given(st.text())
def test_tokens_give_the_text_back_and_are_no_more_than_its_bytes(text: str) -> None:
    tokens = split_tokens(text)
    assert "".join(tokens) == text
    assert len(tokens) == count_tokens(text) <= len(text.encode())


@given(st.text(), st.text())
def test_a_longer_text_has_no_fewer_tokens_and_no_more_than_its_parts(first: str, second: str) -> None:
    both = count_tokens(first + second)
    assert count_tokens(first) <= both <= count_tokens(first) + count_tokens(second)


JSON = st.recursive(
    st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
TEXT_PART = st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"])},
    optional={
        "content": st.text() | st.lists(TEXT_PART) | st.none(),
        "name": st.text(),
        "tool_calls": st.lists(JSON),
    },
)
TOOL = st.fixed_dictionaries(
    {"type": st.just("function"), "function": st.fixed_dictionaries({"name": st.text(), "parameters": JSON})}
)


@given(st.lists(MESSAGE, min_size=1), st.lists(TOOL), st.booleans())
def test_a_prompt_of_text_has_no_more_tokens_than_its_body_has_bytes(
    messages: list[object], tools: list[object], as_ascii: bool
) -> None:
    fields = {"model": "sandbox-large", "messages": messages, "tools": tools}
    body = json.dumps(fields, ensure_ascii=as_ascii, separators=(",", ":")).encode()
    request, _ = read_chat(body)
    prompt = count_prompt(request, b"salt")
    assert 0 < prompt.tokens <= len(body)
    assert prompt == count_prompt(request, b"salt")
    tokens = [prefix.tokens for prefix in prompt.prefixes]
    assert tokens == sorted(tokens)
