"""The bytes of HTTP: a request cannot be broken out of, a response reads the same however it is cut."""

import itertools
import re

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.gateway.egress_protocol import MAX_HEADERS, ProtocolViolation, ResponseReader, request_head

HOST = b"host: provider.example"
BOUND = 1 << 16


def test_a_request_as_it_goes_out() -> None:
    head = request_head("POST", "/v1/x?a=b", HOST, [(b"authorization", b"Bearer k"), (b"x-empty", b"")], 12)
    assert head == (
        b"POST /v1/x?a=b HTTP/1.1\r\nhost: provider.example\r\ncontent-length: 12\r\n"
        b"authorization: Bearer k\r\nx-empty: \r\n\r\n"
    )


def test_a_get_without_body_has_no_length() -> None:
    assert request_head("GET", "/", HOST, [], 0) == b"GET / HTTP/1.1\r\nhost: provider.example\r\n\r\n"
    assert b"content-length: 0" in request_head("POST", "/", HOST, [], 0)


@pytest.mark.parametrize(
    "path", ["", "x", "/a b", "/a\r\nx: y", "/a\n", "/a\0", "/ä", "/a\x7f", "/\t", "http://other.example/"]
)
def test_a_path_that_would_break_out_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        request_head("POST", path, HOST, [], 0)


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\n", b"\r", b"a\0b", b"a\r\n\r\nGET / HTTP/1.1"])
def test_a_header_value_that_would_break_out_is_refused_and_not_quoted(value: bytes) -> None:
    with pytest.raises(ValueError, match="CR, LF or NUL") as refused:
        request_head("POST", "/", HOST, [(b"authorization", b"secret" + value)], 0)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [b"", b"a b", b"a:", b"a\r\n", b"A", b"a\0", b"\xff", b"content-length", b"host", b"transfer-encoding",
     b"connection", b"upgrade", b"expect"],
)  # fmt: skip
def test_a_header_name_that_is_not_the_callers_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="request header"):
        request_head("POST", "/", HOST, [(name, b"1")], 0)


@pytest.mark.parametrize("method", ["CONNECT", "post", "", "GET /", "POST\r\n", "TRACE"])
def test_a_method_that_no_provider_has_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="method"):
        request_head(method, "/", HOST, [], 0)


