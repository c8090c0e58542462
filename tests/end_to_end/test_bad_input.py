"""What no honest client sends: a clear error, nothing charged, nothing sent upstream, and the gateway goes on."""

import gzip
import json
from typing import Any

import pytest

from tests.end_to_end.caller import CHAT, Said, ask, budget_of, chat, encoded, mint
from tests.end_to_end.plug import exchange
from tests.harness.gateway import GatewayProcess
from tests.sandbox.process import SandboxProcess

pytestmark = pytest.mark.processes

GOOD = encoded(chat(max_tokens=5))
MIB = 1024 * 1024
SHAPE = {"message", "type", "param", "code", "comptroller"}


@pytest.fixture(scope="module")
def credential(gateway_process: GatewayProcess) -> str:
    return mint(gateway_process)["credential"]


def assert_refused(said: Said, status: int, code: str) -> None:
    """The dialect's error shape with a stable code, a sentence for a person, and a word on trying again."""
    assert (said.status, said.code) == (status, code), said.body
    assert said.headers["content-type"] == "application/json"
    assert said.headers["x-comptroller-refusal"] == code
    assert said.headers["x-should-retry"] == "false"
    assert said.error.keys() == SHAPE
    assert said.error["message"].endswith(".")
    assert said.error["comptroller"]["call_id"] == said.call_id


def assert_nothing_happened(gateway: GatewayProcess, sandbox: SandboxProcess, credential: str) -> None:
    """Nothing went upstream and nothing is held; the next honest call is answered, and it alone is charged."""
    assert sandbox.count() == 0
    before = budget_of(gateway, "ant-all")
    assert before["held"] == "0.00"
    assert ask(gateway, credential, GOOD).status == 200
    assert sandbox.count() == 1
    assert "Traceback" not in gateway.log()


def spoilt(old: bytes, new: bytes) -> bytes:
    assert old in GOOD
    return GOOD.replace(old, new)


def deep(opening: bytes, middle: bytes, closing: bytes, levels: int) -> bytes:
    return spoilt(b'"max_tokens"', b'"x": ' + opening * levels + middle + closing * levels + b', "max_tokens"')


BODIES = {
    "empty": b"",
    "null": b"null",
    "array": b"[" + GOOD + b"]",
    "string": b'"messages"',
    "cut": GOOD[:-1],
    "zeros": bytes(20),
    "two values": GOOD + GOOD,
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "utf-16": GOOD.decode().encode("utf-16"),
    "invalid utf-8": spoilt(b"holds", b"h\xff\xfe"),
    "overlong utf-8": spoilt(b"holds", b"\xc0\xaf"),
    "lone surrogate": spoilt(b"holds", rb"\ud800"),
    "raw control character": spoilt(b"holds", b"\x00"),
    "nan": spoilt(b": 5", b": NaN"),
    "infinity": spoilt(b": 5", b": 1e999"),
    "comment": spoilt(b": 5", b": 5 /* five */"),
    "duplicate key": spoilt(b": 5", b': 5, "max_tokens": 5000'),
    "duplicate key, escaped": spoilt(b": 5", rb': 5, "max\u005ftokens": 5000'),
    "duplicate key, deep": spoilt(b'"role": "user"', b'"role": "user", "role": "system"'),
    "nested arrays": deep(b"[", b"", b"]", 500_000),
    "nested objects": deep(b'{"a":', b"1", b"}", 200),
    "nested, unclosed": b"[" * 500_000,
    "gzip that says it is plain": gzip.compress(GOOD),
    "number of 5000 digits": spoilt(b": 5", b": " + b"9" * 5000),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_not_an_object_of_strict_json(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, name: str
) -> None:
    assert_refused(ask(gateway, credential, BODIES[name]), 400, "request_invalid")
    assert_nothing_happened(gateway, sandbox, credential)


FIELDS: dict[str, list[Any]] = {
    "model": [None, 7, "", [], "x" * 5000, "sandbox-large\r\nx-header: y"],
    "messages": [None, "hi", [], {}, [7], [None]],
    "max_tokens": ["20", 0, -1, 1.5, True, [], {}],
    "max_completion_tokens": ["20", 0, -(10**30), 1.0],
    "n": ["1", 0, -1, 1.0, True, 10**9, 10**30],
    "stream": ["yes", 1, 0],
    "stream_options": [7, []],
    "service_tier": [7, "", "x" * 5000],
    "tools": ["x", {}, [7]],
}
WRONG = [(field, value) for field, values in FIELDS.items() for value in values]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=[f"{name}={str(value)[:12]!r}" for name, value in WRONG])
def test_a_field_of_the_wrong_type_or_size_is_named(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, field: str, value: Any
) -> None:
    said = ask(gateway, credential, chat(**{"stream": True, field: value}))
    assert_refused(said, 400, "request_invalid")
    assert said.error["param"].partition("[")[0] == field
    assert sandbox.count() == 0


