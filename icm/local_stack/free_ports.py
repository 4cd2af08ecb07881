"""Ports: whether one can be listened on, and free ones for the inner parts of a private service."""

import errno
import os
import random
import socket

from icm.errors import IcmError

# Below the range from which systems take ports for outgoing connections, so that none of
# these can come in between choosing a port and listening on it.
_CANDIDATES = range(15_000, 32_000)
_TRIES = 200


class PortUnusable(IcmError):
    """The address cannot be listened on; the text says why, and what to choose instead."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on just now. Raises OSError where none is found."""
    for candidate in random.sample(_CANDIDATES, _TRIES):
        try:
            _listen(host, candidate)
        except OSError:
            continue
        return candidate
    raise OSError(f"no free port found on {host}")


def check_port(host: str, port: int) -> None:
    """Raise PortUnusable where a server could not listen there just now."""
    try:
        _listen(host, port)
    except socket.gaierror as error:
        raise PortUnusable(f"--host {host}: there is no such address ({error.strerror})") from error
    except OSError as error:
        raise PortUnusable(_reason(host, port, error)) from error


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is taken: another program listens there, perhaps another `icm serve`; "
            "choose another port with --port, or --port 0 for a free one"
        )
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is for programs with more rights: choose one from 1024 on with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: this machine has no such address"
    return f"{host}, port {port} cannot be listened on: {error.strerror or error}"


def _listen(host: str, port: int) -> None:
    """Listen for a moment, as asyncio's servers do. Raises OSError."""
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
            probe.listen()