class Received:
    """What a server understands of the bytes."""

    def __init__(self, raw: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body, self.target, self.begun, self.ended = b"", b"", 0, 0
        httptools.HttpRequestParser(self).feed_data(raw)

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ended += 1


@given(
    path=st.text(st.characters(max_codepoint=0x17F), max_size=20).map("/".__add__),
    headers=st.lists(
        st.tuples(st.sampled_from([b"x-a", b"accept"]), st.binary(max_size=20) | st.just(b"x\r\n\r\nGET / HTTP/1.1"))
    ),
    body=st.binary(max_size=30),
)
def test_what_goes_out_is_understood_as_one_request_or_does_not_go_out(
    path: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    try:
        head = request_head("POST", path, HOST, headers, len(body))
    except ValueError:
        return
    try:
        got = Received(head + body)
    except httptools.HttpParserError:
        # A server may still find a control character distasteful; what counts is that it sees no second request.
        assert re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", head)
        return
    assert (got.begun, got.ended, got.target, got.body) == (1, 1, path.encode(), body)
    assert [name for name, _ in got.headers] == [b"host", b"content-length", *(name for name, _ in headers)]
    assert [value.strip(b" \t") for _, value in got.headers[2:]] == [value.strip(b" \t") for _, value in headers]


class Case:
    def __init__(self, raw: bytes, status: int, body: bytes, *, clean: bool = True, eof: bool = False) -> None:
        self.raw, self.status, self.body, self.clean, self.eof = raw, status, body, clean, eof


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CASES = {
    "length": Case(OK + b"Content-Length: 5\r\n\r\nhello", 200, b"hello"),
    "length with line ends in the body": Case(OK + b"content-length: 6\r\n\r\n\r\n\r\n\r\n", 200, b"\r\n" * 3),
    "nothing": Case(OK + b"Content-Length: 0\r\n\r\n", 200, b""),
    "chunks": Case(CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 200, b"hello"),
    "chunks in capitals": Case(
        OK + b"TRANSFER-ENCODING: Chunked\r\n\r\n00A\r\n0123456789\r\n000\r\n\r\n", 200, b"0123456789"
    ),
    "no chunk": Case(CHUNKED + b"0\r\n\r\n", 200, b""),
    "chunk extensions": Case(CHUNKED + b"3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 200, b"hello"),
    "chunks with line ends": Case(CHUNKED + b"4\r\n\r\n\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n", 200, b"\r\n\r\n0\r\n\r\n"),
    "trailers": Case(CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: 12\r\n\r\n", 200, b"hi", clean=False),
    "until the end": Case(OK + b"A: b\r\n\r\nhello\r\n", 200, b"hello\r\n", clean=False, eof=True),
    "until the end, nothing": Case(OK + b"A: b\r\n\r\n", 200, b"", clean=False, eof=True),
    "old": Case(b"HTTP/1.0 200 OK\r\n\r\nhello", 200, b"hello", clean=False, eof=True),
    "old with a length": Case(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", clean=False),
    "old, kept alive": Case(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", clean=False
    ),
    "close": Case(OK + b"Connection: Close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", clean=False),
    "close, said twice": Case(
        OK + b"Connection: close\r\nConnection: x\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", clean=False
    ),
    "close among chunks": Case(
        OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, b"hi", clean=False
    ),
    "no content": Case(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "no content with a length": Case(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, b""),
    "not modified": Case(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
    "continue": Case(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi", 200, b"hi"),
    "hints": Case(
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + CHUNKED + b"2\r\nhi\r\n0\r\n\r\n",
        200,
        b"hi",
    ),
    "redirect": Case(b"HTTP/1.1 307 Go\r\nLocation: http://x/\r\nContent-Length: 1\r\n\r\n.", 307, b"."),
    "no reason": Case(b"HTTP/1.1 529\r\nContent-Length: 2\r\n\r\nhi", 529, b"hi"),
    "more than announced": Case(OK + b"Content-Length: 5\r\n\r\nhello!", 200, b"hello", clean=False),
    "a line end too many": Case(OK + b"Content-Length: 5\r\n\r\nhello\r\n", 200, b"hello", clean=False),
    "a line end after chunks": Case(CHUNKED + b"2\r\nhi\r\n0\r\n\r\n\r\n", 200, b"hi", clean=False),
    "many line ends after chunks": Case(CHUNKED + b"2\r\nhi\r\n0\r\n\r\n\r\n\r\n\r\n", 200, b"hi", clean=False),
    "a chunk after the last": Case(CHUNKED + b"2\r\nhi\r\n0\r\n\r\n0\r\n\r\n", 200, b"hi", clean=False),
    "a second answer": Case(
        CHUNKED + b"2\r\nhi\r\n0\r\n\r\n" + CHUNKED + b"1\r\n!\r\n0\r\n\r\n", 200, b"hi", clean=False
    ),
    "a second answer after a length": Case(
        OK + b"Content-Length: 2\r\n\r\nhi" + OK + b"Content-Length: 1\r\n\r\n!", 200, b"hi", clean=False
    ),
    "content after no content": Case(b"HTTP/1.1 204 None\r\nContent-Length: 2\r\n\r\nhi", 204, b"", clean=False),
}  # fmt: skip


def read(pieces: list[bytes], *, eof: bool = False) -> tuple[int, bytes, bool, bool, list[tuple[bytes, bytes]]]:
    reader = ResponseReader(BOUND)
    body = b""
    for piece in pieces:
        reader.feed(piece)
        body += reader.take()
    if eof:
        assert not reader.complete
        assert reader.end()
    assert reader.received == len(body)
    return reader.status, body, reader.complete, reader.clean, list(reader.headers)


@pytest.mark.parametrize("name", CASES)
def test_a_response_reads_the_same_at_every_cut(name: str) -> None:
    case = CASES[name]
    whole = read([case.raw], eof=case.eof)
    assert whole[:4] == (case.status, case.body, True, case.clean)
    for at in range(len(case.raw) + 1):
        assert read([case.raw[:at], case.raw[at:]], eof=case.eof) == whole
    assert read([bytes([byte]) for byte in case.raw], eof=case.eof) == whole


@given(name=st.sampled_from(sorted(CASES)), cuts=st.lists(st.integers(0, 300), max_size=12))
def test_a_response_reads_the_same_at_many_cuts(name: str, cuts: list[int]) -> None:
    case = CASES[name]
    edges = [0, *sorted(cuts), len(case.raw)]
    pieces = [case.raw[start:end] for start, end in itertools.pairwise(edges)]
    assert b"".join(pieces) == case.raw
    assert read(pieces, eof=case.eof) == read([case.raw], eof=case.eof)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.clean])
def test_an_end_before_the_end_is_a_cut(name: str) -> None:
    case = CASES[name]
    for at in range(len(case.raw)):
        reader = ResponseReader(BOUND)
        reader.feed(case.raw[:at])
        assert not reader.end(), case.raw[:at]


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    cuts=st.lists(st.integers(0, 600), max_size=12),
    extra=st.sampled_from([b"", b"", b"\r\n", b"x", b"0\r\n\r\n"]),
)
def test_chunks_of_any_bytes(pieces: list[bytes], cuts: list[int], extra: bytes) -> None:
    raw = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n" + extra
    edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    got = read([raw[start:end] for start, end in itertools.pairwise(edges)])
    assert got[:4] == (200, b"".join(pieces), True, not extra)


def test_headers_come_in_order_lower_case_and_trimmed() -> None:
    reader = ResponseReader(BOUND)
    reader.feed(OK + b"X-B:  one \t\r\nX-A:\r\nx-b: \xff\r\nContent-Length: 0\r\n\r\n")
    assert reader.headers == [(b"x-b", b"one"), (b"x-a", b""), (b"x-b", b"\xff"), (b"content-length", b"0")]


def test_the_answer_to_a_head_request_has_no_body() -> None:
    reader = ResponseReader(BOUND, no_body=True)
    reader.feed(OK + b"Content-Length: 500\r\n\r\n")
    assert (reader.complete, reader.clean) == (True, True)


def test_how_long_the_server_keeps_a_connection() -> None:
    reader = ResponseReader(BOUND)
    reader.feed(OK + b"Keep-Alive: max=100, timeout=5\r\nContent-Length: 0\r\n\r\n")
    assert reader.keep_alive_s == 5


VIOLATIONS = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a word": b"no",
    "a page": b"<html>\r\n\r\n",
    "http 2": b"HTTP/2 200\r\n\r\n",
    "http 2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "http 1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "an empty line first": b"\r\n\r\n" + OK + b"\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nA: b\n\n",
    "a bare line feed": OK + b"A: b\nB: c\r\n\r\n",
    "a folded header": OK + b"A: b\r\n c\r\n\r\n",
    "a space before the colon": OK + b"A : b\r\n\r\n",
    "no name": OK + b": b\r\n\r\n",
    "no colon": OK + b"A\r\n\r\n",
    "NUL": OK + b"A: b\0\r\n\r\n",
    "a long status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a short status": b"HTTP/1.1 20 OK\r\n\r\n",
    "status zero": b"HTTP/1.1 000 OK\r\n\r\n",
    "status 99": b"HTTP/1.1 099 OK\r\n\r\n",
    "a status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "another protocol from here on": b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "101 without an upgrade": b"HTTP/1.1 101 Go\r\n\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "a length of words": OK + b"Content-Length: five\r\n\r\n",
    "a negative length": OK + b"Content-Length: -5\r\n\r\n",
    "no length at all": OK + b"Content-Length:\r\n\r\n",
    "an absurd length": OK + b"Content-Length: 9999999999999999999\r\n\r\n",
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "an unasked coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunks not last": OK + b"Transfer-Encoding: chunked, identity\r\n\r\n",
    "a coding without chunks": OK + b"Transfer-Encoding: gzip\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a chunk size of words": CHUNKED + b"five\r\n",
    "an absurd chunk size": CHUNKED + b"ffffffffffffffffff\r\n",
    "a chunk longer than it says": CHUNKED + b"2\r\nhel\r\n",
    "too many headers": OK + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
    "a head too long": OK + b"A: " + b"b" * BOUND,
    "a long head, finished": OK + b"A: " + b"b" * BOUND + b"\r\n\r\n",
    "hints without end": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 2000,
    "extensions without end": CHUNKED + b"1;" + b"x" * (BOUND + 1),
    "trailers without end": CHUNKED + b"0\r\n" + b"a: b\r\n" * 20_000,
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_is_no_answer_is_said_to_be_none(name: str) -> None:
    raw = VIOLATIONS[name]
    for size in (len(raw), 1000, 1):
        if len(raw) // size > 5000:
            continue
        with pytest.raises(ProtocolViolation):
            read([raw[at : at + size] for at in range(0, len(raw), size)])


def test_what_came_before_a_violation_can_be_read() -> None:
    reader = ResponseReader(BOUND)
    with pytest.raises(ProtocolViolation):
        reader.feed(CHUNKED + b"2\r\nhi\r\nnonsense\r\n")
    assert (reader.status, reader.take()) == (200, b"hi")
