"""Waiting for news from the database: one LISTEN connection for the whole process."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from service.identifiers import JobId
from service.storage.engine import CONNECT_SECONDS, driver_address
from service.storage.journal import EVENTS_CHANNEL, WORK_CHANNEL

UNHEARD_SECONDS = 1.0  # how long readers of events wait at once while no notification can reach them

# The last is what asyncpg raises where a connection is cut at the very moment of a request.
_CUT_OFF = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Listener:
    """Wakes those who wait when a notification comes.

    LISTEN needs a direct connection, not a transaction-pooling proxy. Without one, waits
    simply last until their time-out, so the callers poll.
    """

    def __init__(self, url: str) -> None:
        self._address = driver_address(url)
        self._connection: Any = None
        self._opening: asyncio.Task[bool] | None = None
        self._work = asyncio.Event()
        self._readers: dict[str, set[EventNews]] = {}

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Return when work may have been queued since the last wait ended, or after the time-out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                if await self.listen():
                    return  # nobody was listening until now: look again
                await self._work.wait()
        self._work.clear()

    @contextmanager
    def follow_events(self, job_id: JobId) -> Iterator["EventNews"]:
        """Hear of the job's events for as long as the context lasts."""
        news = EventNews(self)
        self._readers.setdefault(job_id, set()).add(news)
        try:
            yield news
        finally:
            self._readers[job_id].discard(news)
            if not self._readers[job_id]:
                del self._readers[job_id]

    async def close(self) -> None:
        """Release the connection."""
        if self._opening is not None:
            await self._opening
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close(timeout=CONNECT_SECONDS)

    @property
    def is_listening(self) -> bool:
        """Whether notifications can reach us, as far as is known."""
        return self._connection is not None and not self._connection.is_closed()

    async def listen(self) -> bool:
        """Make sure that we listen, where Postgres can be reached; whether that began only now.

        The connection is opened by a task of its own, which outlives a waiter whose time is up.
        """
        if self.is_listening:
            return False
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> bool:
        try:
            connection = await asyncpg.connect(self._address, timeout=CONNECT_SECONDS)
            await connection.add_listener(WORK_CHANNEL, self._on_work)
            await connection.add_listener(EVENTS_CHANNEL, self._on_event)
            connection.add_termination_listener(self._on_end)
        except _CUT_OFF:
            return False
        self._connection = connection
        return True

    def _on_end(self, _connection: object) -> None:
        """What happens from now on is not heard of, so everybody has to look."""
        self._work.set()
        for readers in self._readers.values():
            for reader in readers:
                reader.arrived.set()

    def _on_work(self, _connection: object, _pid: int, _channel: str, _payload: str) -> None:
        self._work.set()

    def _on_event(self, _connection: object, _pid: int, _channel: str, job_id: str) -> None:
        for reader in self._readers.get(job_id, ()):
            reader.arrived.set()


class EventNews:
    """Says when a job's events are worth another look."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.arrived = asyncio.Event()

    async def wait(self, timeout_seconds: float) -> None:
        """Return when there may be events since the last wait ended, or after the time-out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds) as limit:
                if await self._listener.listen():
                    return  # nobody was listening until now: look again
                if not self._listener.is_listening:
                    _shorten(limit, UNHEARD_SECONDS)
                await self.arrived.wait()
        self.arrived.clear()


def _shorten(limit: asyncio.Timeout, seconds: float) -> None:
    end, soon = limit.when(), asyncio.get_running_loop().time() + seconds
    limit.reschedule(soon if end is None else min(end, soon))
