"""The Postgres store for the machine of `machine.py`, which can make leases and waits expire."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import asyncpg

from service.storage.engine import driver_address
from service.storage.store import PostgresStore
from tests.lifecycle.model import LONG_SECONDS, MAX_CRASHES

T = TypeVar("T")
_STEP = timedelta(seconds=LONG_SECONDS + 1.0)


class World:
    """A store in Postgres; SQL moves the stored times of leases and waits back."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self._runner = runner
        address = driver_address(url)
        self._connection = runner.run(asyncpg.connect(address))
        self.store = PostgresStore(url, max_crashes=MAX_CRASHES)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self._runner.run(work)

    def later(self) -> None:
        """Let every lease expire and every wait end."""
        self.run(self._connection.execute("UPDATE work_items SET lease_until = lease_until - $1::interval", _STEP))
        self.run(self._connection.execute("UPDATE jobs SET retry_at = retry_at - $1::interval", _STEP))

    def clear(self) -> None:
        """Delete all jobs and data sets."""
        self.run(self._connection.execute("DELETE FROM jobs; DELETE FROM datasets; DELETE FROM project_tokens"))

    def close(self) -> None:
        """Close all connections to the database."""
        self.run(self._connection.close())
        self.run(self.store.close())
