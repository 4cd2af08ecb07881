"""Waiting for news from the database: one LISTEN connection for the whole process."""

import asyncio
import contextlib
from typing import Any

import asyncpg

from service.identifiers import JobId
from service.storage.engine import CONNECT_SECONDS, database_url
from service.storage.journal import EVENTS_CHANNEL, WORK_CHANNEL

# News may come between a reader's look at the log and its wait, so nobody waits longer than this at once.
LONGEST_WAIT_FOR_EVENTS_SECONDS = 1.0

# The last is what asyncpg raises where a connection is cut at the very moment of a request.
_CUT_OFF = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Listener:
    """Wakes those who wait when a notification comes.

    LISTEN needs a direct connection, not a transaction-pooling proxy. Without one, waits
    simply last until their time-out, so the callers poll.
    """

    def __init__(self, url: str) -> None:
        self._address = database_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection: Any = None
        self._opening: asyncio.Task[bool] | None = None
        self._work = asyncio.Event()
        self._readers: dict[str, set[asyncio.Event]] = {}

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Return when shards may have been queued since the last wait ended, or after the time-out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                if await self._listen():
                    return  # nobody was listening until now: look again
                await self._work.wait()
        self._work.clear()

    async def wait_for_events(self, job_id: JobId, timeout_seconds: float) -> None:
        """Return when the job may have new events, or after the time-out."""
        arrived = asyncio.Event()
        self._readers.setdefault(job_id, set()).add(arrived)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(timeout_seconds, LONGEST_WAIT_FOR_EVENTS_SECONDS)):
                    if not await self._listen():
                        await arrived.wait()
        finally:
            self._readers[job_id].discard(arrived)
            if not self._readers[job_id]:
                del self._readers[job_id]

    async def close(self) -> None:
        """Release the connection."""
        if self._opening is not None:
            await self._opening
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(timeout=CONNECT_SECONDS)

    async def _listen(self) -> bool:
        """Make sure that we listen, where Postgres can be reached; whether that began only now.

        The connection is opened by a task of its own, which outlives a waiter whose time is up.
        """
        if self._connection is not None and not self._connection.is_closed():
            return False
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> bool:
        try:
            connection = await asyncpg.connect(self._address, timeout=CONNECT_SECONDS)
            await connection.add_listener(WORK_CHANNEL, self._on_work)
            await connection.add_listener(EVENTS_CHANNEL, self._on_event)
        except _CUT_OFF:
            return False
        self._connection = connection
        return True

    def _on_work(self, _connection: object, _pid: int, _channel: str, _payload: str) -> None:
        self._work.set()

    def _on_event(self, _connection: object, _pid: int, _channel: str, job_id: str) -> None:
        for reader in self._readers.get(job_id, ()):
            reader.set()
