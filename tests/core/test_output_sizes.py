"""Learned output sizes: nine in ten, bounded, and silent as long as too little is known."""

import pytest

from comptroller.core.pricing import sizes as module
from comptroller.core.pricing.sizes import OutputSizes

KIND = ("agent/ant", "large", "")


def test_nine_in_ten_have_no_more() -> None:
    sizes = OutputSizes()
    for tokens in range(1, 101):
        sizes.learn(KIND, tokens)
    assert sizes.expected(KIND) == 97  # of 69 ... 100, the newest 32


def test_one_long_answer_does_not_make_all_dear() -> None:
    sizes = OutputSizes()
    for tokens in [300] * 31 + [100_000]:
        sizes.learn(KIND, tokens)
    assert sizes.expected(KIND) == 300


@pytest.mark.parametrize("known", range(8))
def test_too_few_say_nothing(known: int) -> None:
    sizes = OutputSizes()
    for _ in range(known):
        sizes.learn(KIND, 5)
    assert sizes.expected(KIND) is None


def test_kinds_are_bounded_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KINDS_MOST", 3)
    sizes = OutputSizes()
    for number in range(10):
        for _ in range(8):
            sizes.learn(("agent/ant", f"model-{number}", ""), number)
            sizes.learn(KIND, 1)
        assert len(sizes) <= 3
    assert sizes.expected(KIND) == 1
    assert sizes.expected(("agent/ant", "model-9", "")) == 9
    assert sizes.expected(("agent/ant", "model-1", "")) is None
