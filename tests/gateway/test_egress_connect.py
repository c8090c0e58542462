"""Connections: who may be connected to, what TLS must prove, and that nothing was written when none came about."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator

import pytest

from comptroller.flow.upstream import Timeouts, UpstreamFailure
from comptroller.gateway.egress import Egress
from comptroller.gateway.egress_connect import tls_context
from tests.gateway.egress_world import (
    LOOP_NAMES,
    LOOPS,
    Talk,
    after_the_request,
    ask,
    ask_in_vain,
    egress_to,
    exchange,
    never,
    provider,
    respond,
    within,
)
from tests.harness.authority import Authority

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=LOOP_NAMES)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def test_nobody_listens() -> None:
    async with provider(never) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(port=free_port()))
        assert (failed.kind, failed.written) == ("connect", False)


async def test_a_name_that_does_not_exist() -> None:
    async with provider(never) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(host="nobody.invalid"))
        assert (failed.kind, failed.written) == ("connect", False)


@contextlib.contextmanager
def black_hole(host: str, port: int = 0) -> Iterator[int]:
    """A listener whose queue is full drops what asks to come in."""
    with socket.socket() as listener, contextlib.ExitStack() as crowd:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            one = crowd.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("limits", [within(connect_s=0.1), within(total_s=0.1)])
async def test_a_connection_that_does_not_come(limits: Timeouts) -> None:
    with black_hole("127.0.0.1") as port:
        async with provider(never) as world, egress_to(Egress()) as egress:
            failed = await ask_in_vain(egress, world.origin(port=port), timeouts=limits)
            assert failed.kind == ("connect" if limits.connect_s == 0.1 else "total_timeout")
            assert not failed.written


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "::ffff:127.0.0.1"])
async def test_an_address_that_was_not_named_is_not_visited(host: str) -> None:
    async with provider(never) as world, egress_to(Egress()) as egress:
        for scheme in ("http", "https"):
            failed = await ask_in_vain(egress, world.origin(host=host, scheme=scheme, allow_private=False))
            assert (failed.kind, failed.written) == ("forbidden_address", False)
        assert world.connections == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "0.0.0.0", "::ffff:169.254.169.254", "1.1.1.1", "fe80::1%lo"])
async def test_an_address_that_no_naming_opens_to_plain_http(host: str) -> None:
    async with provider(never) as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(host=host))
        assert (failed.kind, failed.written) == ("forbidden_address", False)


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """From now on every name has these addresses; returns the names asked for."""
    asked: list[str] = []

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    return asked


async def test_a_name_is_asked_for_once_and_each_address_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider(after_the_request(respond(b"hi"))) as world, egress_to(Egress()) as egress:
        asked = answers(monkeypatch, "169.254.169.254", "1.1.1.1", "127.0.0.1")
        assert (await ask(egress, world.origin(host="provider.example"))).body == b"hi"
        assert asked == ["provider.example"]
        answers(monkeypatch, "169.254.169.254", "1.1.1.1")
        failed = await ask_in_vain(egress, world.origin(host="provider.example", path_prefix="/x"))
        assert (failed.kind, world.connections) == ("forbidden_address", 1)
        assert "169.254.169.254 is link-local" in failed.detail


async def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider(after_the_request(respond(b"hi"))) as world, egress_to(Egress()) as egress:
        answers(monkeypatch, "127.0.0.2", "127.0.0.1")  # the provider listens on the second only
        assert (await ask(egress, world.origin(host="provider.example"))).body == b"hi"


async def test_an_address_that_swallows_packets_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider(after_the_request(respond(b"hi"))) as world, egress_to(Egress()) as egress:
        with black_hole("127.0.0.2", world.port):
            answers(monkeypatch, "127.0.0.2", "127.0.0.1")
            limits = within(connect_s=0.6)
            assert (await ask(egress, world.origin(host="provider.example"), timeouts=limits)).body == b"hi"


async def test_the_word_of_a_server_that_speaks_first_is_at_most_an_answer() -> None:
    async def script(talk: Talk) -> None:
        await talk.say(respond(b"go away", status="503 Busy"))

    async with provider(script) as world, egress_to(Egress()) as egress:
        call = exchange(egress, world.origin())
        with contextlib.suppress(UpstreamFailure):
            await call.start()
        assert call.written == (call.status == 503)
        call.abort()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def trusting(authority: Authority) -> Egress:
    def tls() -> ssl.SSLContext:
        context = tls_context()
        context.load_verify_locations(authority.file)
        return context

    return Egress(tls=tls)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_tls(authority: Authority, host: str) -> None:
    async def script(talk: Talk) -> None:
        assert talk._writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        for _ in range(3):
            _, body = await talk.hear()
            await talk.say(CHUNKED, b"%x\r\n%b\r\n" % (len(body), body), b"0\r\n\r\n")
        await talk.hear()
        await talk.say(b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"the end")
        await talk.end()

    async with (
        provider(script, tls=authority.server(host), host=host) as world,
        egress_to(trusting(authority)) as egress,
    ):
        origin = world.origin(scheme="https")
        for body in (b"small", b"large" * 200_000, b"small"):
            assert (await ask(egress, origin, body=body, stream=True)).body == body
        assert (await ask(egress, origin, stream=True)).body == b"until the end"
        assert world.connections == 1


async def test_tls_cut_in_the_middle(authority: Authority) -> None:
    script = after_the_request(LONG + b"hello", then="reset")
    async with (
        provider(script, tls=authority.server("localhost"), host="localhost") as world,
        egress_to(trusting(authority)) as egress,
    ):
        failed = await ask_in_vain(egress, world.origin(scheme="https"))
        assert (failed.kind, failed.written) == ("cut", True)


async def test_a_certificate_for_another_name(authority: Authority) -> None:
    heard: list[bytes] = []

    async def script(talk: Talk) -> None:
        heard.append(await talk._reader.read(1))

    async with (
        provider(script, tls=authority.server("other.example"), host="localhost") as world,
        egress_to(trusting(authority)) as egress,
    ):
        failed = await ask_in_vain(egress, world.origin(scheme="https"))
        assert (failed.kind, failed.written) == ("connect", False)
        assert "localhost" in failed.detail
    assert not any(heard)


async def test_a_certificate_that_nobody_vouches_for(authority: Authority) -> None:
    tls = authority.server("localhost")
    async with provider(never, tls=tls, host="localhost") as world, egress_to(Egress()) as egress:
        failed = await ask_in_vain(egress, world.origin(scheme="https"))
        assert (failed.kind, failed.written) == ("connect", False)


async def test_old_tls_is_refused(authority: Authority) -> None:
    tls = authority.server("localhost")
    tls.set_ciphers("ALL:@SECLEVEL=0")
    tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        tls.maximum_version = ssl.TLSVersion.TLSv1_1
    async with provider(never, tls=tls, host="localhost") as world, egress_to(trusting(authority)) as egress:
        failed = await ask_in_vain(egress, world.origin(scheme="https"))
        assert (failed.kind, failed.written) == ("connect", False)


async def test_plain_http_behind_https(authority: Authority) -> None:
    async with provider(never) as world, egress_to(trusting(authority)) as egress:
        failed = await ask_in_vain(
            egress, world.origin(scheme="https", host="localhost"), timeouts=within(connect_s=0.1)
        )
        assert (failed.kind, failed.written) == ("connect", False)
