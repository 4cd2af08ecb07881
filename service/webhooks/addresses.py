"""Decides whether webhooks may be sent to a URL or address: public addresses, and those that the operator allows.

Pure: other modules resolve names. The check of a URL when a webhook is created gives its owner an early error.
The decisive check is that of every resolved address just before connecting to it (`service.webhooks.http.network`),
since a name can resolve to another address each time.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from service.values import port_fault

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

LONGEST_URL = 2_000
_LONGEST_NAME = 253
_SCHEMES = ("https", "http")
_WEB_PORTS = (443, 80)
_FIRST_FREE_PORT = 1024  # lower ports belong to mail, shells and name servers; web servers use 80 and 443 there
_SENDABLE = re.compile(r"[\x21-\x7e]+")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_HERE = {"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"}

# IANA's registries of special-purpose addresses; `_GLOBAL_UNICAST` excludes the rest of IPv6. They are listed here
# since Python's `is_global` is True for multicast, for NAT64 and 6to4 with a private address inside, and
# differs between releases.
_SPECIAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by a provider's customers (RFC 6598); some clouds have their metadata here
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; clouds have their metadata at .169.254
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address is inside
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # NAT64, mapped, local and multicast addresses are all outside


class AddressRefused(Exception):
    """The service may not connect to this URL; the message gives the reason, but never the address behind a name."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The operator's rules for webhook URLs: https to public addresses, plus the exceptions given here."""

    allowed: tuple[IpNetwork, ...] = ()  # receivers inside the operator's own network
    allow_http: bool = False

    def check_url(self, url: str) -> None:
        """Check a URL without resolving its host. Raises AddressRefused."""
        if not _SENDABLE.fullmatch(url) or len(url) > LONGEST_URL or "\\" in url:
            raise AddressRefused(
                f"must be at most {LONGEST_URL} printable ASCII characters, without a backslash; "
                "write an international name in its ASCII form (xn--...)"
            )
        parts, port = _split(url)
        if parts.scheme not in _SCHEMES or not url.lower().startswith(f"{parts.scheme}://"):
            raise AddressRefused("must begin with https://")
        if parts.scheme == "http" and not self.allow_http:
            raise AddressRefused("must begin with https://; the operator has not allowed http")
        if parts.username is not None or parts.password is not None or "@" in parts.netloc:
            raise AddressRefused("must not hold a user name or password")
        if parts.fragment:
            raise AddressRefused("must not have a fragment (#), which is never sent")
        if port is not None and port not in _WEB_PORTS and port < _FIRST_FREE_PORT:
            raise AddressRefused(f"has port {port}; web servers are at 80, 443 and from {_FIRST_FREE_PORT} on")
        self._check_host(parts.hostname or "", bracketed="[" in parts.netloc)

    def check_addresses(self, found: Iterable[str]) -> list[IpAddress]:
        """Check all addresses of a name, and return them in order. Raises AddressRefused if any is refused.

        A mixture of refused and allowed addresses suggests an attack, so the whole name is refused.
        """
        addresses = [_address(text) for text in found]
        if not addresses:
            raise AddressRefused("has a name without an address")
        for address in addresses:
            self.check_address(address)
        return addresses

    def check_address(self, address: IpAddress) -> None:
        """Raise AddressRefused unless the address is public or allowed by the operator."""
        if any(address.version == network.version and address in network for network in self.allowed):
            return
        if not is_public(address):
            raise AddressRefused("leads to an address that is not public")

    def _check_host(self, host: str, *, bracketed: bool) -> None:
        """Check a host without resolving it. Raises AddressRefused."""
        if bracketed:
            self.check_address(_address(host))
            return
        if host in _HERE or host.endswith(".localhost"):
            self.check_address(ipaddress.IPv4Address("127.0.0.1"))
            return
        last = host.rstrip(".").rpartition(".")[2]
        if _NUMBER.fullmatch(last):  # some software reads every host that ends in a number as an IPv4 address
            self.check_address(_plain_ipv4(host))
        elif len(host) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, host.split("."))):
            raise AddressRefused("has a host that is no name to be looked up; it may not end in a dot")


def is_public(address: IpAddress) -> bool:
    """Whether the address belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address.scope_id is not None or address not in _GLOBAL_UNICAST:
            return False
    special = any(address.version == network.version and address in network for network in _SPECIAL)
    return not special and address.is_global and not address.is_multicast


def _split(url: str) -> tuple[SplitResult, int | None]:
    if (fault := port_fault(url)) is not None:
        raise AddressRefused(fault)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressRefused("is not a URL") from error
    return parts, port


def _plain_ipv4(host: str) -> ipaddress.IPv4Address:
    """An IPv4 address in dotted decimal form; refuses octal, hexadecimal and short forms, which are ambiguous."""
    try:
        return ipaddress.IPv4Address(host)
    except ValueError as error:
        raise AddressRefused("has a number for a host that is not four decimal ones, such as 93.184.215.14") from error


def _address(text: str) -> IpAddress:
    """Parse an address from a resolver or a URL; an IPv4-mapped one becomes its IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise AddressRefused("has a host that is no IP address") from error
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
