"""Whatever a stranger sends to the smaller surfaces of OpenAI is read or refused, and never a fault."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.refusal import Refusal
from comptroller.wire.head import Head
from comptroller.wire.openai_audio import OpenAISpeech, OpenAITranscription
from comptroller.wire.openai_completions import OpenAICompletions
from comptroller.wire.openai_embeddings import OpenAIEmbeddings
from comptroller.wire.openai_images import OpenAIImages
from comptroller.wire.openai_moderations import OpenAIModerations
from tests.harness.forms import FORM_TYPE, form

DIALECTS: list[Any] = [
    OpenAICompletions(),
    OpenAIEmbeddings(),
    OpenAIModerations(),
    OpenAIImages("generations"),
    OpenAIImages("edits"),
    OpenAISpeech(),
    OpenAITranscription("transcriptions"),
]
NAMES = st.sampled_from(
    "model prompt input n best_of max_tokens stream stream_options size quality partial_images image images mask file "
    "echo suffix service_tier usage known_speaker_references provider response_format duration data".split()
)
SCALARS = st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False) | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4)
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)
FILES = st.binary(max_size=60) | st.sampled_from([b"RIFF\x00\x00\x00\x00WAVEfmt ", b"ID3\x04", b"\xff\xfb\x90\x00"])


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@given(fields=OBJECTS, answer=OBJECTS)
def test_json(dialect: Any, fields: dict[str, Any], answer: dict[str, Any]) -> None:
    for body in (fields, {"model": "m", "prompt": "x", "input": "x"} | fields):
        request = dialect.read_request(json.dumps(body).encode())
        if isinstance(request, Refusal):
            assert request.code == "request_invalid"
            continue
        asked = request.asked
        assert asked.text_tokens >= 0
        assert min(asked.choices, asked.rounds) >= 1
        assert json.loads(dialect.rewrite(request, output_limit=7, model="n"))["model"] == "n"
        said = json.dumps(answer).encode()
        dialect.read_answer(request, said)
        meter = dialect.stream_meter(request)
        meter.feed(b"data: " + said + b"\n\ndata: " + said[:5])
        meter.finish()


@pytest.mark.parametrize("dialect", DIALECTS[3:], ids=lambda dialect: dialect.name)
@given(texts=st.dictionaries(NAMES, st.text(max_size=10) | st.integers(-1, 200), max_size=4), file=FILES, name=NAMES)
def test_forms(dialect: Any, texts: dict[str, Any], file: bytes, name: str) -> None:
    request = dialect.read_request(form({"model": "m"} | texts | {name: file}), Head(content_type=FORM_TYPE))
    if isinstance(request, Refusal):
        assert request.code == "request_invalid"
    else:
        assert dialect.rewrite(request, output_limit=0)
        assert dialect.content_type(request)
