"""Stores for tests that need one in the middle of something: each has an empty database of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import asyncpg
from sqlalchemy import text
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
_COMPILED: dict[Any, Any] = {}  # statements, for all stores together


class ScratchStore(PostgresStore):
    """A store in Postgres, closed by `close_stores`. With `now`, that is the database's clock in each transaction."""

    open_stores: ClassVar[list["ScratchStore"]] = []

    def __init__(self, *, max_crashes: int = 5, now: Callable[[], datetime] | None = None) -> None:
        self.url = DATABASES.acquire()
        super().__init__(self.url, max_crashes=max_crashes)
        self._now = now
        self._loop: asyncio.AbstractEventLoop | None = None
        self.open_stores.append(self)

    async def wait_for_work(self, timeout_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        await super().wait_for_work(timeout_seconds)

    @asynccontextmanager
    async def _transaction(self, patience_seconds: float) -> AsyncIterator[AsyncConnection]:
        self._loop = asyncio.get_running_loop()
        async with super()._transaction(patience_seconds) as connection:
            await connection.execution_options(compiled_cache=_COMPILED)
            if self._now is not None:
                await connection.execute(_AT, {"moment": self._now().isoformat()})
            yield connection

    def end(self) -> None:
        """Close it in the event loop that it was used in, if that still can be."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.run_until_complete(self.close())
        DATABASES.release(self.url)


def close_stores(number: int = 0) -> None:
    """End all stores but so many that were opened first."""
    while len(ScratchStore.open_stores) > number:
        ScratchStore.open_stores.pop().end()


async def row_counts(url: str) -> dict[str, int]:
    """How many rows each table has; the projects, which are made when first asked for, aside."""
    address = driver_address(url)
    connection = await asyncpg.connect(address)
    try:
        found = await connection.fetch(_COUNTS)
    finally:
        await connection.close()
    return {row["name"]: row["number"] for row in found}


class Hours:
    """A clock that stands still until told otherwise."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def pass_by(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


class Clock:
    """A clock that goes on, and that tests can put forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += timedelta(seconds=seconds)
