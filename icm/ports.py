"""Free ports for the inner parts of a private service."""

import random
import socket

# Below the range from which systems take ports for outgoing connections, so that none of
# these can come in between choosing a port and listening on it.
_CANDIDATES = range(15_000, 32_000)
_TRIES = 200


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on just now. Raises OSError where none is found."""
    for candidate in random.sample(_CANDIDATES, _TRIES):
        with socket.socket() as probe:
            try:
                probe.bind((host, candidate))
            except OSError:
                continue
            return candidate
    raise OSError(f"no free port found on {host}")
