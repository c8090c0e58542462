"""Attempts: how often somebody was wrong lately, by address, so that guessing and flooding have an end."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from comptroller.core.instant import NANOS_PER_SECOND

MOST_WRONG = 20  # of one address in WINDOW_S: a person mistypes less, a machine with an old credential waits
WINDOW_S = 60
_ADDRESSES = 4096  # the oldest is forgotten first
_SITE_BITS = 64  # whoever has one IPv6 address has the other 2**64 beside it


class Attempts:
    """Counts wrong credentials. It keeps addresses and numbers, and nothing of what was sent."""

    def __init__(self) -> None:
        self._wrong: dict[str, tuple[int, int]] = {}  # when the window began, and how many since

    def wait_s(self, address: str, now_ns: int) -> int:
        """For how long this address is told to wait; 0: it may try."""
        begun_ns, count = self._wrong.get(_site(address), (0, 0))
        left_ns = begun_ns + WINDOW_S * NANOS_PER_SECOND - now_ns
        return -(-left_ns // NANOS_PER_SECOND) if count >= MOST_WRONG and left_ns > 0 else 0

    def wrong(self, address: str, now_ns: int) -> bool:
        """Count one. True for the one by which the address begins to wait."""
        site = _site(address)
        begun_ns, count = self._wrong.pop(site, (now_ns, 0))
        if now_ns - begun_ns >= WINDOW_S * NANOS_PER_SECOND:
            begun_ns, count = now_ns, 0
        if len(self._wrong) >= _ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
        self._wrong[site] = begun_ns, count + 1
        return count + 1 == MOST_WRONG


def _site(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address) and found.ipv4_mapped is None:
        return str(int(found) >> (128 - _SITE_BITS))
    return str(found)
