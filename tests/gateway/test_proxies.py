"""The caller's address behind proxies: the rightmost one that no named proxy vouches away, and no word of strangers."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.gateway.proxies import client_address

TRUSTED = tuple(map(ip_network, ("10.0.0.0/8", "192.0.2.7/32", "fd00::/8")))
PROXY = "10.0.0.1"
STRANGER = "203.0.113.9"


def found(peer: str, *headers: tuple[str, str], trusted=TRUSTED) -> str:
    return client_address(peer, [(name.encode(), value.encode("latin-1")) for name, value in headers], trusted)


def through(*values: str, peer: str = PROXY) -> str:
    return found(peer, *(("x-forwarded-for", value) for value in values))


def forwarded(*values: str) -> str:
    return found(PROXY, *(("forwarded", value) for value in values))


@pytest.mark.parametrize("peer", [STRANGER, "192.0.2.8", "::1", "127.0.0.1", "11.0.0.1", "2001:db8::1"])
@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "x-real-ip", "x-client-ip", "true-client-ip"])
def test_a_stranger_says_nothing_about_itself(peer: str, name: str) -> None:
    for claim in ("198.51.100.1", "127.0.0.1", PROXY, "for=198.51.100.1"):
        assert found(peer, (name, claim)) == peer


def test_nobody_is_believed_unless_named() -> None:
    assert found(PROXY, ("x-forwarded-for", "198.51.100.1"), trusted=()) == PROXY


@pytest.mark.parametrize(
    ("values", "address"),
    [
        ((), PROXY),
        (("198.51.100.1",), "198.51.100.1"),
        (("198.51.100.1, 10.9.9.9",), "198.51.100.1"),
        (("198.51.100.1", "10.9.9.9"), "198.51.100.1"),  # two lines are one list
        (("6.6.6.6, 198.51.100.1",), "198.51.100.1"),  # what the caller wrote itself stands further left
        (("127.0.0.1, 198.51.100.1, 192.0.2.7",), "198.51.100.1"),
        (("10.1.1.1, 198.51.100.1",), "198.51.100.1"),  # a caller that claims to be a proxy
        (("10.1.1.1, 10.2.2.2",), "10.1.1.1"),  # a caller inside of the trusted network
        (("198.51.100.1:4711",), "198.51.100.1"),
        (("2001:db8::17",), "2001:db8::17"),
        (("[2001:db8::17]:4711",), "2001:db8::17"),
        (("[2001:db8::17]",), "2001:db8::17"),
        (("2001:DB8:0::17",), "2001:db8::17"),
        (("::ffff:198.51.100.1",), "198.51.100.1"),
        (("198.51.100.1, ::ffff:10.9.9.9",), "198.51.100.1"),
        (("198.51.100.1, fd00::5",), "198.51.100.1"),
        # A hop that is no address ends the walk: what stands left of it is anybody's word.
        (("198.51.100.1, unknown",), PROXY),
        (("198.51.100.1, ",), PROXY),
        (("198.51.100.1, _hidden, 10.9.9.9",), "10.9.9.9"),
        (("198.51.100.1, 10.9.9.9.9",), PROXY),
        (("198.51.100.1, 010.0.0.1",), PROXY),
        (("[2001:db8::17]x",), PROXY),
        (("[2001:db8::17",), PROXY),
        (("198.51.100.1;10.9.9.9",), PROXY),
        (("evil\x00",), PROXY),
        (("\xff",), PROXY),
        (("localhost",), PROXY),
    ],
)
def test_x_forwarded_for(values: tuple[str, ...], address: str) -> None:
    assert through(*values) == address


@pytest.mark.parametrize(
    ("values", "address"),
    [
        (("for=198.51.100.1",), "198.51.100.1"),
        (("For=198.51.100.1;proto=https;by=10.0.0.1",), "198.51.100.1"),
        (("proto=https;for=198.51.100.1",), "198.51.100.1"),
        (('for="198.51.100.1:4711"',), "198.51.100.1"),
        (('for="[2001:db8:cafe::17]:4711"',), "2001:db8:cafe::17"),
        (('for="[2001:db8:cafe::17]"',), "2001:db8:cafe::17"),
        (("for=6.6.6.6, for=198.51.100.1, for=10.9.9.9",), "198.51.100.1"),
        (("for=6.6.6.6", "for=198.51.100.1"), "198.51.100.1"),
        (('for=198.51.100.1;x="a,for=6.6.6.6"',), "198.51.100.1"),  # a comma in quotes parts nothing
        (('for=198.51.100.1;x="\\",for=6.6.6.6"',), "198.51.100.1"),
        (("for=198.51.100.1, for=unknown",), PROXY),
        (("for=198.51.100.1, for=_mystery",), PROXY),
        (("for=198.51.100.1, proto=https",), PROXY),
        (("by=198.51.100.1",), PROXY),
        (("before=198.51.100.1",), PROXY),
        (("",), PROXY),
    ],
)
def test_forwarded(values: tuple[str, ...], address: str) -> None:
    assert forwarded(*values) == address


def test_the_header_that_nearly_every_proxy_writes_goes_first() -> None:
    """A proxy that appends to X-Forwarded-For hands a Forwarded of the caller on as it came."""
    claim = ("forwarded", "for=6.6.6.6")
    assert found(PROXY, claim, ("x-forwarded-for", "198.51.100.1")) == "198.51.100.1"
    assert found(PROXY, claim, ("x-forwarded-for", "nonsense")) == PROXY


def test_a_peer_that_is_no_address_is_nobody() -> None:
    assert found("", ("x-forwarded-for", "6.6.6.6")) == ""


def test_an_ipv4_peer_of_an_ipv6_listener_is_an_ipv4_peer() -> None:
    assert found("::ffff:10.0.0.1", ("x-forwarded-for", "198.51.100.1")) == "198.51.100.1"
    assert found(f"::ffff:{STRANGER}") == STRANGER


@given(st.text(st.characters(max_codepoint=255), max_size=60), st.sampled_from(["198.51.100.1", "2001:db8::1"]))
def test_whatever_a_caller_writes_the_address_that_our_proxy_heard_stands(claim: str, real: str) -> None:
    assert through(f"{claim}, {real}") == real
    assert through(claim, real) == real


@given(st.text(st.characters(max_codepoint=255), max_size=80))
def test_no_header_breaks_it(text: str) -> None:
    assert through(text)
    assert forwarded(text)
