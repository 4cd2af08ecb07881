"""Connections to addresses that strangers have named: looked up once, checked, and then connected to as checked.

A client that checks a name and then lets its library look the name up again can be given a good address the
first time and a private one the second (DNS rebinding). Here the library is given the address itself. Names in
the certificate and in the Host header stay those of the URL, since httpcore takes them from there.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import httpcore
from anyio import CapacityLimiter, to_thread

from service.webhooks.addresses import AddressPolicy

Resolve = Callable[[str, int], Awaitable[list[str]]]

_ADDRESSES_TRIED = 4  # of one name; a name with dead addresses must not use up the time of the try


class SystemResolver:
    """Looks names up as everything on this machine does, in threads of its own.

    A lookup can take minutes where a name server is silent, and nothing ends it sooner: who waits leaves,
    the thread stays, and only so many are ever at it.
    """

    def __init__(self, lookups_at_once: int = 8) -> None:
        self._limiter = CapacityLimiter(lookups_at_once)

    async def __call__(self, host: str, port: int) -> list[str]:
        """All addresses of a host, in the system's order of preference. Raises OSError."""
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._limiter)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections for httpcore, to checked addresses and nowhere else."""

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
        """A connection to the first of the host's addresses that takes one.

        Raises AddressRefused where any of them is refused, and OSError where the name cannot be resolved.
        """
        addresses = self._policy.check_addresses(await self._resolve(host, port))
        failure: Exception = httpcore.ConnectError()
        for address in addresses[:_ADDRESSES_TRIED]:
            try:
                return await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """There is no such address in a URL."""
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
