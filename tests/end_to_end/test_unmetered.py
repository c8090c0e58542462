"""Calls that no budget in money or tokens is drawn for: nothing bounds them, so nothing about them can be wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.caller import Row, ask, chat, mint, settled_row
from tests.harness.configuration import budget, model, process, registry
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

IMAGE = {"type": "image_url", "image_url": {"url": "https://pictures.example/1.png"}}


@pytest.fixture
def unmetered(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """Calls are counted, money and tokens are not; what an image may come to is not known."""
    models = {"sandbox-*": model("sandbox", max_image_tokens=None, context_window=None)}
    models["sandbox-*"] = {key: value for key, value in models["sandbox-*"].items() if value is not None}
    budgets = [budget("calls", "100 calls"), budget("watched", "0.01 USD", mode="shadow")]
    with GatewayProcess(
        tmp_path, process(sandbox.url), registry(budgets, models=models, bounds={"agent": {"usd": "unbounded"}})
    ) as gateway:
        yield gateway


def test_what_had_no_bound_is_no_overrun(unmetered: GatewayProcess, sandbox: SandboxProcess) -> None:
    credential = mint(unmetered)["credential"]
    said = [ask(unmetered, credential, pictures(count)) for count in (1, 10, 100, 1)]
    assert [each.status for each in said] == [200] * 4, said[-1].body  # a third overrun would have stopped the model
    assert unmetered.admin("GET", "/bounds") == []
    recorded = [settled_row(unmetered, each.call_id)["input_tokens"] for each in said]
    assert recorded == [line["input_tokens"] for line in sandbox.settled(4)]
    assert recorded[2] > 100 * 765


def pictures(count: int) -> Row:
    return chat(max_tokens=1) | {"messages": [{"role": "user", "content": [IMAGE] * count}]}
