"""Which addresses a request may leave for. Pure: it judges addresses, it resolves nothing.

Applied to every *resolved* address of every new connection, and the connection is then made to the judged
address itself, so a name that changes its mind between check and connect gains nothing.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Literal

AddressClass = Literal["public", "private", "never"]
_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

# Refused even when private addresses were named: nothing behind them is a model provider, and the metadata
# services hand out the machine's own cloud credentials to whoever asks.
_NEVER: dict[str, str] = {
    "169.254.0.0/16": "link-local (cloud metadata lives here)",
    "fe80::/10": "link-local",
    "100.100.100.200/32": "cloud metadata",
    "168.63.129.16/32": "cloud metadata",
    "192.0.0.192/32": "cloud metadata",
    "fd00:ec2::254/128": "cloud metadata",
    "fd20:ce::254/128": "cloud metadata",
    "0.0.0.0/8": "unspecified",
    "::/128": "unspecified",
    "224.0.0.0/4": "multicast",
    "ff00::/8": "multicast",
    "240.0.0.0/4": "reserved",  # the broadcast address too
}

# Refused unless the origin says `allow_private`.
_PRIVATE: dict[str, str] = {
    "127.0.0.0/8": "loopback",
    "::1/128": "loopback",
    "10.0.0.0/8": "private",
    "172.16.0.0/12": "private",
    "192.168.0.0/16": "private",
    "fc00::/7": "private",
    "fec0::/10": "private",
    "100.64.0.0/10": "carrier-grade NAT",
    "192.0.0.0/24": "special use",
    "192.0.2.0/24": "documentation",
    "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation",
    "2001:db8::/32": "documentation",
    "3fff::/20": "documentation",
    "192.88.99.0/24": "special use",
    "198.18.0.0/15": "benchmarking",
    "100::/64": "discard",
    "2001::/23": "special use",  # Teredo is in here
    "64:ff9b:1::/48": "local NAT64",
}

# IPv6 forms that carry an IPv4 address: the network, and how far to shift the IPv6 number right to get at it.
_EMBEDDING: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
    (IPv6Network("::/96"), 0),  # IPv4-compatible, deprecated; `::` and `::1` are found in the tables first
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")


def _table(rows: dict[str, str]) -> tuple[tuple[_Network, str], ...]:
    return tuple((ip_network(text), reason) for text, reason in rows.items())


_TABLES: tuple[tuple[AddressClass, tuple[tuple[_Network, str], ...]], ...] = (
    ("never", _table(_NEVER)),
    ("private", _table(_PRIVATE)),
)


def classify(address: _Address) -> tuple[AddressClass, str]:
    """How far an address may be trusted with a provider key, and the reason in one word or two."""
    for found, rows in _TABLES:
        for network, reason in rows:
            if address in network:
                return found, reason
    if isinstance(address, IPv4Address):
        return "public", "public"
    inner = _embedded(address)
    if inner is not None:
        return classify(inner)
    return ("public", "public") if address in _GLOBAL_IPV6 else ("never", "reserved")


def _embedded(address: IPv6Address) -> IPv4Address | None:
    for network, shift in _EMBEDDING:
        if address in network:
            return IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
    return None


def refusal(scheme: Literal["http", "https", "stdio"], address: str, *, allow_private: bool) -> str | None:
    """Why no request may go to this literal address; None when it may. Raises ValueError if it is no address."""
    found, reason = classify(ip_address(address))
    if found == "never":
        return reason
    if found == "private":
        return None if allow_private else f"{reason}, and private addresses were not allowed for this provider"
    # Keys leave in the clear only on a machine or network that was named on purpose.
    return None if scheme == "https" else "plain http to a public address"
