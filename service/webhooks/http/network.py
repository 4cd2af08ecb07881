"""Opens connections for webhooks safely: resolves a name once, checks its addresses, and connects to a checked one.

If a client checks a name and its library then resolves the name again, an attacker can return a public address the
first time and a private one the second time (DNS rebinding). Here the library gets the checked address itself. It
takes the names for the certificate and the Host header from the URL.
"""

import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import httpcore
from anyio import CapacityLimiter, to_thread

from service.webhooks.addresses import AddressPolicy

Resolve = Callable[[str, int], Awaitable[list[str]]]

_ADDRESSES_TRIED = 4  # per name, so that a name with many dead addresses does not use up the attempt's time


class SystemResolver:
    """Resolves names by the system's resolver, in a limited number of threads.

    With a silent name server a lookup can take minutes, and it cannot be cancelled. Then the caller stops waiting,
    but the thread continues, so their number is limited.
    """

    def __init__(self, lookups_at_once: int = 8) -> None:
        self._limiter = CapacityLimiter(lookups_at_once)

    async def __call__(self, host: str, port: int) -> list[str]:
        """All addresses of a host, in the system's order of preference. Raises OSError."""
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._limiter)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections for httpcore, only to checked addresses; the base class refuses Unix sockets."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve) -> None:
        self._policy = policy
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of the host's addresses that accepts a connection.

        Raises AddressRefused if any address is refused, and OSError if the name cannot be resolved.
        """
        addresses = self._policy.check_addresses(await self._resolve(host, port))
        failure: Exception = httpcore.ConnectError()
        for address in addresses[:_ADDRESSES_TRIED]:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure
