"""The gateway's own certificates: what is wrong with a pair is said in words; new handshakes meet the new pair."""

import asyncio
import datetime
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from comptroller.gateway.certificates import Certificate, CertificateError, Pair
from tests.harness.authority import HOUR, Authority, Files

DAY = datetime.timedelta(days=1)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, Mapping[str, str]]] = []

    def say(self, event: str, fields: Mapping[str, str]) -> None:
        self.lines.append((event, fields))

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.lines]


def certificate(files: Files) -> Certificate:
    return Certificate("listen", Pair(*files))


def with_passphrase(files: Files) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"words"),
        )
    )


def weak_key(files: Files) -> None:
    """An RSA key, whose certificate is another's."""
    key = rsa.generate_private_key(65_537, 2048)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def swap(files: Files) -> None:
    cert, key = files.cert.read_bytes(), files.key.read_bytes()
    files.cert.write_bytes(key)
    files.key.write_bytes(cert)


WRONG: dict[str, tuple[Callable[[Files], object], str]] = {
    "no certificate": (lambda files: files.cert.unlink(), r"own\.pem cannot be read: No such file"),
    "no key": (lambda files: files.key.unlink(), r"own\.key cannot be read: No such file"),
    "a folder": (lambda files: (files.cert.unlink(), files.cert.mkdir()), r"own\.pem cannot be read: Is a directory"),
    "empty certificate": (lambda files: files.cert.write_bytes(b""), r"own\.pem holds no certificate in PEM form"),
    "empty key": (lambda files: files.key.write_bytes(b""), r"own\.key holds no private key in PEM form"),
    "noise": (lambda files: files.cert.write_bytes(b"\xff" * 99), r"own\.pem holds no certificate in PEM form"),
    "broken certificate": (
        lambda files: files.cert.write_bytes(files.cert.read_bytes()[:300]),
        r"own\.pem holds no certificate in PEM form",
    ),
    "broken key": (
        lambda files: files.key.write_bytes(files.key.read_bytes()[:60]),
        r"own\.key holds no private key in PEM form",
    ),
    "swapped": (swap, r"own\.pem holds no certificate in PEM form"),
    "key with a passphrase": (with_passphrase, r"own\.key has a passphrase: give one without"),
    "another's key": (weak_key, r"own\.key is not the key of the certificate in .*own\.pem"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_pair_is_said(authority: Authority, name: str) -> None:
    files = authority.issue("own", "localhost")
    spoil, words = WRONG[name]
    spoil(files)
    with pytest.raises(CertificateError, match=words):
        certificate(files)


@pytest.mark.parametrize(
    ("begins", "ends", "words"),
    [
        (-2 * HOUR, -HOUR, r"own\.pem ended 2\d{3}-\d\d-\d\d \d\d:\d\d UTC: renew it"),
        (HOUR, 2 * HOUR, r"own\.pem begins 2\d{3}-\d\d-\d\d \d\d:\d\d UTC: is this machine's clock right"),
    ],
)
def test_a_certificate_out_of_its_time(
    authority: Authority, begins: datetime.timedelta, ends: datetime.timedelta, words: str
) -> None:
    with pytest.raises(CertificateError, match=words):
        certificate(authority.issue("own", "localhost", begins=begins, ends=ends))


def test_the_chain_stands_behind_the_certificate(authority: Authority) -> None:
    files = authority.issue("own", "localhost")
    own, above = files.cert.read_bytes(), authority.file.read_bytes()
    files.cert.write_bytes(own + above)
    certificate(files)
    files.cert.write_bytes(above + own)
    with pytest.raises(CertificateError, match=r"own\.key is not the first in .*own\.pem: put it there"):
        certificate(files)


def test_an_end_that_is_near_is_said_once_a_day(authority: Authority) -> None:
    log = Log()
    soon = certificate(authority.issue("own", "localhost", ends=13 * DAY))
    soon.renew(log.say)
    soon.renew(log.say)
    ((event, fields),) = log.lines
    assert (event, fields["comptroller.setting"]) == ("certificate_ends", "listen")
    assert "own.pem is good until 2" in fields["message"]
    late = Log()
    certificate(authority.issue("own", "localhost", ends=15 * DAY)).renew(late.say)
    assert late.lines == []


# Handshakes.


@asynccontextmanager
async def served(own: Certificate) -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=own.context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Client:
    """One TLS connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @property
    def certificate(self) -> bytes:
        return self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)

    @property
    def tls(self) -> ssl.SSLObject:
        return self._writer.get_extra_info("ssl_object")

    async def echo(self) -> bytes:
        self._writer.write(b"still there\n")
        return await self._reader.readline()


@asynccontextmanager
async def connected(port: int, trust: ssl.SSLContext, name: str | None = "localhost") -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=name)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("server_name", ["localhost", "127.0.0.1"], ids=["with a server name", "without"])
async def test_a_new_pair_is_met_by_new_handshakes_and_old_connections_go_on(
    authority: Authority, server_name: str
) -> None:
    log = Log()
    own = certificate(authority.issue("own", "localhost", "127.0.0.1", ends=90 * DAY))
    async with served(own) as port, connected(port, authority.trust, server_name) as old:
        authority.issue("own", "localhost", "127.0.0.1", ends=90 * DAY)
        own.renew(log.say)
        assert log.events == ["certificate_read"]
        async with connected(port, authority.trust, server_name) as new:
            assert new.certificate != old.certificate
            assert await new.echo() == await old.echo() == b"still there\n"
        own.renew(log.say)
        assert log.events == ["certificate_read"], "nothing has changed since"
        own.renew(log.say, asked=True)
        assert log.events == ["certificate_read"] * 2


@pytest.mark.parametrize("name", WRONG)
async def test_a_new_pair_that_is_bad_is_not_served(authority: Authority, name: str) -> None:
    log = Log()
    files = authority.issue("own", "localhost", ends=90 * DAY)
    own = certificate(files)
    good = files.cert.read_bytes(), files.key.read_bytes()
    WRONG[name][0](files)
    own.renew(log.say)
    ((event, fields),) = log.lines
    assert event == "certificate_refused"
    assert fields["message"].startswith("The last one stays. ")
    async with served(own) as port, connected(port, authority.trust) as client:
        assert await client.echo() == b"still there\n"
    if files.cert.is_dir():
        files.cert.rmdir()
    files.cert.write_bytes(good[0])
    files.key.write_bytes(good[1])
    own.renew(log.say, asked=True)
    assert log.events == ["certificate_refused", "certificate_read"]


def only(version: ssl.TLSVersion, trust: ssl.SSLContext) -> ssl.SSLContext:
    trust.set_ciphers("DEFAULT:@SECLEVEL=0")  # so that it is the server who says no
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        trust.minimum_version = trust.maximum_version = version
    return trust


@pytest.mark.parametrize(
    ("version", "taken"),
    [
        (ssl.TLSVersion.TLSv1, False),
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ],
)
async def test_which_tls_is_spoken(authority: Authority, version: ssl.TLSVersion, taken: bool) -> None:
    own = certificate(authority.issue("own", "localhost"))
    trust = only(version, authority.trust)
    trust.set_alpn_protocols(["h2", "http/1.1"])
    async with served(own) as port:
        if not taken:
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                async with connected(port, trust):
                    pytest.fail("old TLS was spoken")
            return
        async with connected(port, trust) as client:
            assert client.tls.selected_alpn_protocol() == "http/1.1"
