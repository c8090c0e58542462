"""Which addresses a provider key may travel to."""

from ipaddress import ip_address

import pytest

from comptroller.gateway.egress_rules import classify, refusal

CLASSES = {
    "public": [
        "1.1.1.1", "8.8.8.8", "104.18.6.192", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1",
        "169.253.255.255", "192.169.0.1", "223.255.255.255", "198.20.0.1", "11.0.0.1",
        "2606:4700::6810:84e5", "2a00:1450:4001:81b::200a", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
    ],
    "private": [
        "127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1",
        "100.64.0.1", "100.127.255.255", "198.18.0.1", "198.19.255.255", "192.0.2.1", "198.51.100.1", "203.0.113.1",
        "192.0.0.1", "192.88.99.1",
        "::1", "fc00::1", "fdff::1", "fec0::1", "2001:db8::1", "2001::1", "100::1", "3fff::1", "64:ff9b:1::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:192.168.1.1", "::127.0.0.1", "64:ff9b::10.1.2.3",
        "64:ff9b::100.64.0.1", "2002:a00:1::1", "2002:7f00:1::",
    ],
    "never": [
        "169.254.169.254", "169.254.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "0.1.2.3",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "fe80::1", "febf::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254", "fd20:ce::254",
        "::ffff:169.254.169.254", "::ffff:0.0.0.0", "64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::", "::169.254.169.254", "::ffff:0:169.254.169.254", "::ffff:100.100.100.200",
        "4000::1", "5f00::1", "8000::1",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("expected", "address"), [(name, one) for name, all_ in CLASSES.items() for one in all_])
def test_classes(expected: str, address: str) -> None:
    assert classify(ip_address(address))[0] == expected


@pytest.mark.parametrize(
    ("scheme", "address", "allow_private", "may"),
    [
        ("https", "1.1.1.1", False, True),
        ("https", "1.1.1.1", True, True),
        ("http", "1.1.1.1", False, False),
        ("http", "1.1.1.1", True, False),
        ("http", "2606:4700::1", True, False),
        ("https", "127.0.0.1", False, False),
        ("https", "127.0.0.1", True, True),
        ("http", "127.0.0.1", False, False),
        ("http", "127.0.0.1", True, True),
        ("http", "192.168.1.5", True, True),
        ("http", "fd12::1", True, True),
        ("https", "192.168.1.5", False, False),
        ("http", "169.254.169.254", True, False),
        ("https", "169.254.169.254", True, False),
        ("https", "fe80::1", True, False),
        ("http", "0.0.0.0", True, False),
    ],
)
def test_refusals(scheme, address: str, allow_private: bool, may: bool) -> None:
    assert (refusal(scheme, address, allow_private=allow_private) is None) is may


def test_a_name_is_not_an_address() -> None:
    with pytest.raises(ValueError, match="localhost"):
        refusal("https", "localhost", allow_private=True)
