"""Checks the Host header of requests, as a protection against DNS rebinding (docs/decisions/0026).

A website can let its own name resolve to this machine's address. A browser on this machine then takes our answers
for the website's and lets its scripts read them. Origin and Fetch Metadata do not show this; only Host does.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence

from service.access.authentication import is_loopback
from service.errors import HostNotAllowed

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{0,5})?")
# Suffixes of names that never exist in public DNS: RFC 6762, RFC 8375, ICANN's `.internal`, Kubernetes' services.
_INNER_ENDS = (".local", ".home.arpa", ".internal", ".svc")
_SHOWN_CHARACTERS = 100


class AllowedHosts:
    """Decides which Host headers a server that listens at an address accepts.

    It always accepts loopback names and addresses, the address itself, and `named`. A server beyond loopback also
    accepts any numeric address, this machine's name, and names that never exist in public DNS, such as those of
    services in Compose and Kubernetes: no website can have these.
    """

    def __init__(self, listening: str, named: Iterable[str] = ()) -> None:
        self._is_open = not is_loopback(listening)
        own = {"localhost", listening.lower()} | ({socket.gethostname().lower()} if self._is_open else set())
        self._names = own | set(named)
        self._ends = tuple(name[1:] for name in self._names if name.startswith("*."))

    def check(self, hosts: Sequence[str]) -> None:
        """Raise HostNotAllowed unless the request has exactly one Host header and it is allowed."""
        if len(hosts) != 1:
            raise HostNotAllowed("the request must have one Host header")
        if not self.allows(hosts[0]):
            raise HostNotAllowed(
                f"this service does not answer to the host {hosts[0][:_SHOWN_CHARACTERS]!r}: "
                "ask for it by its address, or let the operator name the host in ICM_ACCESS__ALLOWED_HOSTS"
            )

    def allows(self, header: str) -> bool:
        """Whether a Host header, with or without a port, is allowed."""
        if "*" in self._names:
            return True
        found = _HOST.fullmatch(header)
        if found is None:
            return False
        address = _address(found["v6"] or found["name"])
        if address is not None:
            return self._is_open or address.is_loopback or str(address) in self._names
        name = (found["name"] or "").lower().removesuffix(".")
        return name in self._names or name.endswith(self._ends) or (self._is_open and _is_inner(name))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_inner(name: str) -> bool:
    """Whether the name never exists in public DNS."""
    return bool(name) and ("." not in name or name.endswith(_INNER_ENDS))
