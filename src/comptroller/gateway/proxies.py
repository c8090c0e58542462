"""Who is at the other end, when proxies stand between: their word counts only where they were named.

Each proxy appends the address that it heard from, so what stands on the right was written by those who are near to us,
and what stands on the left by whoever likes. From the right, the first address that is no named proxy is the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

# RFC 7239: for=192.0.2.43, for="192.0.2.43:47011", for="[2001:db8:cafe::17]:4711", for=unknown, for=_hidden
_FORWARDED_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)', re.IGNORECASE)
_QUOTED = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
_MAPPED = "::ffff:"
_PORT = re.compile(r":\d{1,5}")


def client_address(peer: str, headers: Sequence[tuple[bytes, bytes]], trusted: Sequence[Network]) -> str:
    """The caller's address: the peer's, or what named proxies say.

    `X-Forwarded-For` is looked at, and `Forwarded` (RFC 7239) only where there is none. A hop that is no address ends
    the walk: the last proxy that is known stands for it.
    """
    peer = peer.removeprefix(_MAPPED)  # an IPv4 caller of a listener that takes both
    if not trusted or not _is_in(peer, trusted):
        return peer
    found = peer
    for hop in _hops_from_the_right(headers):
        address = _address(hop)
        if address is None:
            return found
        found = str(address)
        if not _is_in(found, trusted):
            return found
    return found


def _hops_from_the_right(headers: Sequence[tuple[bytes, bytes]]) -> Iterator[str]:
    plain = _joined(headers, b"x-forwarded-for")
    if plain:
        return (hop.strip() for hop in reversed(plain.split(",")))
    elements = _QUOTED.findall(_joined(headers, b"forwarded"))
    return (_for(element) for element in reversed(elements))


def _joined(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> str:
    return ",".join(value.decode("latin-1") for name, value in headers if name == wanted)


def _for(element: str) -> str:
    found = _FORWARDED_FOR.search(element)
    return found[1].strip('"') if found else ""


def _address(hop: str) -> IPv4Address | IPv6Address | None:
    """The address of one hop, which may have a port, and brackets if it is an IPv6 one."""
    if hop.startswith("["):
        hop, closed, port = hop[1:].partition("]")
        if not closed or (port and _PORT.fullmatch(port) is None):
            return None
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        address = ip_address(hop)
    except ValueError:
        return None
    return _plain(address)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address written as an IPv6 one is that IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_in(text: str, networks: Sequence[Network]) -> bool:
    try:
        address = _plain(ip_address(text))
    except ValueError:  # a peer that is no address, such as a socket file
        return False
    return any(address in network for network in networks)
