"""The store for the machine, with a hand on its clock."""

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
    """A real Postgres, where whatever is due later is made due by SQL."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self._runner = runner
        address = driver_address(url)
        self._connection = runner.run(asyncpg.connect(address))
        self.store = PostgresStore(url, max_crashes=MAX_CRASHES)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it."""
        return self._runner.run(work)

    def later(self) -> None:
        """Let every lease run out and every wait be over."""
        self.run(self._connection.execute("UPDATE work_items SET lease_until = lease_until - $1::interval", _STEP))
        self.run(self._connection.execute("UPDATE jobs SET retry_at = retry_at - $1::interval", _STEP))

    def clear(self) -> None:
        """Begin with nothing."""
        self.run(self._connection.execute("DELETE FROM jobs; DELETE FROM datasets; DELETE FROM project_tokens"))

    def close(self) -> None:
        """Let go of the database."""
        self.run(self._connection.close())
        self.run(self.store.close())
