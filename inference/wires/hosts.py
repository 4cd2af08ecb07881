"""The names that this server answers to, against DNS rebinding (docs/decisions/0026).

The same rule as in `service/access/hosts.py`, of which this server knows nothing; one table of cases tests both.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence

_HOST = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]{0,5})?")
# Ends of names that no public DNS has: RFC 6762, RFC 8375, ICANN's `.internal`, Kubernetes' services.
_INNER_ENDS = (".local", ".home.arpa", ".internal", ".svc")


class AllowedHosts:
    """The allowed Host headers of a server that listens at an address.

    Loopback names and addresses, the address itself and `named` are always allowed. Beyond loopback the server also
    answers to any numeric address, to this machine's name and to names without public DNS, such as those of services in
    Compose and Kubernetes: no website can have these.
    """

    def __init__(self, listening: str, named: Iterable[str] = ()) -> None:
        self._is_open = not _is_loopback(listening)
        own = {"localhost", listening.lower()} | ({socket.gethostname().lower()} if self._is_open else set())
        self._names = own | {name.lower() for name in named}
        self._ends = tuple(name[1:] for name in self._names if name.startswith("*."))

    def allow_all(self, hosts: Sequence[str]) -> bool:
        """Whether the request has one Host header, and one that is allowed."""
        return len(hosts) == 1 and self.allows(hosts[0])

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


def _is_loopback(listening: str) -> bool:
    address = _address(listening)
    return listening == "localhost" or (address is not None and address.is_loopback)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_inner(name: str) -> bool:
    """Whether no public DNS has the name."""
    return bool(name) and ("." not in name or name.endswith(_INNER_ENDS))
