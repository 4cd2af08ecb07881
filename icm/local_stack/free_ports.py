"""Sockets that hold a port, and free ports for the inner parts of a service."""

import errno
import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from icm.errors import IcmError

# Below the range of ports for outgoing connections, so that none of these can take a port
# between our choice and our listening.
_CANDIDATES = range(15_000, 32_000)
_TRIES = 200
_BACKLOG = 2048  # connections that wait to be accepted, as uvicorn has it


class PortUnusable(IcmError):
    """Nobody can listen on the address; the text gives the reason and an alternative."""


def free_port(host: str = "127.0.0.1") -> int:
    """Find a port that nobody listens on at the moment. Raises OSError if there is none."""
    for candidate in random.sample(_CANDIDATES, _TRIES):
        try:
            sockets = _listen(host, candidate)
        except OSError:
            continue
        for listener in sockets:
            listener.close()
        return candidate
    raise OSError(f"no free port found on {host}")


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Yield listening sockets, one for each address of the host; port 0 means a free one. Raises PortUnusable.

    Their holder has the port, even if others try for it at the same moment.
    """
    try:
        sockets = _listen(host, port or free_port(host))
    except socket.gaierror as error:
        raise PortUnusable(f"--host {host}: there is no such address ({error.strerror})") from error
    except OSError as error:
        raise PortUnusable(_reason(host, port, error)) from error
    with ExitStack() as exits:
        for listener in sockets:
            exits.enter_context(listener)
        yield sockets


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


def _listen(host: str, port: int) -> list[socket.socket]:
    """Listen as asyncio's servers do. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with ExitStack() as exits:
        sockets: list[socket.socket] = []
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = exits.enter_context(socket.socket(family, kind, protocol))
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
            sockets.append(listener)
        exits.pop_all()
    return sockets
