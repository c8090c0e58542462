"""Steps of recorded requests, of every dialect: nothing that real clients did is a loop."""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from comptroller.core.refusal import Refusal
from comptroller.core.work.outline import Step
from comptroller.flow.dialect import Dialect, Outlined
from comptroller.wire.anthropic_messages.dialect import AnthropicMessages
from comptroller.wire.gemini.dialect import GeminiGenerate
from comptroller.wire.head import Head
from comptroller.wire.openai_chat.dialect import OpenAIChat
from comptroller.wire.openai_responses.dialect import OpenAIResponses
from tests.core.loop_runs import Heard, Session

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "recorded_bodies.jsonl.gz"  # where the project has it
DIALECTS: Mapping[str, Dialect] = {
    "openai.chat": OpenAIChat(),
    "openai.responses": OpenAIResponses(),
    "anthropic.messages": AnthropicMessages(),
    "gemini": GeminiGenerate("v1beta"),
}

pytestmark = pytest.mark.skipif(not RECORDED.exists(), reason="the recordings are not beside the repository")


def steps() -> Iterator[tuple[str, Step]]:
    """Where each comes from, and the step that it takes."""
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            if row["request"] is None:
                continue
            body = json.dumps(row["request"]).encode()
            named = row["path"].rpartition("/models/")[2].partition(":")[0]
            request = DIALECTS[row["surface"]].read_request(body, Head(named=named))
            assert not isinstance(request, Refusal), request.sentence
            assert isinstance(request, Outlined)
            yield row["source"].partition("#")[0], request.outline(len(body)).step


def test_no_recorded_run_is_a_loop() -> None:
    runs = defaultdict[str, list[Step]](list)
    for source, step in steps():
        runs[source].append(step)
    heard = Counter(each for run in runs.values() for each in Session().all(run))
    assert heard == {"": 188}


def test_all_of_them_in_one_session_are_not_stopped() -> None:
    """They are tests of a library: one of them asks the same of seven providers, and is slowed at the seventh."""
    heard: Counter[Heard] = Counter(Session().all(step for _, step in steps()))
    assert heard == {"": 186, "warn": 1, "slow": 1}
