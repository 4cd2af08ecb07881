"""Queues units of work for the pool's connections to Postgres, and limits how long they wait.

A busy database answers, so a waiting unit of work will get a connection. A database that is gone or frozen
answers nobody, so the wait ends soon.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import QueuePool

from service.errors import StorageUnavailable
from service.storage.engine import CONNECT_SECONDS, connection_errors

BUSY_SECONDS = 10.0  # the longest wait while the database answers others
REQUEST_PATIENCE_SECONDS = 2.0  # while it answers nobody; a request takes two connections, one after the other
WORKER_PATIENCE_SECONDS = CONNECT_SECONDS


class Connections:
    """Gives out the connections of an engine's pool, first come, first served."""

    def __init__(self, engine: AsyncEngine, pool_size: int) -> None:
        self._engine = engine
        self.max_connections = pool_size
        self._slots = asyncio.Semaphore(pool_size)
        self._answered_at = time.monotonic()
        event.listen(engine.sync_engine, "after_cursor_execute", self._record_answer)

    @property
    def connections_in_use(self) -> int:
        """The number of connections that units of work hold."""
        pool = self._engine.pool
        return pool.checkedout() if isinstance(pool, QueuePool) else 0

    @asynccontextmanager
    async def connection(self, patience_seconds: float) -> AsyncIterator[AsyncConnection]:
        """A connection that has just answered. Raises StorageUnavailable.

        `patience_seconds` is how long the database may answer nobody before the wait ends.
        """
        await self._acquire_slot(patience_seconds)
        try:
            async with AsyncExitStack() as stack:
                with connection_errors():
                    async with asyncio.timeout(patience_seconds):
                        connection = await stack.enter_async_context(self._engine.connect())
                yield connection
        finally:
            self._slots.release()

    async def _acquire_slot(self, patience_seconds: float) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        waiting = asyncio.create_task(self._slots.acquire())
        try:
            await self._wait_for_slot(waiting, patience_seconds)
        except BaseException:
            if not waiting.cancel():
                self._slots.release()
            raise

    async def _wait_for_slot(self, waiting: "asyncio.Task[Literal[True]]", patience_seconds: float) -> None:
        """Wait for a slot until the database has been busy or silent for too long. Raises StorageUnavailable."""
        began = time.monotonic()
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=min(patience_seconds, BUSY_SECONDS))
            now = time.monotonic()
            is_over = now - began >= BUSY_SECONDS or now - self._answered_at > patience_seconds
            if is_over and not waiting.done():
                raise StorageUnavailable("all connections to Postgres are in use")

    def _record_answer(self, *_: object) -> None:
        self._answered_at = time.monotonic()
