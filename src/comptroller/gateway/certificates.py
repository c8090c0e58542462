"""The gateway's own certificates: looked at in words before they are used, and renewed while connections stay open.

A handshake meets the newest good pair, since OpenSSL asks for it when the client's first word has come (the SNI
callback, which it calls for clients that name no server too). Connections that are open keep what they have.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from comptroller.settings import Settings

_LOOK_EVERY_S = 30.0
_MOST_BYTES = 1024 * 1024
_SOON = timedelta(days=14)
_AGAIN = timedelta(days=1)

Say = Callable[[str, Mapping[str, str]], None]  # an event and its fields, to the log
_Stamp = tuple[tuple[int, int, int], ...]


class CertificateError(Exception):
    """A pair that cannot be served; the message says which file, what is wrong with it, and what to do."""


class Pair(NamedTuple):
    """A certificate (its chain behind it) and its key, as files."""

    cert: Path
    key: Path


class _Served(NamedTuple):
    context: ssl.SSLContext
    ends: datetime


class Certificate:
    """One listener's pair. `context` is for the server; `renew` looks whether the files have changed."""

    def __init__(self, name: str, pair: Pair) -> None:
        """`name`: the setting that says where it is listened, for the log. Raises CertificateError."""
        self._name = name
        self._pair = pair
        self._warned: datetime | None = None
        self._stamp = _stamp(pair)
        self._served = _open(pair, _now())
        self.context = _context(pair)
        self.context.sni_callback = self._choose

    def renew(self, say: Say, *, asked: bool = False) -> None:
        """Serve the pair of now, if it is another and good. If it is not good, the last one stays and the log says why.

        `asked`: read it whether or not the files look changed.
        """
        stamp = _stamp(self._pair)
        if asked or stamp != self._stamp:
            self._stamp = stamp
            self._read_again(say)
        self._say_soon(say)

    def _read_again(self, say: Say) -> None:
        try:
            self._served = _open(self._pair, _now())
        except CertificateError as error:
            say("certificate_refused", {"comptroller.setting": self._name, "message": f"The last one stays. {error}"})
        else:
            self._warned = None
            ends = self._served.ends.isoformat()
            say("certificate_read", {"comptroller.setting": self._name, "comptroller.certificate.ends": ends})

    def _say_soon(self, say: Say) -> None:
        now, ends = _now(), self._served.ends
        if ends - now > _SOON or (self._warned is not None and now - self._warned < _AGAIN):
            return
        self._warned = now
        detail = f"{self._pair.cert} is good until {_said(ends)} only."
        say("certificate_ends", {"comptroller.setting": self._name, "message": detail})

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, initial: ssl.SSLContext) -> None:
        del name, initial
        connection.context = self._served.context


def pairs_of(settings: Settings) -> Mapping[str, Pair]:
    """The pairs of both planes, by the setting that says where it is listened; those that have one."""
    admin = settings.admin
    pairs = {"listen": (settings.tls_cert, settings.tls_key), "admin.listen": (admin.tls_cert, admin.tls_key)}
    return {name: Pair(cert, key) for name, (cert, key) in pairs.items() if cert is not None and key is not None}


def read_certificates(settings: Settings) -> Mapping[str, Certificate]:
    """The certificates of both planes, by the setting that says where it is listened. Raises CertificateError."""
    return {name: Certificate(name, pair) for name, pair in pairs_of(settings).items()}


def good_until(pair: Pair, now: datetime) -> datetime:
    """When the certificate of a pair ends. Raises CertificateError if the pair could not be served now."""
    return _open(pair, now).ends


async def renew_forever(certificates: Sequence[Certificate], say: Say) -> None:
    """Look at the files now and then, and read them at once on SIGHUP."""
    loop, hung_up = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    for each in certificates:
        each.renew(say)
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S):
                await hung_up.wait()
        asked = hung_up.is_set()
        hung_up.clear()
        for each in certificates:
            await asyncio.to_thread(each.renew, say, asked=asked)  # a disk may be slow, and calls go on


def _open(pair: Pair, now: datetime) -> _Served:
    """The pair, once it is checked in words: what OpenSSL says of a bad one helps nobody."""
    chain, key = _read_chain(pair.cert), _read_key(pair.key)
    owned = [each.public_key() == key.public_key() for each in chain]
    if True not in owned:
        raise CertificateError(f"{pair.key} is not the key of the certificate in {pair.cert}: name two that match.")
    if not owned[0]:
        raise CertificateError(f"The certificate of {pair.key} is not the first in {pair.cert}: put it there.")
    begins, ends = chain[0].not_valid_before_utc, chain[0].not_valid_after_utc
    if now >= ends:
        raise CertificateError(f"The certificate in {pair.cert} ended {_said(ends)}: renew it.")
    if now < begins:
        raise CertificateError(f"The certificate in {pair.cert} begins {_said(begins)}: is this machine's clock right?")
    return _Served(_context(pair), ends)


def _context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(pair.cert, pair.key, password="")  # never asks the terminal for one
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise CertificateError(f"TLS does not take {pair.cert} with {pair.key}: {reason}.") from None
    return context


def _read_chain(path: Path) -> Sequence[x509.Certificate]:
    content = _read(path)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise CertificateError(f"{path} holds no certificate in PEM form.") from None


def _read_key(path: Path) -> PrivateKeyTypes:
    content = _read(path)
    try:
        return load_pem_private_key(content, None)
    except TypeError:
        message = f"The key in {path} has a passphrase: give one without, readable for the gateway alone (chmod 600)."
        raise CertificateError(message) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(f"{path} holds no private key in PEM form that TLS can use.") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}.") from None


def _stamp(pair: Pair) -> _Stamp:
    """What changes when a file is written anew, or when a link leads elsewhere."""
    return tuple(_stamp_of(path) for path in pair)


def _stamp_of(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return found.st_ino, found.st_mtime_ns, found.st_size


def _now() -> datetime:
    return datetime.now(UTC)


def _said(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M UTC")
