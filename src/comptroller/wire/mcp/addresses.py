"""Which addresses a server may send a person to.

A person who opens an address acts with their own browser: what it reaches is their network, and what they are
logged in to.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

MOST_ADDRESS_CHARACTERS = 2048

_PLAIN = re.compile(r"[\x21-\x7e]+")
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# IPv6 in which an IPv4 address stands: NAT64 (RFC 6052), 6to4 (RFC 3056), compatible and mapped ones (RFC 4291).
_TRANSLATED = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "2002::/16", "::/96", "::ffff:0:0/96")))
_INSIDE = (".local", ".localhost", ".internal", ".intranet", ".lan", ".home.arpa", ".home", ".corp")


def unsafe_address(url: object, *, loopback: bool = False) -> str | None:
    """Why nobody is sent to this address, in words; None: they may be.

    `loopback`: its server was named as one of this machine, so an address on it is what it says. Never passed are
    private and link-local addresses, numbers that browsers read as one, names of inner networks, and anything
    that is not https.
    """
    if not isinstance(url, str) or len(url) > MOST_ADDRESS_CHARACTERS or not _PLAIN.fullmatch(url) or "\\" in url:
        return "it is not a plain address"
    try:
        parts = urlsplit(url)
        host, _ = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return "it is not a plain address"
    if parts.scheme not in {"https", "http"} or not host:
        return "it is not an https address"
    if "@" in parts.netloc:
        return "it has a user name in it"
    if _is_loopback(host):
        return None if loopback else "it is on the machine of whoever opens it"
    if parts.scheme != "https":
        return "it is not an https address"
    return _unsafe_host(host)


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "127.0.0.1", "::1"}


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is one host of the internet. Those that stand for another address are as good as that one: none is."""
    translated = address.version == 6 and any(address in network for network in _TRANSLATED)
    return address.is_global and not address.is_multicast and not translated


def _unsafe_host(host: str) -> str | None:
    try:
        return None if _is_public(ipaddress.ip_address(host)) else "it is inside of a network"
    except ValueError:
        pass
    name = host.rstrip(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return "its host is a number"  # browsers take 127.1 and 0x7f000001 for addresses
    if name.endswith(_INSIDE) or "." not in name:
        return "it is inside of a network"
    return None if _HOST.fullmatch(host) else "its host is not a plain name"
