"""Postgres stores for tests: each has its own empty database, and a test can move its clock."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.ext.asyncio import AsyncConnection

from service.storage.engine import driver_address
from service.storage.store import PostgresStore
from service.storage.tables import metadata, projects
from tests.support.databases import DATABASES

_AT = text("""
    SELECT set_config('search_path', 'moved, pg_catalog, public', true), set_config('tests.moment', :moment, true)
""")

_COUNTS = " UNION ALL ".join(
    f"SELECT '{table.name}' AS name, count(*) AS number FROM {table.name}"  # noqa: S608 - our tables
    for table in metadata.sorted_tables
    if table is not projects
)


class ThriftyStore(PostgresStore):
    """A store that reuses the connections of the last store of its database, if all tests run in one event loop.

    Connecting, and compiling and planning statements, would take most of the time of a short test.
    """

    loop: ClassVar[asyncio.AbstractEventLoop | None] = None  # of all asynchronous tests
    _kept: ClassVar[dict[str, "ThriftyStore"]] = {}  # closed, by their databases

    def __init__(self, url: str, *, max_crashes: int = 5) -> None:
        self.url = url
        super().__init__(url, max_crashes=max_crashes)
        self._loop: asyncio.AbstractEventLoop | None = None
        event.listen(self._engine.sync_engine, "connect", self._spare)

    @classmethod
    async def dispose_kept(cls) -> None:
        """Close all kept stores before the event loop ends."""
        cls.loop = None
        while cls._kept:
            await cls._kept.popitem()[1]._engine.dispose()

    async def wait_for_work(self, timeout_seconds: float) -> None:
        self._take_over_connections()
        await super().wait_for_work(timeout_seconds)

    async def close(self) -> None:
        """Keep the connections for the next store, unless one is still in use."""
        await self._listener.close()
        is_free = self._loop is self.loop is not None and not self.load.connections_in_use
        if not is_free or self._kept.setdefault(self.url, self) is not self:
            await self._engine.dispose()

    @asynccontextmanager
    async def _transaction(self, patience_seconds: float) -> AsyncIterator[AsyncConnection]:
        self._take_over_connections()
        async with super()._transaction(patience_seconds) as connection:
            yield connection

    def _take_over_connections(self) -> None:
        is_first, self._loop = self._loop is None, asyncio.get_running_loop()
        if is_first and self._loop is self.loop and self.url in self._kept:
            last = self._kept.pop(self.url)
            self._engine, self._connections = last._engine, last._connections

    def _spare(self, connection: AdaptedConnection, _: object) -> None:
        DATABASES.spare(self.url, connection.driver_connection.get_server_pid())


class ScratchStore(ThriftyStore):
    """A store that `close_stores` closes. With `now`, each transaction's clock shows that time."""

    open_stores: ClassVar[list["ScratchStore"]] = []

    def __init__(self, *, max_crashes: int = 5, now: Callable[[], datetime] | None = None) -> None:
        super().__init__(DATABASES.acquire(), max_crashes=max_crashes)
        self._now = now
        self.open_stores.append(self)

    @asynccontextmanager
    async def _transaction(self, patience_seconds: float) -> AsyncIterator[AsyncConnection]:
        async with super()._transaction(patience_seconds) as connection:
            if self._now is not None:
                await connection.execute(_AT, {"moment": self._now().isoformat()})
            yield connection

    def end(self) -> None:
        """Close the store in the event loop that used it, if that loop still runs."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.run_until_complete(self.close())
        DATABASES.release(self.url)


def close_stores(number: int = 0) -> None:
    """Close all stores except the first `number`."""
    while len(ScratchStore.open_stores) > number:
        ScratchStore.open_stores.pop().end()


async def row_counts(url: str) -> dict[str, int]:
    """The number of rows of each table, without projects, which appear with their first use."""
    address = driver_address(url)
    connection = await asyncpg.connect(address)
    try:
        found = await connection.fetch(_COUNTS)
    finally:
        await connection.close()
    return {row["name"]: row["number"] for row in found}


class StoppedClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class Clock:
    """A running clock that tests can put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)