@pytest.mark.parametrize("limit", [10**9, 2**63 - 1, 2**63, 2**64, 10**30, 10**300])
def test_an_absurd_output_limit_is_lowered_to_what_the_model_can_do(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, limit: int
) -> None:
    said = ask(gateway, credential, chat(max_tokens=limit))
    assert said.status == 200
    assert said.headers["x-comptroller-output-limit"] == "4096"
    (line,) = sandbox.settled()
    told = gateway.admin("GET", f"/calls/{said.call_id}/explanation")
    assert told["call"]["charge_usd"] == said.headers["x-comptroller-charge-usd"]
    assert told["output_limit"] == 4096
    assert line["client_request_id"] == f"{said.call_id}.1"


GZIPPED = gzip.compress(GOOD)
ENCODED = {
    "bomb": ("gzip", gzip.compress(bytes(50 * MIB)), 413, "body_too_large"),
    "bomb before the text": ("gzip", gzip.compress(b" " * 20 * MIB + GOOD), 413, "body_too_large"),
    "broken": ("gzip", GZIPPED[:20] + b"oops" + GZIPPED[24:], 400, "request_invalid"),
    "wrong checksum": ("gzip", GZIPPED[:-8] + bytes(4) + GZIPPED[-4:], 400, "request_invalid"),
    "cut": ("gzip", GZIPPED[:-3], 400, "request_invalid"),
    "empty": ("gzip", b"", 400, "request_invalid"),
    "trailing bytes": ("gzip", GZIPPED + b"x", 400, "request_invalid"),
    "second member": ("gzip", GZIPPED + GZIPPED, 400, "request_invalid"),
    "plain": ("gzip", GOOD, 400, "request_invalid"),
    "brotli": ("br", GOOD, 400, "request_invalid"),
    "deflate": ("deflate", GOOD, 400, "request_invalid"),
    "two codings": ("gzip, gzip", gzip.compress(GZIPPED), 400, "request_invalid"),
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_content_coding_that_is_unknown_broken_or_a_bomb(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, name: str
) -> None:
    coding, body, status, code = ENCODED[name]
    said = ask(gateway, credential, body, headers={"content-encoding": coding})
    assert_refused(said, status, code)
    assert_nothing_happened(gateway, sandbox, credential)


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "identity"])
def test_a_content_coding_that_we_read(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, coding: str
) -> None:
    body = GOOD if coding == "identity" else GZIPPED
    assert ask(gateway, credential, body, headers={"content-encoding": coding}).status == 200
    assert sandbox.count() == 1


def head(credential: str, *lines: str, target: str = CHAT) -> bytes:
    """A request head whose connection ends with the answer."""
    usual = ("host: gateway", f"authorization: Bearer {credential}", "content-type: application/json")
    return "\r\n".join((f"POST {target} HTTP/1.1", *usual, *lines, "connection: close", "", "")).encode()


