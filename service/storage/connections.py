"""Who gets a connection to Postgres, and how long others wait for one.

A database that is busy answers, and whoever waits for its connections will get one. A database
that is gone or frozen answers nobody; to wait for it helps no one, so waiting ends soon.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.errors import StorageUnavailable
from service.storage.engine import CONNECT_SECONDS, connection_errors

BUSY_SECONDS = 10.0  # the longest wait for a place while the database answers others
REQUEST_PATIENCE_SECONDS = 2.0  # with a database that answers nobody; a request takes two connections in turn
WORKER_PATIENCE_SECONDS = CONNECT_SECONDS


class Connections:
    """The places at an engine's pool, given in the order in which they were asked for."""

    def __init__(self, engine: AsyncEngine, pool_size: int) -> None:
        self._engine = engine
        self._places = asyncio.Semaphore(pool_size)
        self._answered = time.monotonic()
        event.listen(engine.sync_engine, "after_cursor_execute", self._note_answer)

    @asynccontextmanager
    async def connection(self, patience_seconds: float) -> AsyncIterator[AsyncConnection]:
        """A connection that has just answered. Raises StorageUnavailable.

        `patience_seconds` is how long a database may be silent before it is given up.
        """
        await self._take_place(patience_seconds)
        try:
            async with AsyncExitStack() as stack:
                with connection_errors():
                    async with asyncio.timeout(patience_seconds):
                        connection = await stack.enter_async_context(self._engine.connect())
                yield connection
        finally:
            self._places.release()

    async def _take_place(self, patience_seconds: float) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        waiting = asyncio.create_task(self._places.acquire())
        try:
            await self._in_time(waiting, patience_seconds)
        except BaseException:
            if not waiting.cancel():
                self._places.release()
            raise

    async def _in_time(self, waiting: "asyncio.Task[Literal[True]]", patience_seconds: float) -> None:
        """Wait for a place for as long as there is hope of one."""
        began = time.monotonic()
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=min(patience_seconds, BUSY_SECONDS))
            now = time.monotonic()
            is_hopeless = now - began >= BUSY_SECONDS or now - self._answered > patience_seconds
            if is_hopeless and not waiting.done():
                raise StorageUnavailable("all connections to Postgres are in use")

    def _note_answer(self, *_: object) -> None:
        self._answered = time.monotonic()
