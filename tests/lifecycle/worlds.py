"""Stores for the machine, with a hand on their clocks."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import asyncpg

from service.ports.store import Store
from service.storage.engine import driver_address
from service.storage.memory import MemoryStore
from service.storage.store import PostgresStore
from tests.lifecycle.model import LONG_SECONDS, MAX_CRASHES

T = TypeVar("T")
_STEP = timedelta(seconds=LONG_SECONDS + 1.0)


class World(Protocol):
    """A store, and what only tests may do to it."""

    store: Store

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it."""

    def later(self) -> None:
        """Let every lease run out and every wait be over."""

    def clear(self) -> None:
        """Begin with nothing."""


class MemoryWorld:
    """The twin, with a clock that goes on as it is told."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.clear()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def later(self) -> None:
        self._ahead += _STEP

    def clear(self) -> None:
        self._ahead = timedelta()
        self.store: Store = MemoryStore(max_crashes=MAX_CRASHES, now=lambda: datetime.now(UTC) + self._ahead)


class PostgresWorld:
    """A real Postgres, where whatever is due later is made due by SQL."""

    def __init__(self, runner: asyncio.Runner, url: str) -> None:
        self._runner = runner
        address = driver_address(url)
        self._connection = runner.run(asyncpg.connect(address))
        self.store: Store = PostgresStore(url, max_crashes=MAX_CRASHES)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def later(self) -> None:
        self.run(self._connection.execute("UPDATE shards SET lease_until = lease_until - $1::interval", _STEP))
        self.run(self._connection.execute("UPDATE jobs SET retry_at = retry_at - $1::interval", _STEP))

    def clear(self) -> None:
        self.run(self._connection.execute("TRUNCATE jobs, datasets, project_tokens CASCADE"))

    def close(self) -> None:
        self.run(self._connection.close())
        self.run(self.store.close())
