"""What providers say of batches: when they have ended, what is billed, and what is a doubt."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.deferral import Charged, Ended, Line, Pending
from comptroller.core.pricing.rates import Rates
from comptroller.core.pricing.terms import Terms
from comptroller.core.pricing.usage import Usage
from comptroller.wire.anthropic_messages import batch_reports as anthropic
from comptroller.wire.gemini import batch_reports as google
from comptroller.wire.lines import LineReader
from comptroller.wire.openai_batches import reports as openai

TERMS = {"m": Terms({"default": Rates(2_000_000, 4_000_000), "batch": Rates(1_000_000, 2_000_000)}, "batch")}
NOTHING = (Line("", Usage(0, 0, service_tier="batch")),)


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def message_batch(status: str = "ended", **counts: int) -> bytes:
    url = "https://api.anthropic.com/v1/messages/batches/b1/results" if status == "ended" else None
    return encoded({"id": "b1", "processing_status": status, "request_counts": counts, "results_url": url})


@pytest.mark.parametrize("status", ["in_progress", "canceling", "what comes next"])
def test_a_message_batch_that_goes_on(status: str) -> None:
    assert anthropic.read_report(message_batch(status, processing=2)) == Pending()


@pytest.mark.parametrize(
    ("counts", "outcome", "answered"),
    [
        ({"succeeded": 2}, "completed", 2),
        ({"succeeded": 1, "errored": 1}, "completed", 1),
        ({"succeeded": 1, "canceled": 1}, "cancelled", 1),
        ({"succeeded": 1, "expired": 1}, "expired", 1),
        ({"errored": 2}, "completed", 0),
        ({"canceled": 2}, "cancelled", 0),
    ],
)
def test_a_message_batch_that_has_ended(counts: dict[str, int], outcome: str, answered: int) -> None:
    report = anthropic.read_report(message_batch(**counts))
    assert isinstance(report, Ended)
    assert (report.outcome, report.answered) == (outcome, answered)
    if answered:
        assert (report.results, report.lines) == (("/v1/messages/batches/b1/results",), ())
    else:
        assert (report.results, report.lines) == ((), NOTHING), "nothing is fetched where nothing was made"


def test_results_are_at_the_gateway_for_whoever_reads_a_batch() -> None:
    answer = anthropic.read_batch_answer(message_batch(succeeded=1))
    assert answer.passed is not None
    assert json.loads(answer.passed)["results_url"] == "/v1/messages/batches/b1/results"
    assert b"api.anthropic.com" not in answer.passed + answer.told.encode()


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id": 1}', b'{"id": "b1"}', b'{"error": {"type": "x"}}'])
def test_what_is_no_batch_is_no_report(body: bytes) -> None:
    assert anthropic.read_report(body) is None
    assert openai.read_report(body) is None
    if body != b"{}":  # a cancel of Gemini is answered so
        assert google.read_report(body) is None
    assert anthropic.read_batch_answer(body).malformed
    assert google.read_batch_answer(body).malformed


def openai_batch(status: str, completed: int = 0, **fields: Any) -> bytes:
    counts = {"total": 3, "completed": completed, "failed": 0}
    return encoded({"id": "batch_1", "status": status, "request_counts": counts, **fields})


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", "what comes next"])
def test_an_openai_batch_that_goes_on(status: str) -> None:
    assert openai.read_report(openai_batch(status)) == Pending()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("completed", "completed"), ("expired", "expired"), ("cancelled", "cancelled"), ("failed", "provider_error")],
)
def test_an_openai_batch_that_has_ended(status: str, outcome: str) -> None:
    report = openai.read_report(openai_batch(status, 2, output_file_id="file-1", error_file_id="file-2"))
    assert isinstance(report, Ended)
    assert (report.outcome, report.results) == (outcome, ("/v1/files/file-1/content",))
    assert (report.files, report.answered) == (("file-1", "file-2"), 2)
    without = openai.read_report(openai_batch(status))
    assert isinstance(without, Ended)
    assert without.lines == NOTHING
    lost = openai.read_report(openai_batch(status, 2))
    assert isinstance(lost, Ended)
    assert (lost.lines, lost.results) == ((), ()), "answers without a file are a doubt"


def operation(state: str, *responses: Any, **metadata: Any) -> bytes:
    output = {"output": {"inlinedResponses": {"inlinedResponses": list(responses)}}} if responses else {}
    return encoded({"name": "batches/1", "metadata": {"state": f"BATCH_STATE_{state}", **output, **metadata}})


ANSWER = {"response": {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4}}}
FAILED = {"error": {"code": 500, "message": "no"}}


@pytest.mark.parametrize(
    ("body", "outcome", "lines"),
    [
        (operation("SUCCEEDED", ANSWER, FAILED), "completed", (Line("", Usage(3, 4, service_tier="batch")),)),
        (operation("SUCCEEDED", FAILED), "completed", NOTHING),
        (operation("SUCCEEDED", {"response": {}}), "completed", (Line("", None),)),
        (operation("CANCELLED", ANSWER), "cancelled", (Line("", Usage(3, 4, service_tier="batch")),)),
        (operation("CANCELLED", batchStats={"successfulRequestCount": "0"}), "cancelled", NOTHING),
        (operation("CANCELLED"), "cancelled", ()),  # nobody says what was made
        (operation("EXPIRED"), "expired", NOTHING),
        (operation("FAILED", batchStats={"successfulRequestCount": 0}), "provider_error", NOTHING),
        (operation("FAILED"), "provider_error", ()),
    ],
)
def test_a_gemini_batch_that_has_ended(body: bytes, outcome: str, lines: tuple[Line, ...]) -> None:
    report = google.read_report(body)
    assert isinstance(report, Ended)
    assert (report.outcome, report.lines) == (outcome, lines)
    assert "inlinedResponses" not in report.told, "lists show no results"


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "UNSPECIFIED"])
def test_a_gemini_batch_that_goes_on(state: str) -> None:
    assert google.read_report(operation(state)) == Pending()
    assert google.read_report(b"{}") == Pending()


def message(name: str, tokens: int) -> Any:
    usage = {"input_tokens": 1, "output_tokens": tokens, "service_tier": "batch"}
    return {"custom_id": name, "result": {"type": "succeeded", "message": {"model": "m", "usage": usage}}}


def chat(name: str, tokens: int, status: int = 200) -> Any:
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1 + tokens}
    body = {"object": "chat.completion", "model": "m", "service_tier": "default", "usage": usage}
    return {"custom_id": name, "response": {"status_code": status, "body": body}, "error": None}


def read(reader: LineReader, pieces: list[bytes]) -> list[Line]:
    return [line for piece in pieces for line in reader.feed(piece)] + list(reader.finish())


RESULTS = {
    "anthropic": (anthropic.ResultReader, [message("é" * 20, 4), {"custom_id": "b", "result": {"type": "errored"}}]),
    "openai": (openai.ResultReader, [chat("é" * 20, 4), chat("b", 9, 500), {"response": None, "error": {}}]),
}


@pytest.mark.parametrize("api", RESULTS)
@given(data=st.data())
def test_results_are_read_the_same_in_any_pieces(api: str, data: st.DataObject) -> None:
    kind, results = RESULTS[api]
    content = b"\n".join(json.dumps(each, ensure_ascii=False).encode() for each in results)
    content += data.draw(st.sampled_from([b"", b"\n", b"\r\n\n"]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    assert read(kind(TERMS), pieces) == [Line("", Usage(1, 4, service_tier="batch"))]


@pytest.mark.parametrize("api", RESULTS)
@pytest.mark.parametrize("content", [b"not JSON\n", b'{"custom_id": 1}\n[]\n', b'{"result": {"type": "succ'])
def test_what_is_no_file_of_results_is_said_to_be_none(api: str, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(RESULTS[api][0](TERMS), [content])


def test_a_line_without_usage_is_a_doubt_and_all_are_priced_as_batches() -> None:
    charged = Charged(TERMS)
    untold = {"custom_id": "a", "result": {"type": "succeeded", "message": {"model": "m"}}}
    for line in read(anthropic.ResultReader(TERMS), [encoded(message("b", 4)) + b"\n" + encoded(untold)]):
        charged.add(line)
    assert charged.doubt == ("usage_missing", "")
    assert (charged.lines, charged.nanos, charged.tier) == (1, 9, "batch")
