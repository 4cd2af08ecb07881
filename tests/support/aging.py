"""Stores whose contents a test can make older: it moves every stored time back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from benchmarks import timelapse
from service.access.caller_store import CallerStore
from service.jobs.retention import Retention, delete_expired
from service.ports.store import Store
from service.records.access import LOCAL_CALLER
from service.storage.engine import driver_address

DAY = timedelta(days=1)
KEPT = Retention(
    idempotency_keys=2 * DAY, events=30 * DAY, jobs=None, usage=400 * DAY, deliveries=30 * DAY, audit=365 * DAY
)


@dataclass
class Aging:
    """A store with contents that a test can make older."""

    store: Store
    let_pass: Callable[[timedelta], Awaitable[None]]

    @property
    def project_store(self) -> CallerStore:
        """The store for the API's use cases."""
        return CallerStore(self.store, LOCAL_CALLER)

    async def delete_expired(self, **changes: timedelta | None) -> dict[str, int]:
        """The number of rows that one run of retention deletes, by kind."""
        found = await delete_expired(self.store, kept(**changes))
        assert not found.has_more
        return dict(found.removed)


def kept(**changes: timedelta | None) -> Retention:
    """The retention periods of these tests, with changes."""
    return Retention(**{**{name: getattr(KEPT, name) for name in Retention.__slots__}, **changes})


def aging_postgres(store: Store, database_url: str) -> Aging:
    """The store in this database."""
    address = driver_address(database_url)

    async def let_pass(time: timedelta) -> None:
        connection = await asyncpg.connect(address)
        try:
            await timelapse.let_pass(connection, time)
        finally:
            await connection.close()

    return Aging(store, let_pass)