def test_a_body_of_10_mib_is_taken_and_one_above_is_not(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str
) -> None:
    padding = 10 * MIB - len(encoded(chat("", model="nobody-serves-this")))
    bodies = [encoded(chat("x" * (padding + more), model="nobody-serves-this")) for more in (0, 1)]
    assert_refused(ask(gateway, credential, bodies[0]), 404, "model_unknown")  # it was read
    assert_refused(ask(gateway, credential, bodies[1]), 413, "body_too_large")
    assert_nothing_happened(gateway, sandbox, credential)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_an_oversized_body_is_refused_before_it_has_come(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, declared: bool
) -> None:
    if declared:
        answer = exchange(gateway.port, [head(credential, f"content-length: {10**15}"), GOOD])
    else:
        chunk = b"100000\r\n" + b" " * MIB + b"\r\n"
        answer = exchange(gateway.port, [head(credential, "transfer-encoding: chunked"), *[chunk] * 12])
    status, _, body = answer.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 413")
    assert json.loads(body)["error"]["code"] == "body_too_large"
    assert_nothing_happened(gateway, sandbox, credential)


HEADS = {
    "one huge header": ["x-long: " + "x" * 70_000],
    "huge headers together": [f"x-{number}: " + "x" * 1000 for number in range(70)],
    "too many headers": [f"x-{number}: y" for number in range(200)],
    "two lengths": ["content-length: 5", "content-length: 6"],
    "length that is no number": ["content-length: 5x"],
    "length below zero": ["content-length: -5"],
    "length and chunks": ["content-length: 5", "transfer-encoding: chunked"],
    "unknown transfer coding": ["transfer-encoding: gzip"],
    "space before the colon": ["x-name : y"],
    "no colon": ["x-name"],
    "folded": ["x-name: a", " b"],
    "control character": ["x-name: \x01"],
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_the_parser_refuses(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, name: str
) -> None:
    answer = exchange(gateway.port, [head(credential, *HEADS[name]), b"0\r\n\r\n"])
    assert answer[:12] in {b"HTTP/1.1 400", b""}, answer[:200]  # or just hung up
    assert_nothing_happened(gateway, sandbox, credential)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\r\n" * 50,
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["nothing", "blank lines", "no target", "tls", "http/2"],
)
def test_what_is_no_request_at_all(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, line: bytes
) -> None:
    answer = exchange(gateway.port, [line], hang_up=True)
    assert not answer or answer.startswith(b"HTTP/1.1 400")
    assert_nothing_happened(gateway, sandbox, credential)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_another_method_on_a_route(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, method: str
) -> None:
    said = ask(gateway, credential, GOOD, method=method)
    assert_refused(said, 405, "method_not_allowed")
    assert said.headers["allow"] == "POST"
    assert sandbox.count() == 0


PATHS = [
    "/",
    "/v1",
    "/v1/edits",
    "/v1/fine_tuning/jobs",
    f"{CHAT}/",
    f"{CHAT}/x",
    f"/{CHAT}",
    f"{CHAT};x=1",
    f"{CHAT}%00",
    f"{CHAT}%0d%0ax:y",
    "/V1/chat/completions",
    "/v1/./chat/completions",
    "/v1/x/../chat/completions",
    "/v1/x/%2e%2e/chat/completions",
    "/v1/chat\\completions",
    "/sandbox/bill",
    "/api/v1/status",
    "/" + "x" * 5000,
    "*",
]


@pytest.mark.parametrize("path", PATHS, ids=[path[:30] for path in PATHS])
def test_a_path_that_is_no_route(gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, path: str) -> None:
    for method in ("POST", "GET"):
        assert_refused(ask(gateway, credential, GOOD, method=method, path=path), 404, "route_unknown")
    assert sandbox.count() == 0


@pytest.mark.parametrize(
    "target", [f"{CHAT}?api_key=x&path=/v1/models", f"http://127.0.0.1:1{CHAT}", "/v1/chat%2Fcompletions", f"{CHAT}#x"]
)
def test_however_the_route_is_spelt_upstream_sees_its_own_path_alone(
    gateway: GatewayProcess, sandbox: SandboxProcess, credential: str, target: str
) -> None:
    """Where such a spelling is taken, it is the governed route: held, charged, sent to the provider that serves it."""
    said = ask(gateway, credential, GOOD, path=target)
    lines = sandbox.requests()
    if said.status != 200:
        assert not lines
    else:
        assert [line["path_query"] for line in lines] == [CHAT]
        assert said.headers["x-comptroller-charge-usd"] != "0.00"
