"""Making a connection to a provider: resolve once, judge every address, connect to a judged address."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeVar

from comptroller.flow.upstream import Origin, UpstreamFailure
from comptroller.gateway.egress_rules import refusal

MAX_ADDRESSES = 8  # tried of one name

P = TypeVar("P", bound=asyncio.Protocol)


def tls_context() -> ssl.SSLContext:
    """The machine's trust store, names checked, TLS 1.2 or later, HTTP/1.1 only."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


async def connect(origin: Origin, tls: ssl.SSLContext | None, protocol: Callable[[], P], timeout_s: float) -> P:
    """A connected protocol. Raises UpstreamFailure, kind `forbidden_address` or `connect`.

    The caller's own clock ends the whole; `timeout_s` is shared out over the addresses, so that one which swallows
    packets leaves time for the next.
    """
    ends = asyncio.get_running_loop().time() + timeout_s
    addresses = _allowed(origin, await _resolve(origin))
    last = "the name has no address"
    for at, address in enumerate(addresses):
        share = (ends - asyncio.get_running_loop().time()) / (len(addresses) - at)
        try:
            async with asyncio.timeout(share):
                return await _connect_to(address, origin, tls, protocol)
        # ValueError: a host name that TLS or the name encoding rejects.
        except (OSError, ValueError) as error:
            last = f"{address}: {error or type(error).__name__}"
    raise UpstreamFailure("connect", f"{origin.host} port {origin.port}: {last}")


async def _connect_to(address: str, origin: Origin, tls: ssl.SSLContext | None, protocol: Callable[[], P]) -> P:
    _, connected = await asyncio.get_running_loop().create_connection(
        protocol,
        address,
        origin.port,
        ssl=tls,
        server_hostname=None if tls is None else origin.host.strip("[]"),
        flags=socket.AI_NUMERICHOST,  # the judged address is never looked up again
    )
    return connected


async def _resolve(origin: Origin) -> list[str]:
    host = origin.host.strip("[]")
    if _is_address(host):
        return [host]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise UpstreamFailure("connect", f"{origin.host}: cannot resolve the name: {error}") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))[:MAX_ADDRESSES]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _allowed(origin: Origin, addresses: list[str]) -> list[str]:
    refused = {address: refusal(origin.scheme, address, allow_private=origin.allow_private) for address in addresses}
    allowed = [address for address, reason in refused.items() if reason is None]
    if refused and not allowed:
        reasons = ", ".join(f"{address} is {reason}" for address, reason in refused.items())
        raise UpstreamFailure("forbidden_address", f"{origin.host}: {reasons}")
    return allowed
