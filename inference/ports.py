"""Finds out whether the server's port is free before a language model loads, which can take minutes."""

import errno
import socket
from typing import Any


class PortUnusable(Exception):
    """Nobody can listen there; the text says why and what to do."""


def check_port(host: str, port: int) -> None:
    """Listen for a moment at each address of the host; an empty host has all of this machine. Raises PortUnusable.

    Another process may take the port after that. So the server checks it a second time when the model has loaded.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise PortUnusable(
            f"the host {host!r} has no address here ({error.strerror}); name another by --host"
        ) from error
    for family, kind, protocol, _, address in dict.fromkeys(found):
        try:
            trial = socket.socket(family, kind, protocol)
        except OSError:
            continue  # as the server does: a system without IPv6 may still name an address of it
        with trial:
            try:
                _listen(trial, address)
            except OSError as error:
                raise PortUnusable(_reason(host, port, error)) from error


def _listen(trial: socket.socket, address: Any) -> None:
    """Listen at one address, with the options of the server's own sockets. Raises OSError."""
    trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if trial.family == socket.AF_INET6:
        trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    trial.bind(address)
    trial.listen(1)


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another process listens on port {port} of {host}; choose another by --port (0: any free one)"
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port} of {host}; choose one from 1024 on by --port (0: any free one)"
    return f"nobody can listen on port {port} of {host} ({error.strerror}); choose others by --host and --port"
