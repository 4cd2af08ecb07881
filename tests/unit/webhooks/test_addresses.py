"""Addresses that webhooks may not lead to, in every spelling that some library understands."""

import ipaddress
from collections.abc import Iterable
from contextlib import suppress

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.webhooks.addresses import AddressPolicy, AddressRefused, is_public

STRICT = AddressPolicy()
LENIENT = AddressPolicy(allow_http=True)

# Each leads to a place inside, or to another one for another library.
REFUSED_URLS = [
    "https://127.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.255.255.254/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0177.0.0.1/",
    "https://127.0.0.01/",
    "https://0/",
    "https://0.0.0.0/",
    "https://0x/",
    "https://127.0.0.1./",
    "https://example.com./",
    "https://4294967296/",
    "https://256.256.256.256/",
    "https://1.2.3.4.5/",
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://a.localhost/",
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:0:127.0.0.1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::a00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[2606:4700::1111%25eth0]/",
    "https://[2606:4700::1111%eth0]/",
    "https://[fc00::1]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[2001:db8::1]/",
    "https://[fd00:ec2::254]/",
    "https://[v1.x]/",
    "https://[::1/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://169.254.169.254/latest/meta-data/",
    "https://192.0.0.192/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://192.88.99.1/",
    "https://user@example.com/",
    "https://user:password@example.com/",
    "https://@example.com/",
    "https://127.0.0.1:80@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https://example.com#@127.0.0.1/",
    "https://１２７.０.０.１/",  # noqa: RUF001 - full-width digits, which IDNA makes plain ones
    "https://ⓛocalhost/",
    "https://bücher.example/",
    "https://example。com/",
    "https://%31%32%37.0.0.1/",
    "https://exa mple.com/",
    "https://example.com/\r\nHost: localhost",
    "https://example.com/\x00",
    "\thttps://example.com/",
    "https://",
    "https:///path",
    "https:example.com",
    "https:/example.com/",
    "//example.com/",
    "example.com",
    "",
    "http://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "javascript:alert(1)",
    "https://example.com:0/",
    "https://example.com:22/",
    "https://example.com:25/",
    "https://example.com:65536/",
    "https://example.com:port/",
    "https://example.com:-1/",
    "https://a..example.com/",
    "https://-/",
    "https://" + "a" * 64 + ".com/",
    "https://" + "a." * 127 + "com/",
    "https://example.com/" + "a" * 2_000,
]
GOOD_URLS = [
    "https://example.com",
    "https://Example.COM/Hook?token=a%20b",
    "https://xn--bcher-kva.example/",
    "https://a_b.example:8443/x",
    "https://8.8.8.8/",
    "https://[2606:4700::1111]:65535/",
    "https://[::ffff:8.8.8.8]/",
    "HTTPS://example.com/",
    "https://7.example/",
]
# What a resolver may say; the two lines of an address in disguise are those that Python calls global.
REFUSED_ADDRESSES = [
    "127.0.0.1",
    "0.0.0.0",  # noqa: S104 - nothing listens
    "10.1.2.3",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "192.0.0.8",
    "192.0.2.1",
    "198.19.255.255",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


def let_through(policy: AddressPolicy, urls: Iterable[str]) -> list[str]:
    """Those of the URLs that the policy does not refuse."""
    found = []
    for url in urls:
        with suppress(AddressRefused):
            policy.check_url(url)
            found.append(url)
    return found


def test_addresses_that_are_not_public_are_refused() -> None:
    assert let_through(STRICT, REFUSED_URLS) == []


def test_addresses_that_are_not_public_are_refused_without_tls_too() -> None:
    plain = ["http" + url.removeprefix("https") for url in REFUSED_URLS if url.startswith("https://")]
    assert let_through(LENIENT, plain) == []


def test_public_places_are_let_through() -> None:
    assert let_through(STRICT, GOOD_URLS) == GOOD_URLS


def test_http_is_let_through_where_the_operator_allows_it() -> None:
    assert let_through(LENIENT, ["http://example.com/"])
    assert not let_through(STRICT, ["http://example.com/"])


def test_a_resolved_address_inside_is_refused() -> None:
    found = []
    for address in REFUSED_ADDRESSES:
        with suppress(AddressRefused):
            STRICT.check_addresses([address])
            found.append(address)
    assert found == []


def test_one_bad_address_among_good_ones_refuses_them_all() -> None:
    good = ["93.184.215.14", "2606:4700::1111"]
    assert [str(address) for address in STRICT.check_addresses(good)] == good
    for place in range(3):
        with pytest.raises(AddressRefused):
            STRICT.check_addresses([*good[:place], "10.0.0.1", *good[place:]])
    with pytest.raises(AddressRefused):
        STRICT.check_addresses([])


def test_a_refusal_does_not_tell_what_a_name_stands_for() -> None:
    with pytest.raises(AddressRefused) as caught:
        STRICT.check_addresses(["10.20.30.40"])
    assert "10.20" not in str(caught.value)


def test_networks_of_the_operator_are_let_through_and_nothing_beside_them() -> None:
    policy = AddressPolicy(allowed=(ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/64")))
    policy.check_addresses(["10.1.255.255", "::ffff:10.1.0.1", "fd00::5", "8.8.8.8"])
    policy.check_url("https://10.1.2.3:8443/")
    for address in ("10.2.0.1", "127.0.0.1", "fd00:0:0:1::1", "64:ff9b::a01:1"):
        with pytest.raises(AddressRefused):
            policy.check_addresses([address])
    with pytest.raises(AddressRefused):
        policy.check_url("https://localhost/")
    AddressPolicy(allowed=(ipaddress.ip_network("127.0.0.0/8"),)).check_url("https://localhost/")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_counts_alike_plain_and_mapped(address: ipaddress.IPv4Address) -> None:
    mapped = ipaddress.IPv6Address(f"::ffff:{address}")
    assert is_public(mapped) == is_public(address)
    assert not is_public(address) or address.is_global


@given(st.ip_addresses(v=4), st.sampled_from(["64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96"]))
def test_no_address_with_another_one_inside_is_public(address: ipaddress.IPv4Address, prefix: str) -> None:
    network = ipaddress.IPv6Network(prefix)
    shift = 128 - network.prefixlen - 32
    inside = ipaddress.IPv6Address(int(network.network_address) | int(address) << max(shift, 0))
    assert not is_public(inside)


@given(st.text(max_size=60))
def test_no_text_makes_the_check_fail_otherwise(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/", f"https://[{text}]/", f"https://a:{text}/"):
        if let_through(STRICT, [url]):
            assert httpcore.URL(url).host


def test_a_port_out_of_range_is_named() -> None:
    for port in ("99999", "0", "x"):
        with pytest.raises(AddressRefused, match=f"has the port '{port}'; a port is a number from 1 to 65535"):
            STRICT.check_url(f"https://example.com:{port}/hook")
