"""Serves an ASGI application on loopback in the running event loop, with connections that can be broken.

Built on uvicorn's protocol rather than its server: nothing waits for ticks, so that hundreds of
servers can come and go in one run of the tests.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, Protocol

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: closing sends a reset, not an end


class Connections:
    """The open connections of a server, by the client's address."""

    def __init__(self) -> None:
        self._transports: dict[tuple[str, int], asyncio.Transport] = {}
        self.opened = 0

    def add(self, transport: asyncio.Transport) -> None:
        """Add a client's connection."""
        self._transports[transport.get_extra_info("peername")[:2]] = transport
        self.opened += 1

    def remove(self, transport: asyncio.Transport) -> None:
        """Remove a closed connection."""
        self._transports = {client: other for client, other in self._transports.items() if other is not transport}

    def reset(self, client: tuple[str, int]) -> None:
        """Break the connection to this client, so that it reads a reset."""
        transport = self._transports.pop((client[0], client[1]), None)
        if transport is not None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            transport.abort()

    def reset_all(self) -> None:
        """Break every connection."""
        for client in list(self._transports):
            self.reset(client)


class Served(Protocol):
    """An ASGI application that knows its connections."""

    connections: Connections

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one call."""


@dataclass
class Hosted:
    """Any ASGI application, to be served with connections of its own."""

    app: Callable[[Any, Any, Any], Awaitable[None]]
    connections: Connections = field(default_factory=Connections)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass one call on."""
        await self.app(scope, receive, send)


class _Protocol(H11Protocol):
    """uvicorn's protocol, which reports connections to the application."""

    def __init__(self, config: Config, state: ServerState, connections: Connections) -> None:
        super().__init__(config, state, {})
        self._open_connections = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._open_connections.add(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_connections.remove(self.transport)
        super().connection_lost(exc)


@asynccontextmanager
async def serving(app: Served, *, port: int = 0) -> AsyncIterator[str]:
    """Serve on a free loopback port, or on this one, within the block; yields the URL."""
    config, state = Config(app, lifespan="off", log_config=None), ServerState()
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Protocol(config, state, app.connections), "127.0.0.1", port)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        app.connections.reset_all()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)


@contextmanager
def serving_in_thread(app: Served) -> Iterator[str]:
    """The same as `serving` in a separate event loop, for blocking clients and other processes."""
    is_ready, urls = Event(), list[str]()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with serving(app) as url:
            urls.append(url)
            is_ready.set()
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = Thread(target=run)
    thread.start()
    try:
        is_ready.wait()
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
