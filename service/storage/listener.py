"""Wakes the process's waiting tasks when Postgres notifies it of new work or events, over one LISTEN connection."""

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from service.identifiers import JobId
from service.storage.engine import CONNECT_SECONDS, driver_address
from service.storage.journal import EVENTS_CHANNEL, WORK_CHANNEL

POLL_SECONDS = 1.0  # how often readers poll for events while there is no LISTEN connection

# asyncpg raises InternalClientError if the connection breaks during a call.
_CONNECTION_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Listener:
    """Wakes waiting tasks when a notification arrives.

    LISTEN needs a direct connection, not a transaction-pooling proxy. Without one, waits last until their time-out,
    so the callers poll.
    """

    def __init__(self, url: str) -> None:
        self._address = driver_address(url)
        self._connection: Any = None
        self._opening: asyncio.Task[bool] | None = None
        self._work = asyncio.Event()
        self._readers: dict[str, set[JobEvents]] = {}

    async def wait_for_work(self, timeout_seconds: float) -> None:
        """Return when work may have been queued since the last wait ended, or after the time-out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                if await self.listen():
                    return  # nobody was listening until now: look again
                await self._work.wait()
        self._work.clear()

    @contextmanager
    def follow_events(self, job_id: JobId) -> Iterator["JobEvents"]:
        """Subscribe to the job's events within the context."""
        subscription = JobEvents(self)
        self._readers.setdefault(job_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            self._readers[job_id].discard(subscription)
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
        """True while the LISTEN connection is open as far as this process knows."""
        return self._connection is not None and not self._connection.is_closed()

    async def listen(self) -> bool:
        """Open the LISTEN connection unless it is open; returns True if this call opened it.

        A separate task opens the connection, since a caller may time out before it is open.
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
        except _CONNECTION_ERRORS:
            return False
        self._connection = connection
        return True

    def _on_end(self, _connection: object) -> None:
        """Wake every task after the connection is lost, since no notification will arrive."""
        self._work.set()
        for readers in self._readers.values():
            for reader in readers:
                reader.arrived.set()

    def _on_work(self, _connection: object, _pid: int, _channel: str, _payload: str) -> None:
        self._work.set()

    def _on_event(self, _connection: object, _pid: int, _channel: str, job_id: str) -> None:
        for reader in self._readers.get(job_id, ()):
            reader.arrived.set()


class JobEvents:
    """A reader's subscription to one job's events."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.arrived = asyncio.Event()

    async def wait(self, timeout_seconds: float) -> None:
        """Return when there may be new events since the last wait, or after the time-out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds) as limit:
                if await self._listener.listen():
                    return  # nobody was listening until now: look again
                if not self._listener.is_listening:
                    _shorten(limit, POLL_SECONDS)
                await self.arrived.wait()
        self.arrived.clear()


def _shorten(limit: asyncio.Timeout, seconds: float) -> None:
    end, soon = limit.when(), asyncio.get_running_loop().time() + seconds
    limit.reschedule(soon if end is None else min(end, soon))
