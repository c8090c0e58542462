"""The arithmetic of the bill and the tokenizer, against other ways to say the same."""

import json
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.sandbox.chat.surface import read_order as read_chat
from comptroller.sandbox.messages.surface import read_order as read_messages
from comptroller.sandbox.prices import MODELS, TIERS, Counts, Model, charge_nanos, find_model
from comptroller.sandbox.prompt import Prompt, PromptCache, Segment, count_prompt
from comptroller.sandbox.tokens import count_tokens, split_tokens

TOKENS = st.integers(0, 10**9)
USD_PER_MILLION = {
    "sandbox-large": ("3.00", "0.30", "15.00"),
    "sandbox-small": ("0.15", "0.0375", "0.60"),
    "sandbox-reasoner": ("1.10", "0.275", "4.40"),
}
FACTORS = {"default": 1, "priority": 2, "flex": Fraction(1, 2)}


@given(st.sampled_from(MODELS), st.sampled_from(TIERS), TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)
def test_a_charge_is_exact_and_rounded_up_once(
    model: Model, tier: str, fresh: int, cached: int, output: int, five_minutes: int, hour: int
) -> None:
    prices = [Fraction(price) for price in USD_PER_MILLION[model.name]]
    prices += [prices[0] * Fraction(5, 4), prices[0] * 2]
    units = (fresh, cached, output, five_minutes, hour)
    usd = sum(each * price / 10**6 for each, price in zip(units, prices, strict=True))
    written = five_minutes + hour
    charge = charge_nanos(model, tier, Counts(fresh + cached + written, cached, written, hour, output))
    assert charge == ceil(usd * FACTORS[tier] * 10**9)


def test_a_fraction_of_a_nano_is_rounded_up() -> None:
    small = find_model("sandbox-small")
    assert small is not None
    # One cached token is 37.5 nano-USD, and half of it on flex: 18.75.
    counts = Counts(input_tokens=1, cached_tokens=1)
    assert charge_nanos(small, "default", counts) == 38
    assert charge_nanos(small, "flex", counts) == 19
    assert charge_nanos(small, "priority", counts) == 75


@pytest.mark.parametrize("counts", [(1, 2), (-1, -1), (1, 0, 0, 0, -1), (3, 2, 2), (3, 0, 1, 2), (3, 0, -1)])
def test_impossible_counts_have_no_charge(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="impossible counts"):
        charge_nanos(MODELS[0], "default", Counts(*counts))


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
    st.none() | st.booleans() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
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
    assert_bounded(count_prompt(read_chat(body).segments, b"salt"), body)


def assert_bounded(prompt: Prompt, body: bytes) -> None:
    assert 0 < prompt.tokens <= len(body)
    tokens = [prefix.tokens for prefix in prompt.prefixes]
    assert tokens == sorted(tokens)


TEXT_BLOCK = st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})
BLOCKS = st.text(min_size=1) | st.lists(
    TEXT_BLOCK
    | st.fixed_dictionaries({"type": st.just("thinking"), "thinking": st.text()})
    | st.fixed_dictionaries({"type": st.just("tool_use"), "name": st.text(), "input": st.dictionaries(st.text(), JSON)})
    | st.fixed_dictionaries(
        {"type": st.just("tool_result"), "tool_use_id": st.text(), "content": st.text() | st.lists(TEXT_BLOCK)}
    ),
    min_size=1,
)
TURN = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": BLOCKS})
OFFER = st.fixed_dictionaries({"name": st.text(), "input_schema": JSON})


@given(st.lists(TURN, min_size=1), st.lists(OFFER), st.text() | st.lists(TEXT_BLOCK), st.booleans())
def test_a_messages_prompt_of_text_has_no_more_tokens_than_its_body_has_bytes(
    messages: list[object], tools: list[object], system: object, as_ascii: bool
) -> None:
    fields = {"model": "sandbox-large", "max_tokens": 9, "messages": messages, "tools": tools, "system": system}
    body = json.dumps(fields, ensure_ascii=as_ascii, separators=(",", ":")).encode()
    assert_bounded(count_prompt(read_messages(body).segments, b"salt"), body)


def marked(*parts: tuple[str, int, str | None]) -> Prompt:
    return count_prompt([Segment(name.encode(), tokens, keep=keep) for name, tokens, keep in parts], b"salt")


def test_the_cache_reads_and_writes_what_the_marks_say() -> None:
    cache = PromptCache(capacity=10, min_tokens=16)

    def use(*parts: tuple[str, int, str | None]) -> tuple[int, int, int]:
        cached = cache.use_marks(marked(*parts))
        return cached.read, cached.written, cached.written_1h

    assert use(("a", 20, None), ("b", 5, None)) == (0, 0, 0)
    assert use(("a", 20, "1h"), ("b", 5, "5m"), ("c", 3, None)) == (0, 25, 20)
    assert use(("a", 20, "1h"), ("b", 5, "5m"), ("d", 3, None)) == (25, 0, 0)
    assert use(("a", 20, "1h"), ("z", 7, "5m")) == (20, 7, 0)
    assert use(("a", 20, None), ("b", 5, None), ("c", 3, "5m")) == (25, 3, 0)
    assert use(("s", 15, "5m")) == (0, 0, 0)  # too short to be kept
    assert use(("s", 15, "5m"), ("t", 1, "1h")) == (0, 16, 16)
