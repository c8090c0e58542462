"""Batches as they are read: every line bounded and limited by itself, and one that cannot be refuses all of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.core.pricing.charge import charge_nanos
from comptroller.core.pricing.deferral import Ended
from comptroller.core.pricing.estimate import Estimate, ModelLimits, estimate
from comptroller.core.pricing.rates import Rates, Size
from comptroller.core.pricing.tariff import Tariff
from comptroller.core.pricing.terms import Terms
from comptroller.core.pricing.usage import Usage
from comptroller.core.refusal import Refusal
from comptroller.wire.anthropic_messages import batches as anthropic
from comptroller.wire.batch import MOST_LINES
from comptroller.wire.gemini import batch_reports as google_reports
from comptroller.wire.gemini import batches as google
from comptroller.wire.head import Head
from comptroller.wire.openai_batches import lines as files
from comptroller.wire.openai_batches import reports

MODEL = "claude-sonnet-4-5"
LONG = Rates(input=3_000_000_000, output=15_000_000_000)
RATES = Rates(input=1_500_000_001, output=7_500_000_003, sizes=(Size(200, LONG),))
TARIFF = Tariff({"default": LONG, "batch": RATES})
LIMITS = ModelLimits(max_output_tokens=1_000)


def params(text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **fields}


def body(*lines: dict[str, Any], **fields: Any) -> bytes:
    requests = [{"custom_id": f"line-{number}", "params": line} for number, line in enumerate(lines)]
    return json.dumps({"requests": requests, **fields}).encode()


def read(*lines: dict[str, Any]) -> anthropic.BatchRequest:
    found = anthropic.read_batch(body(*lines))
    assert isinstance(found, anthropic.BatchRequest), found
    return found


def refused(sent: bytes) -> Refusal:
    found = anthropic.read_batch(sent)
    assert isinstance(found, Refusal)
    return found


def bound(request: anthropic.BatchRequest | google.BatchRequest, limits: ModelLimits = LIMITS) -> Estimate:
    found = estimate(request.asked, limits, TARIFF, 10_000, money=True, metered=True)
    assert isinstance(found, Estimate), found
    return found


@pytest.mark.parametrize(
    ("sent", "code", "says"),
    [
        (b"[]", "request_invalid", "not the JSON of a batch"),
        (b'{"requests": {}}', "request_invalid", "not the JSON of a batch"),
        (b'{"requests": []}', "request_invalid", "no lines"),
        (body(*[params()] * (MOST_LINES + 1)), "request_invalid", f"{MOST_LINES + 1:,} lines"),
        (body(params(), webhook="https://a.example"), "request_invalid", "no field 'webhook'"),
        (b'{"requests": [{"custom_id": "a"}]}', "request_invalid", "`requests[0]` is not a line"),
        (b'{"requests": [{"custom_id": "a b", "params": {}}]}', "request_invalid", "'a b' is none"),
        (b'{"requests": [{"custom_id": "a", "params": {}, "url": 1}]}', "request_invalid", "a field 'url'"),
        (body(params(), params(max_tokens=None)), "request_invalid", "Line 'line-1': `max_tokens` must be"),
        (body(params(), params(stream=True)), "request_invalid", "Line 'line-1' asks for a stream"),
        (body(params(speed="fast")), "request_invalid", "`speed` 'fast' is not offered"),
        (body(params(), params(model="claude-haiku-4-5")), "unsupported", "Line 'line-1' asks for 'claude-haiku-4-5'"),
    ],
)
def test_one_wrong_line_refuses_all_by_its_name(sent: bytes, code: str, says: str) -> None:
    refusal = refused(sent)
    assert refusal.code == code
    assert says in refusal.sentence
    assert refusal.hint


def test_a_name_stands_once() -> None:
    twice = {"custom_id": "a", "params": params()}
    assert "Two lines" in refused(json.dumps({"requests": [twice, twice]}).encode()).sentence


def test_a_key_that_stands_twice_in_a_line_is_refused() -> None:
    line = json.dumps(params()).replace('"max_tokens": 100', '"max_tokens": 100, "max_tokens": 1')
    refusal = refused(b'{"requests": [{"custom_id": "a", "params": ' + line.encode() + b"}]}")
    assert "Line 'a': The key 'max_tokens' stands twice" in refusal.sentence
    assert refusal.param == "requests[0].params.max_tokens"


def test_what_goes_upstream_is_what_was_read() -> None:
    """Another list of requests, which another parser would take, is not in it."""
    sent = b'{"requests": [{"custom_id": "evil", "params": {}}], ' + body(params())[1:]
    found = anthropic.read_batch(sent)
    assert isinstance(found, anthropic.BatchRequest)
    assert b"evil" not in anthropic.rewrite_batch(found, output_limit=100)


def test_every_line_has_its_own_limit_and_none_above_the_models() -> None:
    request = read(params(max_tokens=5), params(max_tokens=700), params(max_tokens=90_000))
    whole = bound(request)
    assert (whole.wanted_output_tokens, whole.calls, whole.fixed) == (1_000, 3, True)
    sent = json.loads(anthropic.rewrite_batch(request, output_limit=whole.wanted_output_tokens, model="other"))
    assert [line["params"]["max_tokens"] for line in sent["requests"]] == [5, 700, 1_000]
    assert {line["params"]["model"] for line in sent["requests"]} == {"other"}
    assert whole.all_output(whole.wanted_output_tokens) == 1_705


def test_a_line_without_a_bound_refuses_all_by_its_name() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://a.example/a.png"}}
    request = read(params(), params(messages=[{"role": "user", "content": [image]}]))
    found = estimate(request.asked, LIMITS, TARIFF, 10_000, money=True, metered=True)
    assert isinstance(found, Refusal)
    assert (found.code, found.sentence[:14]) == ("estimate_unbounded", "Line 'line-1':")


def test_batches_of_a_model_without_their_price_are_refused() -> None:
    found = estimate(read(params()).asked, LIMITS, Tariff({"default": LONG}), 10_000, money=True, metered=True)
    assert isinstance(found, Refusal)
    assert found.code == "price_unknown"
    assert "service tier 'batch'" in found.sentence


def test_only_the_us_is_dearer_where_a_line_asks_for_it_or_leaves_it_open() -> None:
    tiers = [line.request.asked.possible_tiers for line in read(params(), params(inference_geo="us")).lines]
    assert tiers == [{"batch", "batch-us"}, {"batch-us"}]


lines = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 1_500), st.integers(0, 12), st.integers(0, 100)), min_size=1
)


@given(lines, st.sampled_from([10_000, 12_345]))
def test_no_bill_of_its_lines_is_above_the_bound_of_a_batch(
    sizes: list[tuple[int, int, int, int]], factor_bp: int
) -> None:
    """However the lines are weighed together: each may use all of its text, and make all that its limit lets it."""
    request = read(*(params("x" * size, max_tokens=limit) for size, limit, _, _ in sizes))
    whole = estimate(request.asked, LIMITS, TARIFF, factor_bp, money=True, metered=True)
    assert isinstance(whole, Estimate)
    billed = tokens = 0
    for line, (_, limit, less_in, less_out) in zip(request.lines, sizes, strict=True):
        read_in = max(0, line.request.asked.text_tokens - less_in)
        usage = Usage(read_in, max(0, min(limit, LIMITS.max_output_tokens) - less_out))
        billed += charge_nanos(usage, RATES)
        tokens += usage.total_tokens
    assert billed <= whole.amount_nanos(whole.wanted_output_tokens)
    assert tokens <= whole.tokens(whole.wanted_output_tokens)


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=30))
def test_lines_that_are_alike_are_weighed_as_one_by_one(sizes: list[int]) -> None:
    together = bound(read(*(params("x" * size) for size in sizes)), ModelLimits(max_output_tokens=1_000))
    alone = [bound(read(params("x" * size))) for size in sizes]
    assert together.input_tokens == sum(each.input_tokens for each in alone)
    assert together.amount_nanos(100) >= sum(each.amount_nanos(100) for each in alone) - 2 * len(sizes)


def inlined(*requests: dict[str, Any], **about: Any) -> bytes:
    given_requests = [{"request": each, "metadata": {"key": f"k{number}"}} for number, each in enumerate(requests)]
    return json.dumps({"batch": {"inputConfig": {"requests": {"requests": given_requests}}, **about}}).encode()


CONTENTS = {"contents": [{"parts": [{"text": "hello"}]}]}
HEAD = Head("gemini-2.5-flash")


def test_gemini_lines_have_limits_of_their_own_and_the_models_of_the_path() -> None:
    short = {**CONTENTS, "generationConfig": {"max_output_tokens": 7}, "model": "models/gemini-2.5-flash"}
    request = google.read_batch(inlined(CONTENTS, short, display_name="mine"), HEAD)
    assert isinstance(request, google.BatchRequest)
    whole = bound(request)
    sent = json.loads(google.rewrite_batch(request, output_limit=whole.wanted_output_tokens))["batch"]
    assert sent["displayName"] == "mine"
    open_line, short_line = sent["inputConfig"]["requests"]["requests"]
    assert open_line["request"]["generationConfig"] == {"maxOutputTokens": 1_000}
    assert short_line["request"]["generationConfig"] == {"max_output_tokens": 7}
    assert short_line["metadata"] == {"key": "k1"}


@pytest.mark.parametrize(
    ("sent", "code", "says"),
    [
        (b"{}", "request_invalid", "not the JSON of a batch"),
        (b'{"batch": {"inputConfig": {"fileName": "files/1"}}}', "unsupported", "those of a file"),
        (inlined(), "request_invalid", "no lines"),
        (inlined(CONTENTS, {}), "request_invalid", "Line 'k1': The request has no `contents`"),
        (inlined({**CONTENTS, "serviceTier": "flex"}), "request_invalid", "Line 'k0': A request of a batch has no"),
        (inlined({**CONTENTS, "model": "models/other"}), "request_invalid", "the path says 'gemini-2.5-flash'"),
        (inlined(CONTENTS, webhookConfig={"uri": "https://a.example"}), "request_invalid", "no field 'webhookConfig'"),
    ],
)
def test_gemini_refuses_by_the_line(sent: bytes, code: str, says: str) -> None:
    found = google.read_batch(sent, HEAD)
    assert isinstance(found, Refusal)
    assert (found.code, says in found.sentence) == (code, True), found.sentence


def chat_line(name: str, **fields: Any) -> bytes:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], **fields}
    return json.dumps({"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": asked}).encode()


def test_a_line_of_a_file_is_one_line_for_every_parser() -> None:
    """Python and others end a line at a carriage return too, and would find a whole line in the middle of this one."""
    inside = chat_line("inside", model="dear")
    tools = b'[{"type": "function", "function": {"name": "f", "parameters": \r%b\r}}]' % inside
    sent = chat_line("outside", tools=0).replace(b'"tools": 0', b'"tools": ' + tools)
    found = files.read_file(sent + b"\r\n" + chat_line("second") + b"\r\n")
    assert isinstance(found, files.BatchFile), found
    leaves = files.rewrite_file(found, output_limit=5, field="max_tokens")
    assert len(leaves.splitlines()) == 2


def test_line_breaks_are_counted_before_they_are_lines() -> None:
    found = files.read_file(chat_line("one") + b"\n" * 1_000_000)
    assert isinstance(found, Refusal)
    assert "line breaks" in found.sentence


def test_fewer_answers_than_gemini_says_it_made_are_a_doubt() -> None:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 2, "totalTokenCount": 12}
    answers = {"inlinedResponses": {"inlinedResponses": [{"response": {"usageMetadata": usage}}]}}
    metadata = {"state": "BATCH_STATE_SUCCEEDED", "batchStats": {"successfulRequestCount": "2"}, "output": answers}
    report = google_reports.read_report(json.dumps({"name": "batches/b", "metadata": metadata, "done": True}).encode())
    assert isinstance(report, Ended)
    assert (len(report.lines), report.answered) == (1, 2)


def test_cache_writes_of_an_hour_are_charged_as_such_in_a_file_of_results() -> None:
    """No report tells them apart; whether there may be some was said when the batch was made."""
    usage = {
        "prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 60},
    }  # fmt: skip
    answer = {"status_code": 200, "body": {"object": "chat.completion", "model": MODEL, "usage": usage}}
    result = json.dumps({"custom_id": "one", "response": answer, "error": None}).encode() + b"\n"
    for long in (False, True):
        reader = reports.ResultReader({MODEL: Terms({"batch": RATES}, long_cache_writes=long)})
        [line] = reader.feed(result)
        assert line.usage is not None
        assert line.usage.cache_write_1h_tokens == (60 if long else 0)


def test_what_may_hold_images_is_known_of_a_batch_as_of_its_lines() -> None:
    part = {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}}
    found = files.read_file(chat_line("one", messages=[{"role": "user", "content": [part]}]))
    assert isinstance(found, files.BatchFile), found
    assert found.asked.may_hold_images
